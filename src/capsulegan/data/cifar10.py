"""CIFAR-10 from its binary version: the unpacked batches, or the archive as it is published."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from capsulegan.data.images import ImageData, Pixels, Split, data_error, make_image_data
from capsulegan.data.places import RemoteFile, find, obtain

ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
FOLDER = "cifar-10-batches-bin"
BATCHES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORDS = 10_000
RECORD_BYTES = 1 + 3 * 32 * 32
UNPACKED_LIMIT_BYTES = 2**28
"""The archive unpacks to 184 MB; nothing beyond this is unpacked."""

ADVICE = "replace the file, or delete it to have it fetched"


def load_cifar10(split: Split) -> ImageData:
    """Return CIFAR-10, 32 x 32 RGB: 50,000 images to train with, 10,000 to test with.

    The batches are taken from the folder `cifar-10-batches-bin` if they are all there, and else from the
    archive `cifar-10-binary.tar.gz`, which is read but never unpacked to disk.

    Raises
    ------
    UserError
        If a file is damaged, or neither there nor to be fetched.

    References
    ----------
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    found = [find(f"{FOLDER}/{name}") for name in BATCHES[split]]
    paths = [path for path in found if path]
    if len(paths) == len(found):
        source = paths[0].parent
        batches = [_read_batch_file(path) for path in paths]
    else:
        source = obtain(ARCHIVE)
        batches = read_archive(source, BATCHES[split])
    records = np.concatenate(batches)
    labels = records[:, 0]
    if labels.max() > 9:
        raise data_error(f"{source}: expected labels from 0 to 9, got {labels.max()}; {ADVICE}")
    planes = records[:, 1:].reshape(-1, 3, 32, 32)  # red, green, blue, each by rows
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return make_image_data(
        "cifar10", images, labels, CLASSES, folder=source if source.is_dir() else source.parent
    )


def read_archive(path: Path, names: tuple[str, ...]) -> list[Pixels]:
    """Read batches from the published archive.

    Members are looked for by their exact names; links and whatever else the archive holds are passed by.

    Parameters
    ----------
    path
        A gzipped tar file.
    names
        File names inside its folder `cifar-10-batches-bin`.

    Returns
    -------
    One uint8 array of shape (10000, 3073) a name, in their order.

    Raises
    ------
    UserError
        If it cannot be read, lacks one of them or unpacks to more than `UNPACKED_LIMIT_BYTES`.
    """
    batches: dict[str, Pixels] = {}
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=_Limited(unpacked), mode="r|") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                if folder == FOLDER and name in names and member.isreg():
                    stream = archive.extractfile(member)
                    assert stream is not None
                    batches[name] = read_batch(stream, f"{path}: {name}")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise data_error(
            f"{path}: expected the archive of CIFAR-10, got a damaged one ({error}); {ADVICE}"
        ) from error
    if missing := [name for name in names if name not in batches]:
        raise data_error(f"{path}: expected the archive of CIFAR-10, got one without {missing[0]}; {ADVICE}")
    return [batches[name] for name in names]


def read_batch(stream: IO[bytes], where: str) -> Pixels:
    """Read records of a label byte and 3,072 pixel bytes, uint8 of shape (10000, 3073).

    Raises
    ------
    UserError
        If the stream holds fewer or more; `where` is what the error calls it.
    """
    data = stream.read(RECORDS * RECORD_BYTES)
    if len(data) < RECORDS * RECORD_BYTES or stream.read(1):
        raise data_error(
            f"{where}: expected {RECORDS * RECORD_BYTES} bytes ({RECORDS} records of {RECORD_BYTES}), "
            f"got {'more' if len(data) == RECORDS * RECORD_BYTES else len(data)}; {ADVICE}"
        )
    return np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD_BYTES)


def _read_batch_file(path: Path) -> Pixels:
    """Read one unpacked batch."""
    try:
        with path.open("rb") as file:
            return read_batch(file, str(path))
    except OSError as error:
        raise data_error(
            f"{path}: expected a batch of CIFAR-10, cannot read it ({error.strerror})"
        ) from error


class _Limited(io.RawIOBase):
    """A stream for `tarfile` that ends with an error after `UNPACKED_LIMIT_BYTES`."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream = stream
        self.left = UNPACKED_LIMIT_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise tarfile.ReadError(f"unpacks to more than {UNPACKED_LIMIT_BYTES} bytes")
        return data
