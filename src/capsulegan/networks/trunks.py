"""From an image to primary capsules: what capsule discriminators and classifiers share."""

from __future__ import annotations

import math

import torch
from torch import nn

from capsulegan.capsules import PrimaryCapsules
from capsulegan.capsules.convolution import Convolution
from capsulegan.errors import unknown_name

PRESETS = ("small", "capsnet", "deep")


def primary_capsules(
    image_size: int, channels: int, preset: str, batch_norm: bool = False
) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return the convolutions of a preset and the primary capsules on top of them.

    Both are padded so that every pixel reaches a capsule: unpadded filters with stride 2 leave the last
    row and column unseen, and a generator fills them with dirt. `deep` has batch norm whether asked or not;
    nowhere is there any between the primary convolution and its squash, which would bring every capsule
    to the same typical length.
    """
    if preset == "small":
        return small_trunk(image_size, channels, batch_norm)
    if preset == "capsnet":
        return capsnet_trunk(image_size, channels, batch_norm)
    if preset == "deep":
        return deep_trunk(image_size, channels)
    raise unknown_name("preset", preset, PRESETS)


def small_trunk(image_size: int, channels: int, batch_norm: bool) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return 9x9 convolutions that halve the map to 16 pixels or fewer, and the primary capsules."""
    layers, inputs = [], channels
    for stride in strides(image_size):
        layers += [convolution(inputs, 64, 9, stride, 4), *norm(64, batch_norm), nn.ReLU()]
        inputs = 64
    return nn.Sequential(*layers), PrimaryCapsules(64, 16, 8, kernel_size=5, stride=2, padding=2)


def deep_trunk(image_size: int, channels: int) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return a 5x5 convolution, two or more of 3x3 with batch norm, and the primary capsules."""
    first, *further = strides(image_size)
    layers = [convolution(channels, 32, 5, first, 2), *norm(32), nn.ReLU()]
    inputs = 32
    for stride in [*further, 1, 1]:
        layers += [convolution(inputs, 64, 3, stride, 1), *norm(64), nn.ReLU()]
        inputs = 64
    return nn.Sequential(*layers), PrimaryCapsules(64, 16, 8, kernel_size=5, stride=2, padding=2)


def strides(image_size: int) -> list[int]:
    """Return the strides of padded convolutions that bring a map to 16 pixels or fewer: one at least."""
    steps = [1 if image_size <= 16 else 2]
    while -(-image_size // math.prod(steps)) > 16:
        steps.append(2)
    return steps


def capsnet_trunk(image_size: int, channels: int, batch_norm: bool) -> tuple[nn.Sequential, PrimaryCapsules]:
    """Return the 9x9 convolution and the primary capsules of Sabour et al. (2017), padded."""
    unpadded = image_size >= 20  # smaller images would have no map left for the 9x9 primary filters
    layers = [convolution(channels, 256, 9, padding=0 if unpadded else 4), *norm(256, batch_norm), nn.ReLU()]
    primary = PrimaryCapsules(256, 32, 8, kernel_size=9, stride=2, padding=1 if unpadded else 4)
    return nn.Sequential(*layers), primary


def norm(channels: int, wanted: bool = True) -> list[nn.Module]:
    """Return batch norm for a map of so many channels, or nothing."""
    return [nn.BatchNorm2d(channels)] if wanted else []


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """Return a convolution for a ReLU after it, which keeps the mean square (He et al. 2015)."""
    layer = Convolution(in_channels, out_channels, kernel_size, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


@torch.no_grad()
def count_capsules(trunk: nn.Module, primary: PrimaryCapsules, image_size: int, channels: int) -> int:
    """Return how many primary capsules there are for an image of this size."""
    below = trunk.eval()(torch.zeros(1, channels, image_size, image_size))  # no batch for the norms to count
    trunk.train()
    return int(primary(below).shape[1])
