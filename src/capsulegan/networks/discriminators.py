"""Discriminators. Each takes images in [-1, 1] and returns one logit per image.

The sigmoid of the logit is the probability that the image is real; for a capsule discriminator that is
the length of its last capsule.
"""

from __future__ import annotations

from torch import Tensor, nn

from capsulegan.capsules.convolution import Convolution
from capsulegan.networks.generator import initialize_dcgan
from capsulegan.networks.heads import build_head
from capsulegan.networks.shapes import check_image_shape, halvings
from capsulegan.networks.trunks import count_capsules, primary_capsules


class ConvDiscriminator(nn.Module):
    """Strided convolutions, batch norm but in the first, leaky ReLU 0.2 (Radford et al. 2016).

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    width : int
        Channels of the first hidden map; each further one has twice as many. Images of 16 pixels or
        fewer have a first map of their own size, all others one of half their size.
    """

    def __init__(self, image_size: int, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        depth = halvings(image_size)
        if image_size <= 16:
            first, remaining = Convolution(channels, width, 3, stride=1, padding=1), depth
        else:
            first, remaining = Convolution(channels, width, 4, stride=2, padding=1), depth - 1
        layers: list[nn.Module] = [first, nn.LeakyReLU(0.2)]
        for _ in range(remaining):
            layers += [
                nn.Conv2d(width, width * 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width * 2),
                nn.LeakyReLU(0.2),
            ]
            width *= 2
        base = image_size >> depth
        layers += [nn.Flatten(), nn.Linear(width * base * base, 1)]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize_dcgan)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: (B, C, H, W) -> (B,)."""
        logits: Tensor = self.layers(images)  # (B, 1)
        return logits.squeeze(1)


class CapsuleDiscriminator(nn.Module):
    """Convolution, primary capsules, and one last capsule whose length is the probability.

    After Jaiswal et al. (2018), Fig. 1. The last layer has one capsule, so it needs no routing (see
    `CapsuleLayer`); the other heads are there to find out whether routing that does something helps.

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    preset : {"small", "capsnet", "deep"}
        `small`: 64 filters of 9x9, stride 2 (as many layers as bring the map to 16 pixels or fewer), then
        16 kinds of 8-D capsules by 5x5 filters of stride 2. `capsnet`: the network of Sabour et al., 256
        filters of 9x9, then 32 kinds of 8-D capsules by 9x9 filters of stride 2. `deep`: 32 filters of
        5x5, twice 64 of 3x3, with batch norm, then the primary capsules of `small`. All end in one 16-D
        capsule.
    batch_norm : bool
        Batch norm after the convolutions below the primary capsules (`deep` always has it).
    head : {"one", "hidden", "two", "attention"}
        See `networks.heads`.
    iterations : int
        Routing iterations, for heads that route.

    Raises
    ------
    ValueError
        If the size or the number of channels cannot be taken, or the preset or the head is unknown.
    """

    def __init__(
        self,
        image_size: int,
        channels: int = 1,
        preset: str = "small",
        *,
        batch_norm: bool = False,
        head: str = "one",
        iterations: int = 3,
    ) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        self.trunk, self.primary = primary_capsules(image_size, channels, preset, batch_norm)
        capsules = count_capsules(self.trunk, self.primary, image_size, channels)
        self.head = build_head(head, capsules, self.primary.dim, iterations)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: (B, C, H, W) -> (B,). Their sigmoid is the length of the last capsule."""
        logits: Tensor = self.head(self.primary(self.trunk(images)))  # from capsules (B, I, 8)
        return logits
