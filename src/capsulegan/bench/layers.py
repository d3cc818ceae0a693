"""Capsule layers and a whole capsule network beside the literal routing loop and a bare matrix product."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsulegan.bench.measure import Comparison, Work, median_seconds, peak_bytes
from capsulegan.capsules import CapsuleLayer, dynamic_routing, lengths, margin_loss
from capsulegan.networks import CapsNet

LOOP = "careful loop"
PRODUCT = "bare matrix product"
INPUTS, IN_DIM, OUT_DIM = 1152, 8, 16  # of the last layer of Sabour et al. (2017)


class CarefulLayer(nn.Module):
    """A capsule layer as a careful author writes it: the reference of all ratios.

    Predictions by one einsum, softmax over outputs, and all but the last iteration on detached predictions.
    """

    def __init__(self, layer: CapsuleLayer) -> None:
        super().__init__()
        self.weight, self.iterations = layer.weight, layer.iterations

    def forward(self, capsules: Tensor) -> Tensor:
        """Return the output capsules: (B, I, d) -> (B, J, D)."""
        return dynamic_routing(torch.einsum("bid,idje->bije", capsules, self.weight), self.iterations)


def training_pass(network: Callable[[Tensor], Tensor], inputs: Tensor, parameters: list[Tensor]) -> Work:
    """Return a forward and backward pass that gives the gradients of inputs and parameters."""
    inputs = inputs.detach().requires_grad_()
    with torch.no_grad():
        gradient = torch.randn_like(network(inputs))

    def work() -> object:
        return torch.autograd.grad(network(inputs), (inputs, *parameters), gradient)

    return work


def routing_flops(batch: int, inputs: int, dim: int, outputs: int, out_dim: int, iterations: int) -> int:
    """Return the operations in the matrix products of one forward and backward pass of a `CapsuleLayer`.

    One product of all inputs with all weights is 2 B I d J D. The closed form takes it three times (forward,
    and the gradients of both factors). Of r iterations the first takes it once and each other twice
    (agreement, weighted sum), and the backward pass twice.
    """
    products = 3 if outputs == 1 else 2 * iterations + 1
    return products * 2 * batch * inputs * dim * outputs * out_dim


def layer_works(outputs: int, batch: int, inputs: int = INPUTS) -> dict[str, Work]:
    """Return the passes of a layer of this package and of its references, by name."""
    layer = CapsuleLayer(inputs, IN_DIM, outputs, OUT_DIM)
    capsules = F.normalize(torch.randn(batch, inputs, IN_DIM), dim=-1) / 2
    flat = capsules.flatten(1)
    matrix = layer.weight.detach().flatten(2).flatten(0, 1).clone().requires_grad_()
    return {
        "layer": training_pass(layer.forward, capsules, [layer.weight]),
        LOOP: training_pass(CarefulLayer(layer).forward, capsules, [layer.weight]),
        PRODUCT: training_pass(lambda x: x @ matrix, flat, [matrix]),
    }


def compare_layers(budget: float = 5.0) -> list[Comparison]:
    """Return what one output capsule and ten cost, batch 64."""
    comparisons = []
    for outputs, bars in ((1, {LOOP: 1 / 7, PRODUCT: 1.3}), (10, {LOOP: 0.2})):
        works = layer_works(outputs, batch=64)
        seconds = median_seconds(works, budget)
        part = f"{INPUTS} x {IN_DIM} -> {outputs} x {OUT_DIM}, batch 64"
        comparisons += [
            Comparison(part, against, "seconds", seconds["layer"], seconds[against], bars.get(against))
            for against in (LOOP, PRODUCT)
        ]
        memory = {name: peak_bytes(works[name]) for name in ("layer", LOOP)}
        bar = bars[LOOP] if outputs > 1 else None
        comparisons.append(Comparison(part, LOOP, "bytes", memory["layer"], memory[LOOP], bar))
    return comparisons


def compare_networks(bf16: bool, budget: float = 10.0) -> list[Comparison]:
    """Return what the CapsNet of Sabour et al. costs, 28 x 28 pixels, batch 32, loss and gradients.

    Parameters
    ----------
    bf16 : bool
        Whether this machine computes in bf16 by default.
    budget : float
        Seconds to measure for.
    """
    network = CapsNet(28, preset="capsnet")
    careful = copy.deepcopy(network)
    careful.last = CarefulLayer(careful.last)  # type: ignore[assignment]
    images, labels = torch.rand(32, 1, 28, 28) * 2 - 1, torch.arange(32) % 10
    targets = F.one_hot(labels, 10).float()

    def loss_and_gradients(network: CapsNet, bf16: bool) -> Work:
        parameters = [*network.trunk.parameters(), *network.primary.parameters(), *network.last.parameters()]

        def work() -> object:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                capsules = network.last(network.primary(network.trunk(images)))
            return torch.autograd.grad(margin_loss(lengths(capsules), targets), parameters)

        return work

    works = {
        "float32": loss_and_gradients(network, bf16=False),
        f"{LOOP}, float32": loss_and_gradients(careful, bf16=False),
    }
    if bf16:
        works["bf16"] = loss_and_gradients(network, bf16=True)
        works[f"{LOOP}, bf16"] = loss_and_gradients(careful, bf16=True)
    seconds = median_seconds(works, budget)
    pairs: list[tuple[str, str, float | None]] = [("float32", "float32", 0.9)]
    if bf16:
        pairs += [("bf16", "float32", 0.55), ("bf16", "bf16", None)]
    return [
        Comparison(
            f"CapsNet, batch 32, {ours}",
            f"{LOOP}, {theirs}",
            "seconds",
            seconds[ours],
            seconds[f"{LOOP}, {theirs}"],
            bar,
        )
        for ours, theirs, bar in pairs
    ]
