"""Images from a folder: decoded into memory, or, when they are many, into a file that is kept."""

from __future__ import annotations

import hashlib
import os
import statistics
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsulegan.data.images import (
    ImageData,
    Pixels,
    Split,
    data_error,
    make_image_data,
)
from capsulegan.data.pictures import EXTENSIONS, UnreadableError, look, read_picture
from capsulegan.data.places import cache_folder
from capsulegan.data.splits import one_in_six
from capsulegan.files import read_json, whole_file, write_json
from capsulegan.sizes import SMALLEST, STEP, is_image_size

MEMORY_LIMIT_BYTES = 2**30
"""Decoded images that take more are kept in a file and mapped into memory."""

INFERRED_LIMIT = 64
"""Without `image_size`, pictures that must be resized get at most this many pixels a side."""

CACHE_VERSION = 1
"""Part of the name of a kept file; to be raised when pictures are decoded differently."""


@dataclass(frozen=True)
class Picture:
    """A picture file: its path, its name under the folder, and its class ("" if there are none)."""

    path: Path
    name: str
    label: str


def load_folder(
    folder: Path, split: Split, *, image_size: int | None = None, strict: bool = False
) -> ImageData:
    """Return one split of a folder of pictures.

    Its sub-folders that hold pictures are the classes, in the order of their names; without such
    sub-folders there are no labels. If it has sub-folders `train` and `test`, each is of that form;
    otherwise one picture in six, drawn once and for all, is a test picture. Names that start with a dot
    are passed by, and links that lead out of the folder are not followed.

    Images are grey if all pictures are, by their headers, and else RGB. Without `image_size`, square
    pictures of one size that the networks take keep it; others are resized to the largest multiple of
    4 that is no larger than their median shorter side and than 64, and at least 8. `read_picture` tells
    how a picture is read.

    Images that take more than `MEMORY_LIMIT_BYTES` are kept in a file in the user's cache folder and
    mapped from there, until a picture is added, removed or changed.

    Parameters
    ----------
    folder
        Where the pictures are.
    split
        Which part to return.
    image_size
        Width and height to resize and crop to, in pixels.
    strict
        Whether a picture that cannot be read is an error; otherwise it is left out with a warning.

    Raises
    ------
    UserError
        If fewer than two pictures can be read, or none of the split, or `strict` and one cannot.
    """
    folder = folder.resolve()
    skipped: dict[str, str] = {}  # name: reason
    parts = list_pictures(folder, skipped)
    pictures = [picture for part in parts.values() for picture in part]
    cache = cache_folder() / "folders" / f"{_fingerprint(pictures, split, image_size)}.npy"
    pixels, kept = _map_cache(cache, pictures, skipped) or _decode(
        folder, parts, split, image_size, cache, skipped
    )
    if skipped:
        _report(folder, skipped, strict)
    if not kept:
        raise data_error(f"{folder}: expected pictures for the {split} split, got none that can be read")
    classes = sorted({picture.label for picture in pictures} - {""})
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[picture.label] for picture in kept]) if classes else None
    return make_image_data(
        folder.name or "folder", pixels, labels, classes, skipped=sorted(skipped), folder=folder
    )


def list_pictures(folder: Path, skipped: dict[str, str]) -> dict[str, list[Picture]]:
    """Return a folder's pictures, as one part "all" or as the parts "train" and "test".

    Raises
    ------
    UserError
        If there are pictures beside class sub-folders, or one part has classes and the other none.
    """
    if not all((folder / part).is_dir() for part in ("train", "test")):
        return {"all": _list_part(folder, folder, skipped)}
    parts = {part: _list_part(folder / part, folder, skipped) for part in ("train", "test")}
    if len({picture.label != "" for part in parts.values() for picture in part}) > 1:
        raise data_error(f"{folder}: expected classes in both train and test or in neither, got one of them")
    return parts


def _list_part(folder: Path, root: Path, skipped: dict[str, str]) -> list[Picture]:
    loose = _list_class(folder, "", root, skipped)
    classes = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    classed = [picture for path in classes for picture in _list_class(path, path.name, root, skipped)]
    if loose and classed:
        raise data_error(
            f"{folder}: expected pictures, or one sub-folder of pictures a class, got both; "
            f"move {loose[0].path.name} into a class or away"
        )
    return loose or classed


def _list_class(folder: Path, label: str, root: Path, skipped: dict[str, str]) -> list[Picture]:
    found = []
    for path in sorted(folder.iterdir()) if _is_inside(folder, root) else ():
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() not in EXTENSIONS or path.name.startswith(".") or path.is_dir():
            continue
        if not _is_inside(path, root):
            skipped[name] = "a link that leads out of the folder"
        elif not path.is_file():
            skipped[name] = "not a file"
        else:
            found.append(Picture(path, name, label))
    return found


def _is_inside(path: Path, root: Path) -> bool:
    return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root)


def _decode(
    folder: Path,
    parts: dict[str, list[Picture]],
    split: Split,
    image_size: int | None,
    cache: Path,
    skipped: dict[str, str],
) -> tuple[Pixels, list[Picture]]:
    """Return the images (N, H, W, C) of a split and the pictures they came from."""
    looks: dict[Picture, tuple[tuple[int, int], bool]] = {}
    for picture in (picture for part in parts.values() for picture in part):
        try:
            looks[picture] = look(picture.path)
        except UnreadableError as error:
            skipped[picture.name] = str(error)
    if len(looks) < 2:
        bad = "".join(f"; {name}: {reason}" for name, reason in list(skipped.items())[:1])
        raise data_error(
            f"{folder}: expected 2 pictures or more, in it or in one sub-folder a class, "
            f"got {len(looks)} that can be read{bad}"
        )
    if image_size is None:
        image_size = infer_size([size for size, _ in looks.values()])
    channels = 1 if all(grey for _, grey in looks.values()) else 3
    readable = [picture for picture in parts.get("all", parts.get(split, [])) if picture in looks]
    if "all" in parts:
        readable = [readable[row] for row in one_in_six(len(readable), split)]

    shape = (len(readable), image_size, image_size, channels)
    decoded = _decoded(readable, image_size, channels, skipped)
    if np.prod(shape, dtype=np.int64) > MEMORY_LIMIT_BYTES:
        return _keep(cache, shape, decoded, skipped)
    pixels = np.empty(shape, np.uint8)
    kept: list[Picture] = []
    for picture, image in decoded:
        pixels[len(kept)] = image
        kept.append(picture)
    return pixels[: len(kept)], kept


def infer_size(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the image size for pictures of these (width, height), as told at `load_folder`."""
    width = sizes[0][0]
    if set(sizes) == {(width, width)} and is_image_size(width):
        return width
    median = int(statistics.median(min(size) for size in sizes))
    return min(max(median // STEP * STEP, SMALLEST), INFERRED_LIMIT)


def _decoded(
    pictures: Sequence[Picture], image_size: int, channels: int, skipped: dict[str, str]
) -> Iterator[tuple[Picture, Pixels]]:
    """Yield the pictures that can be decoded, and their pixels; note the others in `skipped`."""
    for picture in pictures:
        try:
            pixels = read_picture(picture.path, image_size, channels)
        except UnreadableError as error:
            skipped[picture.name] = str(error)
        else:
            yield picture, pixels


def _fingerprint(pictures: Sequence[Picture], split: str, image_size: int | None) -> str:
    """Return a name for what decoding these files gives; it changes when one of them does."""
    result = hashlib.sha256(f"{CACHE_VERSION} {split} {image_size}".encode())
    for picture in pictures:
        status = picture.path.stat()
        result.update(f"{picture.name!r} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "replace"))
    return result.hexdigest()


def _keep(
    cache: Path,
    shape: tuple[int, ...],
    decoded: Iterator[tuple[Picture, Pixels]],
    skipped: dict[str, str],
) -> tuple[Pixels, list[Picture]]:
    """Write images to a .npy as they come, note beside it which they are, and map it.

    They are written and not assigned to a map, so that a full disk is an error and not a crash. The
    rows of pictures that turn out unreadable stay as a hole at the end of the file.
    """
    kept = []
    with whole_file(cache) as temporary, temporary.open("wb") as file:
        layout = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, layout)
        size = file.tell() + int(np.prod(shape, dtype=np.int64))
        for picture, image in decoded:
            file.write(image.tobytes())
            kept.append(picture)
        file.truncate(size)
    write_json(cache.with_suffix(".json"), {"kept": [picture.name for picture in kept], "skipped": skipped})
    return np.load(cache, mmap_mode="r", allow_pickle=False)[: len(kept)], kept


def _map_cache(
    cache: Path, pictures: Sequence[Picture], skipped: dict[str, str]
) -> tuple[Pixels, list[Picture]] | None:
    """Map images that an earlier call kept; None if there are none or they are damaged."""
    if not cache.with_suffix(".json").is_file():
        return None
    by_name = {picture.name: picture for picture in pictures}
    try:
        notes = read_json(cache.with_suffix(".json"))
        pixels: Pixels = np.load(cache, mmap_mode="r", allow_pickle=False)
        kept = [by_name[name] for name in notes["kept"]]
        skipped.update(notes["skipped"])
    except (OSError, ValueError, LookupError, TypeError):  # decoded again
        return None
    return pixels[: len(kept)], kept


def _report(folder: Path, skipped: dict[str, str], strict: bool) -> None:
    """Warn of pictures that were left out; raise UserError instead if `strict`."""
    shown = ", ".join(f"{name} ({reason})" for name, reason in sorted(skipped.items())[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    message = f"{folder}: {len(skipped)} pictures cannot be read: {shown}{more}"
    if strict:
        raise data_error(f"{message}; mend or remove them, or leave out --strict")
    warnings.warn(f"{' '.join(message.splitlines())}; they are left out", stacklevel=4)
