"""Where on an image a discriminator finds its answer: exact shares of it, place by place.

The last layer of a discriminator is linear in the map below it. So its answer is a sum over the places of
that map, and the terms of the sum are known; nothing is estimated, as it would be by gradients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from capsulegan.capsules.functional import at_least_float32
from capsulegan.networks.discriminators import CapsuleDiscriminator, ConvDiscriminator
from capsulegan.networks.heads import OneCapsule


class Evidence(NamedTuple):
    """Shares of a discriminator's answers."""

    shares: Tensor
    """(B, h, w), one for each place of the last map, in reading order."""
    constant: float
    """What is added whatever the image."""
    total: Tensor
    """(B,), the sum of both: the logit of a convolutional discriminator; of a capsule one the length of
    the last capsule's total input, ||s||, of which the probability is ||s||^2 / (1 + ||s||^2)."""


@torch.no_grad()
def evidence_of(discriminator: nn.Module, images: Tensor) -> Evidence | None:
    """Return the shares of a discriminator's answers to images (B, C, H, W) in [-1, 1].

    With one capsule, s = sum_i W_i u_i, so its length is the sum over primary capsules i of
    (s / ||s||) . W_i u_i; of the kinds of capsules at one place the shares are added. A capsule that is
    routed, or attends, is not linear in those below: for such heads there is None.
    """
    if isinstance(discriminator, ConvDiscriminator):
        below = discriminator.layers[:-2](images)  # (B, C, h, w)
        last = discriminator.layers[-1]
        assert isinstance(last, nn.Linear)
        weight = last.weight.view(below.shape[1:])  # (C, h, w)
        shares, constant = (below * weight).sum(dim=1), float(last.bias)
    elif isinstance(discriminator, CapsuleDiscriminator) and isinstance(discriminator.head, OneCapsule):
        capsules = at_least_float32(discriminator.primary(discriminator.trunk(images)))  # (B, I, d)
        weight = discriminator.head.last.weight[:, :, 0]  # (I, d, D)
        s = discriminator.head.last.total_input(capsules).squeeze(1)  # (B, D)
        towards = torch.einsum("ide,be->bid", weight, nn.functional.normalize(s, dim=1))  # (B, I, d)
        of_capsules = (capsules * towards).sum(dim=2)  # (B, I)
        kinds = discriminator.primary.convolution.out_channels // discriminator.primary.dim
        side = math.isqrt(of_capsules.shape[1] // kinds)
        shares, constant = of_capsules.view(-1, kinds, side, side).sum(dim=1), 0.0
    else:
        return None
    return Evidence(shares, constant, shares.sum(dim=(1, 2)) + constant)
