"""A set of images in memory or on disk, checked once, with a digest that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from capsulegan.errors import UserError
from capsulegan.sizes import SIZES, is_image_size

Split = Literal["train", "test"]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

BLOCK_BYTES = 2**24
"""How much of a set is hashed or copied at a time."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """One split of a data set. Built by `make_image_data`, which checks it.

    Attributes
    ----------
    name
        The data set's name, or the stem of the folder or file it came from.
    images
        Pixels, uint8 of shape (N, H, W, C), square, C 1 (grey) or 3 (RGB). Read-only, and for large
        folders a memory map: take batches by indexing, which copies.
    labels
        Classes, int64 of shape (N,) in 0..K-1, read-only; None if the images have none.
    classes
        The K class names; empty without labels.
    digest
        SHA-256 over shape, pixels and labels, as hexadecimal digits.
    skipped
        Files of a folder that could not be read and were left out.
    folder
        Where the files lie; None if they come with a library.
    """

    name: str
    images: Pixels
    labels: Labels | None
    classes: tuple[str, ...]
    digest: str
    skipped: tuple[str, ...] = ()
    folder: Path | None = None


def make_image_data(
    name: str,
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None = None,
    classes: Sequence[str] = (),
    *,
    skipped: Sequence[str] = (),
    folder: Path | None = None,
) -> ImageData:
    """Check a set of images, make its arrays read-only and compute its digest.

    Parameters
    ----------
    name
        What the set is called.
    images
        uint8 of shape (N, H, W, C), N >= 1, H = W a size that the networks take, C 1 or 3.
    labels
        Integers of shape (N,) in 0..K-1, or None.
    classes
        K names; empty exactly if `labels` is None.
    skipped, folder
        See `ImageData`.

    Raises
    ------
    UserError
        If anything is not as said above.
    """
    if images.dtype != np.uint8:
        raise data_error(f"{name}: expected images of 8-bit integers (uint8), got {images.dtype}")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) == 0:
        raise data_error(f"{name}: expected images of shape (N, H, W, 1 or 3), N >= 1, got {images.shape}")
    height, width = images.shape[1:3]
    if height != width:
        raise data_error(
            f"{name}: expected square images, got {width} x {height}; resize them: --image-size 32"
        )
    check_image_size(height, name)
    if (labels is None) != (len(classes) == 0):
        raise data_error(f"{name}: expected labels and class names, or neither, got {len(classes)} names")
    if labels is not None:
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise data_error(
                f"{name}: expected {len(images)} integer labels, got {labels.dtype} {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(classes):
            raise data_error(
                f"{name}: expected labels below {len(classes)}, got {labels.min()} to {labels.max()}"
            )
        labels = read_only(labels.astype(np.int64))
    return ImageData(
        name=name,
        images=read_only(images),
        labels=labels,
        classes=tuple(classes),
        digest=digest(images, labels),
        skipped=tuple(skipped),
        folder=folder,
    )


def check_image_size(image_size: int, name: str = "image_size") -> None:
    """Raise UserError if the networks take no images of this size."""
    if not is_image_size(image_size):
        raise data_error(
            f"{name}: expected a size that is {SIZES}, got {image_size}; resize them: --image-size 32"
        )


def digest(images: npt.NDArray[Any], labels: npt.NDArray[Any] | None) -> str:
    """Return the SHA-256 over shape, pixels and labels, as hexadecimal digits.

    Two sets have the same digest exactly if they hold the same images and labels in the same order.
    """
    result = hashlib.sha256(f"{images.shape} {labels is not None}".encode())
    for block in blocks(images):
        result.update(np.ascontiguousarray(block).data)
    if labels is not None:
        result.update(labels.astype("<i8").tobytes())
    return result.hexdigest()


def blocks(images: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield views of consecutive images, about `BLOCK_BYTES` at a time."""
    step = max(1, BLOCK_BYTES * len(images) // max(1, images.nbytes))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def data_error(message: str) -> UserError:
    """Return the error for bad data; a path with a line break in it still makes one line."""
    return UserError(" ".join(message.splitlines()))
