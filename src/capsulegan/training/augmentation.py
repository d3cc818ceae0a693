"""Changes images by chance before the discriminator is shown them, real and generated ones alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from capsulegan.randomness import generator_for

NUMBERS = 8
"""Random numbers that an image takes: one for mirror, three for color, two for translation and for cutout."""


@dataclass(frozen=True)
class Augmentation:
    """What the discriminator sees in place of an image, so that it cannot learn the training images by heart.

    The generator learns through it: all of it has a gradient, and it leaves no trace in what is drawn as long
    as the generated images that match the real ones after it are those that match them before it.

    Sources: Zhao et al., *Differentiable Augmentation for Data-Efficient GAN Training* (2020), section 3 and
    4.3, for the policies `color`, `translation` and `cutout`; instance noise of Sonderby et al., *Amortised
    MAP Inference for Image Super-resolution* (2017), here of a constant deviation.
    """

    policies: tuple[str, ...] = ()
    """Some of `capsulegan.training.recipes.POLICIES`, whatever their order."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, on images from -1 to 1."""

    def draws(self, shape: torch.Size, seed: int, step: int) -> list[Tensor]:
        """Return what chance decides for a step's images of such a shape, (B, C, H, W), to call this with."""
        draws = []
        if self.policies:
            generator = generator_for(seed, "augmentation", step)
            draws.append(torch.rand(NUMBERS, shape[0], generator=generator))
        if self.noise:
            draws.append(
                self.noise * torch.randn(shape, generator=generator_for(seed, "instance noise", step))
            )
        return draws

    def __call__(self, images: Tensor, *draws: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] as they are shown, which may leave that range."""
        if self.policies:
            images = augmented(images, draws[0], self.policies)
        return images + draws[-1] if self.noise else images


def augmented(images: Tensor, numbers: Tensor, policies: tuple[str, ...]) -> Tensor:
    """Return images (B, C, H, W) changed as the random numbers in [0, 1), (NUMBERS, B), say.

    mirror exchanges left and right of every other one; color adds up to 0.5 either way, makes colours 0 to 2
    times as strong and contrasts 0.5 to 1.5 times; translation moves by up to an eighth of the size either
    way, and leaves 0 behind; cutout puts 0 into a square of half the size, which may reach over the edge.
    """
    mirror, brightness, saturation, contrast, down, right, middle_row, middle_column = numbers
    if "color" in policies:
        images = recoloured(images, brightness - 0.5, 2 * saturation, contrast + 0.5)
    rows, columns = (
        torch.arange(size, device=images.device).expand(len(images), size) for size in images.shape[2:]
    )
    if "translation" in policies:
        rows, columns = (
            rows - offsets(down, rows.shape[1] // 8),
            columns - offsets(right, columns.shape[1] // 8),
        )
    if "mirror" in policies:
        columns = torch.where((mirror < 0.5)[:, None], columns.shape[1] - 1 - columns, columns)
    if "translation" in policies or "mirror" in policies:
        images = taken(images, rows, columns)
    if "cutout" in policies:
        inside = (
            within(middle_row, images.shape[2])[:, :, None] & within(middle_column, images.shape[3])[:, None]
        )
        images = images * ~inside[:, None]
    return images


def recoloured(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Return images brighter by so much, and so many times as strong in colour and contrast, each (B,)."""
    images = images + brightness[:, None, None, None]
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation[:, None, None, None] * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + contrast[:, None, None, None] * (images - mean)


def offsets(chance: Tensor, most: int) -> Tensor:
    """Return whole pixels from -most to most, each as likely: (B,) in [0, 1) -> (B, 1)."""
    return ((2 * most + 1) * chance).floor().long()[:, None] - most


def taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images whose pixel (i, j) is the one at (rows[i], columns[j]), or 0 where there is none.

    As products with matrices of ones and zeros: exact, and unlike a gradient of indexing, the same bits each
    time on a GPU.
    """
    from_rows, from_columns = (
        (places[:, :, None] == torch.arange(places.shape[1], device=places.device)).to(images.dtype)[:, None]
        for places in (rows, columns)
    )
    return from_rows @ images @ from_columns.mT


def within(middle: Tensor, size: int) -> Tensor:
    """Return which of `size` places are in a range of half as many around a middle: (B,) -> (B, size)."""
    first = (middle * (size + 1)).floor()[:, None] - size // 4
    places = torch.arange(size, device=middle.device)
    return (places >= first) & (places < first + size // 2)
