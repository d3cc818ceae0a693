"""Images from an .npz file, whose every claim is checked before memory is given to it."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from capsulegan.data.images import ImageData, Labels, Split, data_error, make_image_data
from capsulegan.data.pictures import resized
from capsulegan.data.splits import one_in_six
from capsulegan.errors import UserError

LIMIT_BYTES = 2**33
"""No array may be larger than this."""

BOMB_BYTES, BOMB_RATIO = 2**26, 200
"""An array larger than the first may not be more than so many times larger than the file."""

HEADER_LIMIT_BYTES = 10_000
ZIP_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError)
"""What `zipfile` raises on damaged or encrypted files."""

HEADER_ERRORS = (ValueError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError)
"""What NumPy's parser of headers raises on damaged ones."""

MEMBERS = ("images", "labels", "test_images", "test_labels")


def load_npz(path: Path, split: Split, image_size: int | None = None) -> ImageData:
    """Return one split of an .npz file.

    It holds `images` (N, H, W) or (N, H, W, C), uint8, and perhaps `labels` (N,), any integers: the
    distinct ones in ascending order are the classes. `test_images` and `test_labels` are the test set;
    without them one image in six is.

    Parameters
    ----------
    path
        The file.
    split
        Which part to return.
    image_size
        Resize and crop images to this width and height; None takes them as they are.

    Raises
    ------
    UserError
        If the file is damaged, or its arrays are not as said above.
    """
    arrays = read_arrays(path)
    if "images" not in arrays:
        found = ", ".join(arrays) or "none of its arrays' names"
        raise data_error(f"{path}: expected an array 'images', got {found}; save it by that name")
    parts = {"train": _part(path, arrays, ""), "test": _part(path, arrays, "test_")}
    labelled = [labels for images, labels in parts.values() if labels is not None]
    if "test_images" in arrays and len(labelled) == 1:
        raise data_error(
            f"{path}: expected 'labels' and 'test_labels' or neither, got one of them; add the other"
        )
    shapes = {part: images.shape[1:] for part, (images, _) in parts.items()}
    if "test_images" in arrays and shapes["train"] != shapes["test"]:
        got = " and ".join(map(str, shapes.values()))
        raise data_error(f"{path}: expected images and test_images of one shape, got {got}")
    values = np.unique(np.concatenate(labelled)) if labelled else np.empty(0, np.int64)
    images, labels = parts[split] if "test_images" in arrays else parts["train"]
    if "test_images" not in arrays:
        if len(images) < 2:
            raise data_error(
                f"{path}: expected 2 images or more, to train and to test with, got {len(images)}"
            )
        rows = one_in_six(len(images), split)
        images, labels = images[rows], None if labels is None else labels[rows]
    if image_size is not None:
        images = resized(images, image_size)
    return make_image_data(
        path.stem,
        images,
        None if labels is None else np.searchsorted(values, labels),
        [str(value) for value in values],
        folder=path.parent,
    )


def _part(
    path: Path, arrays: dict[str, npt.NDArray[Any]], prefix: str
) -> tuple[npt.NDArray[Any], Labels | None]:
    """Return the images (N, H, W, C) and the labels (N,) of one part, checked."""
    images = arrays.get(f"{prefix}images", np.empty((0, 8, 8), np.uint8))
    labels = arrays.get(f"{prefix}labels")
    if labels is not None and len(labels) != len(images):
        raise data_error(
            f"{path}: expected as many {prefix}labels as {prefix}images, "
            f"got {len(labels)} and {len(images)}; save both anew"
        )
    return images if images.ndim == 4 else images[..., None], labels


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an .npz that have known names; others are not looked at.

    Raises
    ------
    UserError
        If the file is damaged, or one of them has a type or shape that it must not have, or claims
        more than it may or holds.
    """
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers: they are read right or refused
            held = set(archive.namelist())
            return {name: _read_array(path, archive, name) for name in MEMBERS if f"{name}.npy" in held}
    except UserError:
        raise
    except (*ZIP_ERRORS, *HEADER_ERRORS) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise data_error(
            f"{path}: expected an .npz file, got a damaged one ({reason}); save it anew"
        ) from error


def _read_array(path: Path, archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{name} is compressed in another way than NumPy's")
    if info.file_size > min(LIMIT_BYTES, max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size)):
        raise data_error(
            f"{path}: expected {name} of at most {LIMIT_BYTES} bytes, {BOMB_RATIO} times the file, "
            f"got {info.file_size}; use a folder of images"
        )
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has version {version} of the .npy format")
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, in_columns, dtype = read_header(stream, max_header_size=HEADER_LIMIT_BYTES)
        _check_header(f"{path}: {name}", name.endswith("images"), shape, dtype)
        size = math.prod(shape) * dtype.itemsize
        held = info.file_size - stream.tell()
        if size != held:
            raise data_error(
                f"{path}: expected {size} bytes in {name}, as its header says, got {held}; save it anew"
            )
        data = stream.read()
    return np.frombuffer(data, dtype).reshape(shape, order="F" if in_columns else "C")


def _check_header(where: str, of_images: bool, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise UserError if an array may not have this shape and type."""
    if not of_images:
        if len(shape) != 1 or not np.issubdtype(dtype, np.integer):
            raise data_error(f"{where}: expected integers of shape (N,), got {dtype} of shape {shape}")
        return
    if dtype != np.uint8:
        hint = "scale them to 0..255 and " if np.issubdtype(dtype, np.floating) else ""
        raise data_error(
            f"{where}: expected 8-bit integers (uint8), got {dtype}; {hint}save images.astype('uint8')"
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise data_error(
            f"{where}: expected shape (N, H, W) or (N, H, W, 1 or 3), got {shape}; move its axes"
        )
    if min(shape[1:]) < 1:
        raise data_error(f"{where}: expected images of one pixel or more, got shape {shape}")
