"""The capsule network of Sabour et al. (2017) as a classifier with a reconstruction decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from capsulegan.capsules import CapsuleLayer, lengths
from capsulegan.networks.shapes import check_classes, check_image_shape
from capsulegan.networks.trunks import count_capsules, primary_capsules


class Classification(NamedTuple):
    """What a CapsNet says of a batch of images."""

    lengths: Tensor
    """(B, K): the lengths of the class capsules, in [0, 1); the longest is the answer."""
    capsules: Tensor
    """(B, K, 16): the class capsules themselves."""

    @property
    def confidences(self) -> Tensor:
        """(B, K): how sure each class is, which is its capsule's length."""
        return self.lengths

    @property
    def features(self) -> Tensor:
        """(B, K * 16): the class capsules one after another."""
        return self.capsules.flatten(1)


class CapsNet(nn.Module):
    """A capsule classifier: convolution, primary capsules, one routed 16-D capsule a class.

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    classes : int
        Number K of classes, at least 2.
    preset : {"deep", "small", "capsnet"}
        The layers below the class capsules, as in `CapsuleDiscriminator`.
    iterations : int
        Routing iterations.
    """

    def __init__(
        self,
        image_size: int,
        channels: int = 1,
        classes: int = 10,
        preset: str = "deep",
        iterations: int = 3,
    ) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        check_classes(classes)
        self.classes = classes
        self.trunk, self.primary = primary_capsules(image_size, channels, preset)
        below = count_capsules(self.trunk, self.primary, image_size, channels)
        self.last = CapsuleLayer(below, self.primary.dim, classes, 16, iterations)
        self.decoder = nn.Sequential(
            nn.Linear(classes * 16, 512),
            nn.ReLU(),
            nn.Linear(512, 1024),
            nn.ReLU(),
            nn.Linear(1024, channels * image_size * image_size),
            nn.Tanh(),
            nn.Unflatten(1, (channels, image_size, image_size)),
        )

    def forward(self, images: Tensor) -> Classification:
        """Return the class capsules of images in [-1, 1]: (B, C, H, W) -> (B, K), (B, K, 16)."""
        capsules = self.last(self.primary(self.trunk(images)))
        return Classification(lengths(capsules), capsules)

    def reconstruct(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Return images in [-1, 1] drawn from the capsules of the given classes alone.

        (B, K, 16), (B,) -> (B, C, H, W). All other capsules are masked with zeros (section 4.1).
        """
        mask = F.one_hot(labels, self.classes).to(capsules.dtype).unsqueeze(2)  # (B, K, 1)
        images: Tensor = self.decoder((capsules * mask).flatten(1))
        return images
