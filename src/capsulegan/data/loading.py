"""From what the user calls data to the images: names become objects here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from capsulegan.data.cifar10 import load_cifar10
from capsulegan.data.digits import load_digits
from capsulegan.data.folder import load_folder
from capsulegan.data.images import ImageData, Split, check_image_size, data_error, make_image_data
from capsulegan.data.mnist import load_mnist, load_stacked_mnist
from capsulegan.data.npz import load_npz
from capsulegan.data.pictures import resized
from capsulegan.errors import unknown_name

KNOWN: dict[str, Callable[[Split], ImageData]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "stacked-mnist": load_stacked_mnist,
}


def load_data(
    data: str, split: Split = "train", *, image_size: int | None = None, strict: bool = False
) -> ImageData:
    """Return one split of a data set, from files that are there or are fetched.

    Parameters
    ----------
    data
        `digits`, `mnist`, `cifar10`, `stacked-mnist`, or the path of a folder of images or of an .npz.
    split
        `train` or `test`. A folder or an .npz without a test part keeps one image in six for it.
    image_size
        Width and height in pixels to resize and crop images to, a multiple of 4 from 8 to 128. None
        leaves images as they are; for a folder it is then inferred (see `load_folder`).
    strict
        Whether a file of a folder that cannot be read is an error; otherwise a warning counts them.

    Returns
    -------
    ImageData, the same for the same arguments and files.

    Raises
    ------
    UserError
        If there is no such data, or it is damaged, or not to be fetched.
    """
    if split not in ("train", "test"):
        raise unknown_name("split", split, ("train", "test"))
    if image_size is not None:
        check_image_size(image_size)
    if data in KNOWN:
        result = KNOWN[data](split)
        if image_size is None or result.images.shape[1] == image_size:
            return result
        pixels = resized(result.images, image_size)
        return make_image_data(data, pixels, result.labels, result.classes, folder=result.folder)
    path = Path(data).expanduser()
    try:
        if data and path.is_dir():
            return load_folder(path, split, image_size=image_size, strict=strict)
        if path.is_file():
            return load_npz(path, split, image_size)
    except OSError as error:
        raise data_error(
            f"{path}: expected a folder of images or an .npz, cannot read it ({error.strerror})"
        ) from error
    raise unknown_name("data", data, (*KNOWN, "the path of a folder of images or of an .npz"))


def fetch(data: str) -> dict[str, Any]:
    """Fetch data if need be, check all of it and say what it is.

    Parameters
    ----------
    data
        As for `load_data`.

    Returns
    -------
    A JSON document: `name`, `folder` (None if it comes with a library), `train` and `test` (numbers
    of images), `image_shape` [H, W, C], `classes`, `digests` of both splits, `skipped` files.

    Raises
    ------
    UserError
        As for `load_data`.
    """
    train, test = load_data(data, "train"), load_data(data, "test")
    return {
        "name": train.name,
        "folder": None if train.folder is None else str(train.folder),
        "train": len(train.images),
        "test": len(test.images),
        "image_shape": list(train.images.shape[1:]),
        "classes": list(train.classes),
        "digests": {"train": train.digest, "test": test.digest},
        "skipped": sorted({*train.skipped, *test.skipped}),
    }
