"""Which images make up which step: a function of (seed, step) alone."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from capsulegan.data import ImageData
from capsulegan.randomness import generator_for
from capsulegan.tensors import sent


class Batches:
    """Batches of a data set in an order shuffled anew each epoch.

    Epochs follow each other without a gap, so a batch may hold the end of one and the start of the next.

    Parameters
    ----------
    data : ImageData
        Images uint8 (N, H, W, C), and labels or none.
    batch_size : int
        Images a batch; may be larger than N.
    seed : int
        Of the run.
    device : torch.device, optional
        Where all images are kept, as uint8, and batches are made. None: in the data's own memory.
    """

    def __init__(
        self, data: ImageData, batch_size: int, seed: int, device: torch.device | None = None
    ) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self._stored = None if device is None else torch.tensor(data.images, device=device)
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Return which images step `step` (from 0) shows: int64 (batch_size,)."""
        size = len(self.data.images)
        position, end = step * self.batch_size, (step + 1) * self.batch_size
        pieces = []
        while position < end:
            epoch, offset = divmod(position, size)
            pieces.append(self._epoch_order(epoch)[offset : offset + end - position])
            position += len(pieces[-1])
        return np.concatenate(pieces)

    def images(self, step: int) -> Tensor:
        """Return a step's images, scaled to [-1, 1]: float32 (B, C, H, W)."""
        indices = self.indices(step)
        if self._stored is None:
            return scaled(self.data.images[indices])
        return scaled(self._stored[sent(torch.from_numpy(indices), self._stored.device)])

    def labels(self, step: int) -> Tensor:
        """Return a step's labels: int64 (B,)."""
        assert self.data.labels is not None
        return torch.from_numpy(self.data.labels[self.indices(step)])

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            generator = generator_for(self.seed, "data order", epoch)
            self._order = torch.randperm(len(self.data.images), generator=generator).numpy()
            self._epoch = epoch
        return self._order


def shifted(images: Tensor, most: int, seed: int, step: int) -> Tensor:
    """Move each image by up to `most` pixels either way, the new edge as dark as -1: (B, C, H, W).

    The augmentation of Sabour et al. (2017), section 5, who move MNIST by up to 2 pixels.
    """
    if most == 0:
        return images
    size, generator = images.shape[-1], generator_for(seed, "shifts", step)
    offsets = sent(torch.randint(2 * most + 1, (2, len(images), 1), generator=generator), images.device)
    rows, columns = offsets + torch.arange(size, device=images.device)  # (B, H), (B, W)
    padded = F.pad(images, [most] * 4, value=-1.0).permute(0, 2, 3, 1)  # (B, H, W, C)
    numbers = torch.arange(len(images), device=images.device)
    moved = padded[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


def turned(images: Tensor, seed: int, step: int, degrees: float = 10.0, scale: float = 0.1) -> Tensor:
    """Turn each image by up to `degrees` either way and make it up to `scale` larger or smaller.

    (B, C, H, W) in [-1, 1]; bilinear, the new edge as dark as -1.
    """
    count, generator = len(images), generator_for(seed, "turns", step)
    angle, factor = (torch.rand(2, count, generator=generator) * 2 - 1).unbind()
    angle, factor = angle * math.radians(degrees), 1 + factor * scale
    cosine, sine, zero = factor * angle.cos(), factor * angle.sin(), torch.zeros(count)
    matrices = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(count, 2, 3)
    matrices = sent(matrices, images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def mirrored(images: Tensor, seed: int, step: int) -> Tensor:
    """Return images of which every other one, by chance, has left and right exchanged: (B, C, H, W)."""
    flips = torch.rand(len(images), generator=generator_for(seed, "mirrors", step)) < 0.5
    return torch.where(sent(flips, images.device)[:, None, None, None], images.flip(3), images)


def varied(images: Tensor, model: str, seed: int, step: int) -> Tensor:
    """Return images as a classifier learns from them: no two epochs alike, (B, C, H, W) in [-1, 1].

    CapsNet, which is for digits, sees them turned, scaled, and moved by up to 1/14 of their size (2 of 28
    pixels). The residual network sees them mirrored, and moved by up to 1/8 (4 of 32; He et al. 2016, 4.2).
    """
    size = images.shape[-1]
    if model == "resnet":
        return shifted(mirrored(images, seed, step), size // 8, seed, step)
    return shifted(turned(images, seed, step), size // 14, seed, step)


def scaled(images: np.ndarray | Tensor) -> Tensor:
    """Return uint8 images as networks take them: (N, H, W, C) in 0..255 -> (N, C, H, W) in [-1, 1]."""
    levels = images if isinstance(images, Tensor) else torch.tensor(images)
    return levels.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def unscaled(images: Tensor) -> np.ndarray:
    """Return networks' images as uint8: (N, C, H, W) in [-1, 1] -> (N, H, W, C) in 0..255."""
    levels = images.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
