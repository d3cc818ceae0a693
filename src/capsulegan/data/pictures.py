"""One picture file, whatever its format, as the pixels of an 8-bit square."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from capsulegan.data.images import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"))


class UnreadableError(Exception):
    """A picture that cannot be read; the message says why."""


@contextlib.contextmanager
def opened(path: Path | BinaryIO) -> Iterator[Image]:
    """Open a picture; its pixels are read when they are first used.

    Only the formats `FORMATS` are tried, so that no file starts another program. Pillow's limit on
    the number of pixels holds, its softer warning included; its other warnings, of which damaged files
    bring many, are dropped.

    Raises
    ------
    UnreadableError
        If it cannot be opened, or whatever the block does with it fails.
    """
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=FORMATS) as picture:
                yield picture
    except PIL.UnidentifiedImageError as error:
        raise UnreadableError("no picture of a known format") from error
    except Exception as error:  # Pillow's decoders let any exception out on damaged files
        raise UnreadableError(str(error) or type(error).__name__) from error


def look(path: Path) -> tuple[tuple[int, int], bool]:
    """Return a picture's (width, height) and whether it is grey, from its header.

    Raises
    ------
    UnreadableError
        If it cannot be opened.
    """
    with opened(path) as picture:
        return picture.size, picture.mode in GREY_MODES


def read_picture(path: Path | BinaryIO, image_size: int, channels: int) -> Pixels:
    """Read a picture and fit it to a square.

    The orientation in its EXIF data is applied; an animation gives its first frame; transparent parts
    are laid on white; 16-bit grey is scaled to 8 bits; palettes, CMYK and other colour spaces become
    RGB. Then the shorter side is resized to `image_size`, antialiased (Lanczos), and the longer one is
    cropped evenly. A picture that has that size already keeps its pixels as they are.

    Parameters
    ----------
    path
        The file, or one that is open for reading bytes.
    image_size
        Width and height to return, in pixels.
    channels
        1 for grey, 3 for RGB.

    Returns
    -------
    uint8 of shape (image_size, image_size, channels).

    Raises
    ------
    UnreadableError
        If it is damaged, too large, or has values with no range to scale from (32-bit).
    """
    import PIL.ImageOps

    with opened(path) as picture:
        upright = PIL.ImageOps.exif_transpose(picture)
        return fit(eight_bit(upright).convert("L" if channels == 1 else "RGB"), image_size)


def eight_bit(picture: Image) -> Image:
    """Return a picture with 8 bits a channel and no transparency: of mode L or RGB."""
    import PIL.Image

    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableError("32-bit grey, whose range is unknown; save it as 8 or 16 bits")
        return PIL.Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if picture.mode == "F":
        raise UnreadableError("floating-point grey, whose range is unknown; save it as 8 or 16 bits")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        return PIL.Image.alpha_composite(white, colours).convert("RGB")
    return picture.convert("L" if picture.mode in GREY_MODES else "RGB")


def fit(picture: Image, image_size: int) -> Pixels:
    """Resize the shorter side of an L or RGB picture and crop the longer one evenly.

    Returns
    -------
    uint8 of shape (image_size, image_size, 1 or 3).
    """
    import PIL.Image
    import PIL.ImageOps

    square = PIL.ImageOps.fit(picture, (image_size, image_size), PIL.Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(image_size, image_size, -1)


def resized(images: Pixels, image_size: int) -> Pixels:
    """Resize and crop images already in memory as `read_picture` does.

    Parameters
    ----------
    images
        uint8 of shape (N, H, W, 1 or 3).
    image_size
        Width and height to return, in pixels.

    Returns
    -------
    uint8 of shape (N, image_size, image_size, 1 or 3); `images` itself if that is its shape.
    """
    if images.shape[1:3] == (image_size, image_size):
        return images
    import PIL.Image

    result = np.empty((len(images), image_size, image_size, images.shape[3]), np.uint8)
    for row, pixels in zip(result, images, strict=True):
        row[:] = fit(PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), image_size)
    return result
