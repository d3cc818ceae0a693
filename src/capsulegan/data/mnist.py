"""MNIST from its IDX files, and Stacked MNIST made from it."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from capsulegan.data.images import ImageData, Pixels, Split, data_error, make_image_data
from capsulegan.data.places import RemoteFile, obtain
from capsulegan.data.splits import draws

PLACES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
COUNTS = {"train": 60_000, "test": 10_000}
PREFIXES = {"train": "train", "test": "t10k"}
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def load_mnist(split: Split) -> ImageData:
    """Return MNIST, 28 x 28 grey: 60,000 digits to train with, 10,000 to test with.

    Raises
    ------
    UserError
        If a file is damaged, or neither there nor to be fetched.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proceedings of the IEEE 86(11), 1998.
    """
    count = COUNTS[split]
    images_path = _path(f"{PREFIXES[split]}-images-idx3-ubyte.gz")
    labels_path = _path(f"{PREFIXES[split]}-labels-idx1-ubyte.gz")
    images = read_idx(images_path, (count, 28, 28))
    labels = read_idx(labels_path, (count,))
    if labels.max() > 9:
        raise data_error(f"{labels_path}: expected labels from 0 to 9, got {labels.max()}; replace the file")
    return make_image_data("mnist", images[..., None], labels, tuple("0123456789"), folder=images_path.parent)


def load_stacked_mnist(split: Split) -> ImageData:
    """Return Stacked MNIST, 28 x 28 RGB with 1,000 classes, as many images as MNIST's split has.

    Each image is three digits of the same split, drawn once and for all with replacement, as red, green
    and blue; its class is the number that they write, "000" to "999". A generator's coverage of the
    classes measures mode collapse.

    References
    ----------
    L. Metz, B. Poole, D. Pfau and J. Sohl-Dickstein, "Unrolled Generative Adversarial Networks", ICLR
    2017, section 3.3.1.
    """
    digits = load_mnist(split)
    assert digits.labels is not None
    drawn = draws(len(digits.images), len(digits.images), 3, f"stacked-mnist {split}")
    images = np.stack([digits.images[column, :, :, 0] for column in drawn.T], axis=3)
    labels = digits.labels[drawn] @ np.array([100, 10, 1])
    classes = tuple(f"{number:03}" for number in range(1000))
    return make_image_data("stacked-mnist", images, labels, classes, folder=digits.folder)


def read_idx(path: Path, shape: tuple[int, ...]) -> Pixels:
    """Read an IDX file of unsigned bytes, gzipped if its name ends in .gz, that must have this shape.

    The header is compared with what it must be before anything is allocated, and no byte beyond the
    shape's is decompressed but the one that shows that there are too many.

    Parameters
    ----------
    path
        The file.
    shape
        What its header must say.

    Returns
    -------
    uint8 array of that shape.

    Raises
    ------
    UserError
        If the file cannot be read or is not exactly such a file.
    """
    expected = "an IDX file of " + " x ".join(map(str, shape)) + " bytes"
    advice = "replace the file, or delete it to have it fetched"
    header = struct.Struct(f">4B{len(shape)}I")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header.size)
            if len(start) < header.size:
                raise EOFError("ends in its header")
            if start[:4] != bytes([0, 0, 8, len(shape)]):
                raise data_error(
                    f"{path}: expected {expected}, which starts with 000008{len(shape):02x}, "
                    f"got {start[:4].hex()}; {advice}"
                )
            if header.unpack(start)[4:] != shape:
                got = " x ".join(map(str, header.unpack(start)[4:]))
                raise data_error(f"{path}: expected {expected}, got {got}; {advice}")
            body = file.read(math.prod(shape))
            if len(body) < math.prod(shape):
                raise EOFError(f"ends after {len(body)} bytes")
            if file.read(1):
                raise EOFError("goes on after them")
    except (OSError, EOFError, zlib.error) as error:
        raise data_error(
            f"{path}: expected {expected}, got one that is damaged ({error}); {advice}"
        ) from error
    return np.frombuffer(body, np.uint8).reshape(shape)


def _path(name: str) -> Path:
    """Return where a file of MNIST lies, gzipped or not, fetching it if need be."""
    file = RemoteFile(f"mnist/{name}", f"md5:{MD5[name]}", tuple(place + name for place in PLACES))
    return obtain(file, also=(f"mnist/{name.removesuffix('.gz')}",))
