"""A residual network as a classifier of colour images."""

from __future__ import annotations

from typing import NamedTuple

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
    """(B, 8 width): the last maps, averaged over their places."""

    @property
    def confidences(self) -> Tensor:
        """(B, K): the probability of each class."""
        return self.logits.softmax(dim=1)


class ResidualNetwork(nn.Module):
    """A residual classifier, broad and not deep, that learns much in few epochs.

    After Page (*How to train your ResNet*, 2018), who took most layers out of the networks of He et al.
    (2016). A 3x3 convolution of `width` channels; three more, each of twice as many as the one before, after
    which maps are halved by the largest of 2x2 places; residual blocks after the first and the last of these
    three; batch norm and ReLU throughout; the mean over all places; one linear layer.

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    classes : int
        Number K of classes, at least 2.
    width : int
        Channels of the first convolution, at least 8.

    Raises
    ------
    ValueError
        If the size, the width, or the number of channels or of classes cannot be taken.
    """

    def __init__(self, image_size: int, channels: int = 3, classes: int = 10, width: int = 64) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        check_classes(classes)
        if width < LEAST_WIDTH:
            raise ValueError(f"The 'width' parameter must be at least {LEAST_WIDTH}. Got {width} instead.")
        self.classes = classes
        self.layers = nn.Sequential(
            *convolved(channels, width),
            *convolved(width, 2 * width),
            nn.MaxPool2d(2),
            ResidualBlock(2 * width),
            *convolved(2 * width, 4 * width),
            nn.MaxPool2d(2),
            *convolved(4 * width, 8 * width),
            nn.MaxPool2d(2),
            ResidualBlock(8 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.last = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Recognition:
        """Return logits and features of images in [-1, 1]: (B, C, H, W) -> (B, K), (B, 8 width)."""
        features = self.layers(images)
        return Recognition(at_least_float32(self.last(features)), at_least_float32(features))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose maps are added to those below (He et al. 2016, Fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*convolved(channels, channels), *convolved(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps: (B, channels, H, W) -> (B, channels, H, W)."""
        residual: Tensor = self.residual(maps)
        return maps + residual


def convolved(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a padded 3x3 convolution (weights as He et al. 2015), batch norm and ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)  # batch norm would take a bias away
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]
