"""From an image to primary capsules: what capsule discriminators and classifiers share."""

from __future__ import annotations

import torch
from torch import nn

from capsulegan.capsules import PrimaryCapsules
from capsulegan.errors import unknown_name

PRESETS = ("small", "capsnet")


def primary_capsules(image_size: int, channels: int, preset: str) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return the convolutions of a preset and the primary capsules on top of them.

    Both are padded so that every pixel reaches a capsule: unpadded filters with stride 2 leave the last
    row and column unseen, and a generator fills them with dirt.
    """
    if preset == "small":
        return small_trunk(image_size, channels)
    if preset == "capsnet":
        return capsnet_trunk(image_size, channels)
    raise unknown_name("preset", preset, PRESETS)


def small_trunk(image_size: int, channels: int) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return 9x9 convolutions that halve the map to 16 pixels or fewer, and the primary capsules."""
    layers: list[nn.Module] = [convolution(channels, 64, stride=1 if image_size <= 16 else 2), nn.ReLU()]
    size = image_size if image_size <= 16 else image_size // 2
    while size > 16:
        layers += [convolution(64, 64, stride=2), nn.ReLU()]
        size = (size + 1) // 2
    return nn.Sequential(*layers), PrimaryCapsules(64, 16, 8, kernel_size=5, stride=2, padding=2)


def capsnet_trunk(image_size: int, channels: int) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return the 9x9 convolution and the primary capsules of Sabour et al. (2017), padded."""
    unpadded = image_size >= 20  # smaller images would have no map left for the 9x9 primary filters
    layers = nn.Sequential(convolution(channels, 256, padding=0 if unpadded else 4), nn.ReLU())
    return layers, PrimaryCapsules(256, 32, 8, kernel_size=9, stride=2, padding=1 if unpadded else 4)


def convolution(in_channels: int, out_channels: int, stride: int = 1, padding: int = 4) -> nn.Conv2d:
    """Return a 9x9 convolution for a ReLU after it, which keeps the mean square (He et al. 2015)."""
    layer = nn.Conv2d(in_channels, out_channels, 9, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


@torch.no_grad()
def count_capsules(trunk: nn.Module, primary: PrimaryCapsules, image_size: int, channels: int) -> int:
    """Return how many primary capsules there are for an image of this size."""
    return int(primary(trunk(torch.zeros(1, channels, image_size, image_size))).shape[1])
