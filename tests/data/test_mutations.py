"""Real files, changed at random: they load, or are refused in one line. Nothing else escapes."""

import contextlib
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from capsulegan.data import cifar10, load_data
from capsulegan.data.cifar10 import read_archive
from capsulegan.data.mnist import read_idx
from capsulegan.data.pictures import UnreadableError, look, read_picture
from capsulegan.errors import UserError

positions = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.tuples(
        st.sampled_from(("flip", "set", "insert", "delete", "truncate")),
        positions,
        st.binary(min_size=1),
    ),
    min_size=1,
    max_size=4,
)
fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def mutated(data: bytes, changes: list[tuple[str, float, bytes]], within: int | None = None) -> bytes:
    """Change bytes at fractions of the length, or of its first `within` bytes."""
    result = bytearray(data)
    for kind, fraction, extra in changes:
        at = int(fraction * min(len(result), within or len(result)))
        if kind == "flip" and result:
            result[at] ^= 1 << extra[0] % 8
        elif kind == "set":
            result[at : at + len(extra)] = extra
        elif kind == "insert":
            result[at:at] = extra
        elif kind == "delete":
            del result[at : at + len(extra)]
        elif kind == "truncate":
            del result[at:]
    return bytes(result)


def loads_or_refuses(load, *arguments, **options) -> None:
    message = ""
    try:
        load(*arguments, **options)
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@pytest.fixture(scope="session")
def labels(data_folder: Path) -> bytes:
    raw = gzip.decompress((data_folder / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return raw[:4] + (64).to_bytes(4, "big") + raw[8 : 8 + 64]


@fuzz
@given(changes=changes)
def test_idx(labels, tmp_path, changes):
    (tmp_path / "labels").write_bytes(mutated(labels, changes))
    loads_or_refuses(read_idx, tmp_path / "labels", (64,))
    (tmp_path / "labels.gz").write_bytes(mutated(gzip.compress(labels), changes))
    loads_or_refuses(read_idx, tmp_path / "labels.gz", (64,))


@fuzz
@given(changes=changes, within=st.sampled_from((600, None)))
def test_cifar10_archive(data_folder, tmp_path, monkeypatch, changes, within):
    monkeypatch.setattr(cifar10, "RECORDS", 1)
    with (data_folder / "cifar-10-batches-bin" / "test_batch.bin").open("rb") as file:
        record = file.read(cifar10.RECORD_BYTES)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.size = len(record)
        archive.addfile(member, io.BytesIO(record))
    for data in (
        gzip.compress(mutated(plain.getvalue(), changes, within), 1),
        mutated(gzip.compress(plain.getvalue(), 1), changes),
    ):
        (tmp_path / "archive.tar.gz").write_bytes(data)
        loads_or_refuses(read_archive, tmp_path / "archive.tar.gz", ("test_batch.bin",))


@fuzz
@given(changes=changes, within=st.sampled_from((130, None)))
def test_npz(tmp_path, changes, within):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images, labels=np.arange(12))
    path.write_bytes(mutated(path.read_bytes(), changes))
    loads_or_refuses(load_data, str(path))
    member = io.BytesIO()
    np.save(member, images, allow_pickle=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", mutated(member.getvalue(), changes, within))
    loads_or_refuses(load_data, str(path))


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")}


@fuzz
@given(kind=st.sampled_from(sorted(ENCODED)), changes=changes, within=st.sampled_from((64, None)))
def test_pictures(tmp_path, kind, changes, within):
    path = tmp_path / "picture"
    path.write_bytes(mutated(ENCODED[kind], changes, within))
    with contextlib.suppress(UnreadableError):
        (width, height), grey = look(path)
        assert min(width, height) > 0
        assert read_picture(path, 8, 1 if grey else 3).shape == (8, 8, 1 if grey else 3)


@settings(fuzz, max_examples=40)
@given(changes=changes)
@pytest.mark.filterwarnings("ignore:.*cannot be read.*they are left out:UserWarning")
def test_folder(tmp_path, changes):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(ENCODED["PNG"])
    (tmp_path / "1.png").write_bytes(mutated(ENCODED["PNG"], changes))
    loads_or_refuses(load_data, str(tmp_path))
    loads_or_refuses(load_data, str(tmp_path), "test")
