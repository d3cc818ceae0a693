"""Files of MNIST and CIFAR-10 that are not as they should be, made from real ones."""

import gzip
import io
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from capsulegan.data import cifar10, load_data
from capsulegan.data.cifar10 import read_archive
from capsulegan.data.mnist import read_idx

SHAPE = (10_000,)


@pytest.fixture(scope="session")
def labels(data_folder: Path) -> bytes:
    """The test labels of MNIST as an IDX file."""
    return gzip.decompress((data_folder / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())


@pytest.fixture(params=["labels", "labels.gz"])
def write(request, tmp_path):
    """Give a function that writes bytes to a file, plain or gzipped, and returns its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / request.param
        path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
        return path

    return write


def test_the_file_itself_is_read(labels, write):
    assert read_idx(write(labels), SHAPE).tobytes() == labels[8:]


@pytest.mark.parametrize("length", range(9))
def test_truncated_in_the_header(labels, write, refused, length):
    with refused("damaged.*replace the file"):
        read_idx(write(labels[:length]), SHAPE)


@pytest.mark.parametrize("bit", range(64))
def test_any_bit_of_the_header_flipped(labels, write, refused, bit):
    data = bytearray(labels)
    data[bit // 8] ^= 1 << bit % 8
    with refused("expected an IDX file of 10000 bytes, .*got"):
        read_idx(write(bytes(data)), SHAPE)


@pytest.mark.parametrize("count", [0, 1, 9_999, 10_001, 60_000, 2**31, 2**32 - 1])
def test_another_count(labels, write, refused, count):
    data = labels[:4] + count.to_bytes(4, "big") + labels[8:]
    with refused(f"expected an IDX file of 10000 bytes, got {count}"):
        read_idx(write(data), SHAPE)


@pytest.mark.parametrize("change", [-9_999, -1, 1, 1000])
def test_another_length(labels, write, refused, change):
    with refused("damaged"):
        read_idx(write(labels[:change] if change < 0 else labels + bytes(change)), SHAPE)


def test_images_where_labels_should_be(data_folder, refused):
    with refused("starts with 00000801, got 00000803"):
        read_idx(data_folder / "mnist" / "t10k-images-idx3-ubyte.gz", SHAPE)


def test_damaged_gzip(labels, tmp_path, refused):
    whole = gzip.compress(labels)
    path = tmp_path / "labels.gz"
    wrong_sum = bytearray(whole)
    wrong_sum[-6] ^= 1
    for data in (
        b"",
        whole[:5],
        whole[:-1],
        whole[: len(whole) // 2],
        whole + b"garbage",
        bytes(wrong_sum),
        labels,
    ):
        path.write_bytes(data)
        with refused("damaged"):
            read_idx(path, SHAPE)


def test_a_gzip_bomb_takes_no_memory(labels, tmp_path, refused):
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(labels + bytes(2**26), 1))
    tracemalloc.start()
    try:
        with refused("goes on after them"):
            read_idx(path, SHAPE)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_no_file_at_all(tmp_path, refused):
    for path in (tmp_path, tmp_path / "missing.gz"):
        with refused("damaged"):
            read_idx(path, SHAPE)


def test_a_label_beyond_nine(data_folder, labels, tmp_path, monkeypatch, refused):
    shutil.copytree(data_folder / "mnist", tmp_path / "mnist", copy_function=shutil.copyfile)
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(labels[:-1] + b"\x0a", 1))
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    with refused("expected labels from 0 to 9, got 10; replace the file"):
        load_data("mnist", "test")


@pytest.fixture(scope="session")
def batch(data_folder: Path) -> bytes:
    return (data_folder / "cifar-10-batches-bin" / "test_batch.bin").read_bytes()


@pytest.fixture
def batch_file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-bin").mkdir()
    return tmp_path / "cifar-10-batches-bin" / "test_batch.bin"


@pytest.mark.parametrize("change", [-1, -3073, 1, 3073])
def test_a_batch_of_another_length(batch, batch_file, change, refused):
    batch_file.write_bytes(batch[:change] if change < 0 else batch + bytes(change))
    with refused(r"test_batch.bin: expected 30730000 bytes \(10000 records of 3073\), got"):
        load_data("cifar10", "test")


def test_a_batch_with_a_label_beyond_nine(batch, batch_file, refused):
    batch_file.write_bytes(batch[:3073] + b"\x0a" + batch[3074:])
    with refused("expected labels from 0 to 9, got 10"):
        load_data("cifar10", "test")


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **attributes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(data))


def test_the_archive_holds_the_same_as_the_batches(batch, data_folder, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:
        add(archive, "cifar-10-batches-bin", type=tarfile.DIRTYPE)
        add(archive, "cifar-10-batches-bin/readme.html", b"<p>")
        add(archive, "cifar-10-batches-bin/test_batch.bin", batch)
    direct = load_data("cifar10", "test")
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    assert load_data("cifar10", "test").digest == direct.digest
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing unpacked


@pytest.mark.parametrize(
    "members",
    [
        [],
        [("../cifar-10-batches-bin/test_batch.bin", {})],
        [("/cifar-10-batches-bin/test_batch.bin", {})],
        [("cifar-10-batches-bin/../test_batch.bin", {})],
        [("cifar-10-batches-bin/test_batch.bin", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
        [("cifar-10-batches-bin/test_batch.bin", {"type": tarfile.LNKTYPE, "linkname": "../../x"})],
        [("cifar-10-batches-bin/test_batch.bin", {"type": tarfile.FIFOTYPE})],
        [("cifar-10-batches-bin/test_batch.bin", {"type": tarfile.DIRTYPE})],
    ],
)
def test_archives_with_traversal_or_links(members, tmp_path, refused):
    path = tmp_path / "inside" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, attributes in members:
            add(archive, name, b"" if attributes else bytes(10), **attributes)
    with refused("without test_batch.bin"):
        read_archive(path, ("test_batch.bin",))
    assert [found.name for found in tmp_path.rglob("*")] == ["inside", path.name]


@pytest.mark.parametrize("size", [2**23, 2**33])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_bomb_takes_no_memory(size, kind, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(cifar10, "UNPACKED_LIMIT_BYTES", 2**20)
    member = tarfile.TarInfo("bomb")
    member.size, member.type = size, kind
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**23), 1))
    tracemalloc.start()
    try:
        with refused("unpacks to more than 1048576 bytes"):
            read_archive(path, ("test_batch.bin",))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_damaged_archives(tmp_path, refused):
    path = tmp_path / "cifar-10-binary.tar.gz"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 50_000, np.uint8).tobytes()
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "cifar-10-batches-bin/test_batch.bin", noise)
    whole = path.read_bytes()
    for data in (b"", b"text", gzip.compress(noise), whole[:100], whole[:-20_000]):
        path.write_bytes(data)
        with refused("got a damaged one|without test_batch.bin|expected 30730000 bytes"):
            read_archive(path, ("test_batch.bin",))
