"""How different from each other generated images are, measured on every batch of training."""

from __future__ import annotations

import torch
from torch import Tensor

from capsulegan.data import ImageData
from capsulegan.training.batches import scaled

MOST_IMAGES = 10_000
"""Images that the class means are taken from: more move them by less than a grey level."""


class Diversity:
    """Measures batches of images (B, C, H, W): their deviation, and over how many classes they spread.

    The class of an image is that of the nearest mean of real images in pixels, which costs next to nothing
    and needs no classifier: too crude to judge an image by, good enough to see a whole class disappear.

    Parameters
    ----------
    data : ImageData
        Real images. Without labels, or with one class only, classes are not looked at.
    device : torch.device
        Where the batches are.
    """

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.names: tuple[str, ...] = ("image_deviation",)
        self._means: Tensor | None = None
        if data.labels is not None and len(data.classes) > 1:
            self.names += ("class_entropy",)
            every = -(-len(data.images) // MOST_IMAGES)  # folders come class by class: take some of all
            images = scaled(data.images[::every]).flatten(1)
            labels = torch.from_numpy(data.labels[::every].copy())
            present = torch.unique(labels)
            self._means = torch.stack([images[labels == label].mean(dim=0) for label in present]).to(device)
            self._classes = torch.arange(len(present), device=device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return scalars.

        `image_deviation`: the standard deviation of a pixel over the batch, averaged over pixels, in
        [0, 1]. `class_entropy`: in nats, 0 if all images are nearest to one class's mean.
        """
        measured = {"image_deviation": images.std(dim=0).mean()}
        if self._means is not None:
            distances = torch.cdist(images.flatten(1).float(), self._means)
            nearest = distances.argmin(dim=1, keepdim=True)
            shares = (nearest == self._classes).float().mean(dim=0)
            measured["class_entropy"] = torch.special.entr(shares).sum()
        return measured
