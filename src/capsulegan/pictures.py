"""Grids of images as PNG files."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from capsulegan.errors import UserError
from capsulegan.files import write_bytes


def grid_of(images: np.ndarray, border: int = 1) -> np.ndarray:
    """Lay images out in a grid as square as can be, in reading order.

    Parameters
    ----------
    images : uint8 array of shape (N, H, W, C)
    border : int
        White pixels between images.

    Returns
    -------
    uint8 array of shape (rows * (H + border) - border, columns * (W + border) - border, C)
    """
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + border), columns * (width + border), channels), 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + border), column * (width + border)
        canvas[top : top + height, left : left + width] = image
    return canvas[: canvas.shape[0] - border, : canvas.shape[1] - border]


def png_of(picture: np.ndarray) -> bytes:
    """Return a uint8 picture (H, W, 1) or (H, W, 3) as a PNG file's bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(buffer, format="PNG")
    return buffer.getvalue()


def write_grid(path: Path, images: np.ndarray) -> None:
    """Write uint8 images (N, H, W, C) as one PNG."""
    write_bytes(path, png_of(grid_of(images)))


def write_images(path: Path | str, images: np.ndarray) -> None:
    """Write uint8 images (N, H, W, C) as a grid (.png), or as an array named `images` (.npz).

    Raises
    ------
    UserError
        If the file's ending is another.
    """
    path = Path(path)
    if path.suffix == ".png":
        write_grid(path, images)
    elif path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images)
        write_bytes(path, buffer.getvalue())
    else:
        raise UserError(f"out must end in .png or .npz, got {path}")
