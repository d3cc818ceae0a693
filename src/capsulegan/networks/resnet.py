"""A residual network as a classifier of colour images."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from capsulegan.capsules.functional import at_least_float32
from capsulegan.networks.shapes import check_classes, check_image_shape

LEAST_WIDTH = 8
"""Channels below which float32 gradients of PyTorch 2.13 on AVX2 hang or crash (seen with 4)."""


class Recognition(NamedTuple):
    """What a residual network says of a batch of images."""

    logits: Tensor
    """(B, K): the logarithms of the classes' probabilities, but for a constant; the largest is the answer."""
    features: Tensor
    """(B, 4 width): the last maps, averaged over their places."""

    @property
    def confidences(self) -> Tensor:
        """(B, K): the probability of each class."""
        return self.logits.softmax(dim=1)


class ResidualNetwork(nn.Module):
    """A residual classifier (He et al., *Deep residual learning*, 2016, section 4.2), broad and not deep.

    One 3x3 convolution, then three stages of residual blocks with `width`, twice and four times as many
    channels, the second and third on maps of half the size; batch norm and ReLU; the mean over all places;
    one linear layer. Shortcuts that change shape are 1x1 convolutions. He et al. have 16 channels and 3, 5, 7
    or 9 blocks a stage: here few blocks of many channels learn more in a few epochs.

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    classes : int
        Number K of classes, at least 2.
    width : int
        Channels of the first stage, at least 8.
    blocks : int
        Residual blocks a stage.

    Raises
    ------
    ValueError
        If the size, the width, or the number of channels or of classes cannot be taken.
    """

    def __init__(
        self, image_size: int, channels: int = 3, classes: int = 10, width: int = 64, blocks: int = 1
    ) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        check_classes(classes)
        if width < LEAST_WIDTH:
            raise ValueError(f"The 'width' parameter must be at least {LEAST_WIDTH}. Got {width} instead.")
        self.classes = classes
        layers: list[nn.Module] = [convolution(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
        for stage in range(3):
            for block in range(blocks):
                outputs, stride = width << stage, 2 if stage and not block else 1
                layers.append(ResidualBlock(inputs, outputs, stride))
                inputs = outputs
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Recognition:
        """Return logits and features of images in [-1, 1]: (B, C, H, W) -> (B, K), (B, 4 width)."""
        features = self.layers(images)
        return Recognition(at_least_float32(self.last(features)), at_least_float32(features))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, beside a shortcut (He et al. 2016, Fig. 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            convolution(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            convolution(outputs, outputs, 3),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return F.relu(self.residual(maps) + self.shortcut(maps))


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Return a padded convolution without bias, which batch norm would take away (He et al. 2015 weights)."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
