"""Capsule layers and their arithmetic. Useful without any GAN; needs nothing but torch."""

from capsulegan.capsules.functional import (
    dynamic_routing,
    length_logits,
    lengths,
    margin_loss,
    squash,
)
from capsulegan.capsules.layers import CapsuleLayer, PrimaryCapsules

__all__ = [
    "CapsuleLayer",
    "PrimaryCapsules",
    "dynamic_routing",
    "length_logits",
    "lengths",
    "margin_loss",
    "squash",
]
