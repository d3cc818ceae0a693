"""From primary capsules to the logit that an image is real: one last capsule, and what else was tried."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsulegan.capsules import CapsuleLayer, length_logits
from capsulegan.capsules.functional import at_least_float32, attentive_total_input
from capsulegan.errors import unknown_name

DIM = 16
"""Components of the last capsules."""
HIDDEN = 10
"""Capsules of the hidden layer, as many as there are digits."""


class OneCapsule(nn.Module):
    """One capsule, whose length is the probability: the paper's. Routing would do nothing."""

    def __init__(self, in_capsules: int, in_dim: int, iterations: int) -> None:
        super().__init__()
        self.last = CapsuleLayer(in_capsules, in_dim, 1, DIM)

    def forward(self, capsules: Tensor) -> Tensor:
        """Return logits: (B, I, d) -> (B,)."""
        return length_logits(self.last.total_input(capsules)).squeeze(1)


class HiddenCapsules(nn.Module):
    """Ten capsules routed in the ordinary way, and one on top of them."""

    def __init__(self, in_capsules: int, in_dim: int, iterations: int) -> None:
        super().__init__()
        self.hidden = CapsuleLayer(in_capsules, in_dim, HIDDEN, DIM, iterations)
        self.last = CapsuleLayer(HIDDEN, DIM, 1, DIM)

    def forward(self, capsules: Tensor) -> Tensor:
        """Return logits: (B, I, d) -> (B,)."""
        return length_logits(self.last.total_input(self.hidden(capsules))).squeeze(1)


class TwoCapsules(nn.Module):
    """Two capsules, real and generated, which routing makes compete for the capsules below.

    With total inputs r and g the probability is ||r||^2 / (||r||^2 + ||g||^2).
    """

    def __init__(self, in_capsules: int, in_dim: int, iterations: int) -> None:
        super().__init__()
        self.last = CapsuleLayer(in_capsules, in_dim, 2, DIM, iterations)

    def forward(self, capsules: Tensor) -> Tensor:
        """Return logits: (B, I, d) -> (B,)."""
        real, generated = length_logits(self.last.total_input(capsules)).unbind(dim=1)
        return real - generated


class AttendingCapsule(nn.Module):
    """One capsule for which the capsules below compete: couplings are a softmax over inputs."""

    def __init__(self, in_capsules: int, in_dim: int, iterations: int) -> None:
        super().__init__()
        self.last = CapsuleLayer(in_capsules, in_dim, 1, DIM)
        self.iterations = iterations

    def forward(self, capsules: Tensor) -> Tensor:
        """Return logits: (B, I, d) -> (B,)."""
        wide = at_least_float32(capsules)
        with torch.autocast(wide.device.type, enabled=False):
            predictions = torch.einsum("bid,idje->bije", wide, self.last.weight)  # u_hat: (B, I, 1, 16)
            return length_logits(attentive_total_input(predictions, self.iterations)).squeeze(1)


HEADS = {
    "one": OneCapsule,
    "hidden": HiddenCapsules,
    "two": TwoCapsules,
    "attention": AttendingCapsule,
}


def build_head(name: str, in_capsules: int, in_dim: int, iterations: int) -> nn.Module:
    """Return the head of that name: from capsules (B, in_capsules, in_dim) to logits (B,)."""
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name](in_capsules, in_dim, iterations)
