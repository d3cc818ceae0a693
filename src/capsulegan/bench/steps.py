"""Whole training steps beside each other, beside their convolutions alone, and where their time goes."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from capsulegan.bench.measure import Comparison, Work, median_seconds
from capsulegan.capsules.convolution import Convolution
from capsulegan.data.images import make_image_data
from capsulegan.networks.heads import HEADS
from capsulegan.training.build import ImageShape
from capsulegan.training.configuration import Config
from capsulegan.training.environment import computes_in_bf16
from capsulegan.training.trainee import Trainee, build_trainee

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

KINDS = {
    "convolutions": ("convolution", "mkldnn", "slow_conv", "thnn_conv"),
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "linear"),
    "batch norm": ("batch_norm", "native_batch_norm"),
    "optimizer": ("_fused_adam", "_foreach"),
    "copies and casts": ("copy_", "clone", "cat", "fill_", "zero_"),
}
"""Kinds of operations by the beginnings of their names; all others are element by element."""


def trainee_of(
    model: str,
    preset: str = "small",
    image_size: int = 28,
    batch_size: int = 64,
    precision: str = "auto",
    **settings: Any,
) -> Trainee:
    """Return a model as `capsulegan train` trains it with these settings, on noise for images."""
    noise = np.random.default_rng(0).integers(0, 256, (1024, image_size, image_size, 1), dtype=np.uint8)
    config = Config(model, "noise", preset=preset, batch_size=batch_size, **settings)  # type: ignore[arg-type]
    data = make_image_data("noise", noise)
    modes: dict[str, Any] = {"auto": "bf16-mixed" if bf16() else "32-true", "32": "32-true"}
    fabric = Fabric(accelerator="cpu", devices=1, precision=modes[precision])
    return build_trainee(config, data, ImageShape(image_size, 1, 0), fabric)


def bf16() -> bool:
    """Return whether training computes in bf16 here by default."""
    return computes_in_bf16("cpu")


def steps_of(trainee: Trainee) -> Work:
    """Return a function that makes one training step each time."""
    numbers = itertools.count()
    return lambda: trainee.advance(next(numbers))


def convolutions_alone(trainee: Trainee, latent_dim: int = 100, batch_size: int = 64) -> Work:
    """Return the convolutions of one adversarial step with their gradients, and nothing else.

    The generator's once; the discriminator's on real and on generated images for its weights, and on
    generated images once more for their pixels.
    """
    generator, discriminator = trainee.networks["generator"], trainee.networks["discriminator"]
    latents = torch.randn(batch_size, latent_dim)
    drawing = inputs_of(generator, latents)
    with torch.no_grad():
        judging = inputs_of(discriminator, generator(latents))
    passes: list[tuple[nn.Module, Tensor, list[Tensor]]] = []
    for module, x in drawing:
        passes.append((module, x, [x, *module.parameters()]))
    for index, (module, x) in enumerate(judging):
        passes += 2 * [(module, x, [*([x] if index else []), *module.parameters()])]
        passes.append((module, x, [x]))

    def work() -> object:
        for module, x, wanted in passes:
            for parameter in module.parameters():  # a frozen weight costs no gradient
                parameter.requires_grad_(any(parameter is each for each in wanted))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16()):
                y = plain_forward(module, x if any(x is each for each in wanted) else x.detach())
            torch.autograd.grad(y, wanted, torch.ones_like(y))
            module.requires_grad_(True)
        return None

    return work


def plain_forward(module: nn.Module, x: Tensor) -> Tensor:
    """Run a convolution as PyTorch itself does, whatever its class does better, without hooks."""
    kind = nn.Conv2d if isinstance(module, nn.Conv2d) else nn.ConvTranspose2d
    plain: nn.Module = copy.copy(module)
    plain.__class__ = kind
    y: Tensor = plain.forward(x)
    return y


def make_plain(network: nn.Module) -> None:
    """Turn a network's convolutions into PyTorch's own."""
    for module in network.modules():
        if isinstance(module, Convolution):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]


@torch.no_grad()
def inputs_of(network: nn.Module, inputs: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """Return each convolution of a network with what it is given for these inputs."""
    found: list[tuple[nn.Module, Tensor]] = []

    def record(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        found.append((module, arguments[0].detach().clone().requires_grad_()))

    handles = [
        module.register_forward_pre_hook(record)
        for module in network.modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    network(inputs)
    for handle in handles:
        handle.remove()
    return found


def compare_steps(budget: float = 12.0) -> list[Comparison]:
    """Return what a step of capsule GANs costs, 28 x 28 pixels, batch 64, in the default precision."""
    gan, small = trainee_of("gan"), trainee_of("capsulegan")
    seconds = median_seconds(
        {
            "gan": steps_of(gan),
            "small": steps_of(small),
            "convolutions of gan": convolutions_alone(gan),
            "convolutions of small": convolutions_alone(small),
        },
        budget,
    )
    large = trainee_of("capsulegan", "capsnet")
    seconds |= median_seconds(
        {"capsnet": steps_of(large), "convolutions of capsnet": convolutions_alone(large)}, budget
    )
    triples: list[tuple[str, str, float | None]] = [
        ("small", "gan", 1.5),
        ("capsnet", "gan", None),
        ("gan", "convolutions of gan", None),
        ("small", "convolutions of small", None),
        ("capsnet", "convolutions of capsnet", 1.25),
    ]
    names = {"gan": "gan step", "small": "capsulegan step, small", "capsnet": "capsulegan step, capsnet"}
    return [
        Comparison(
            names[ours], names.get(theirs, "its convolutions alone"), "seconds", seconds[ours], other, bar
        )
        for ours, theirs, bar in triples
        for other in [seconds[theirs]]
    ]


def compare_choices(budget: float = 20.0) -> list[Comparison]:
    """Return what training steps would cost with other choices than those that are made.

    Compiling takes about a minute of its own.
    """
    comparisons = []
    for model in ("gan", "capsulegan"):
        last, compiled = trainee_of(model), trainee_of(model)
        for network in last.networks.values():
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for network in compiled.networks.values():
            network.compile()
        cases = {
            "as chosen": steps_of(trainee_of(model)),
            "channels-last": steps_of(last),
            "torch.compile": steps_of(compiled),
            "float32": steps_of(trainee_of(model, precision="32")),
        }
        seconds = median_seconds(cases, budget)
        comparisons += [
            Comparison(f"{model} step, {name}", "as chosen", "seconds", seconds[name], seconds["as chosen"])
            for name in list(cases)[1:]
        ]
    for preset in ("small", "capsnet"):
        plain = trainee_of("capsulegan", preset)
        make_plain(plain.networks["discriminator"])
        cases = {"as chosen": steps_of(trainee_of("capsulegan", preset)), "plain": steps_of(plain)}
        seconds = median_seconds(cases, budget)
        part = f"capsulegan step, {preset}, torch.nn.Conv2d"
        comparisons.append(Comparison(part, "as chosen", "seconds", seconds["plain"], seconds["as chosen"]))
    return comparisons


def compare_heads(budget: float = 30.0, batch_size: int = 64) -> list[Comparison]:
    """Return what a step costs with other heads than the one capsule that needs no routing."""
    heads = [(head, iterations) for head in HEADS if head != "one" for iterations in (1, 3)]
    cases = {"one": steps_of(trainee_of("capsulegan", batch_size=batch_size))}
    for head, iterations in heads:
        settings = {"batch_size": batch_size, "head": head, "routing_iterations": iterations}
        trainee = trainee_of("capsulegan", **settings)  # type: ignore[arg-type]
        cases[f"{head}, {iterations} {'iteration' if iterations == 1 else 'iterations'}"] = steps_of(trainee)
    seconds = median_seconds(cases, budget)
    return [
        Comparison(f"capsulegan step, small, {name}", "head one", "seconds", seconds[name], seconds["one"])
        for name in list(cases)[1:]
    ]


def where_time_goes(work: Work, steps: int = 5) -> dict[str, float]:
    """Return the share of each kind of operation in the CPU time of a few steps."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(steps):
            work()
    shares: dict[str, float] = defaultdict(float)
    for event in trace.key_averages():
        name = event.key.removeprefix("aten::").removeprefix("_")
        kind = next(
            (kind for kind, starts in KINDS.items() if name.startswith(tuple(s.lstrip("_") for s in starts))),
            "element by element, and the rest",
        )
        shares[kind] += event.self_cpu_time_total
    total = sum(shares.values())
    return {kind: shares[kind] / total for kind in sorted(shares, key=lambda kind: -shares[kind])}
