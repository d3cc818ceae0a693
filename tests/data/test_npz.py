"""Archives of arrays, right ones and those that claim what they do not hold."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from capsulegan.data import load_data, npz

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
LABELS = np.arange(12) % 3


def archive(path: Path, compressed: bool = True, **arrays: np.ndarray) -> str:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.npz"


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_one_in_six_is_for_testing(path, compressed, channels):
    images = IMAGES if channels is None else np.stack([IMAGES] * channels, axis=3)
    data = archive(path, compressed, images=images, labels=LABELS)
    train, test = load_data(data), load_data(data, "test")
    assert (train.images.shape, len(test.images)) == ((10, 8, 8, channels or 1), 2)
    assert (train.name, train.classes, train.folder) == ("set", ("0", "1", "2"), path.parent)
    labels = {image.tobytes(): label for image, label in zip(images, LABELS, strict=True)}
    seen = {
        image.tobytes(): label
        for part in (train, test)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert seen == labels


def test_its_own_test_part(path):
    data = archive(path, images=IMAGES, test_images=IMAGES[:3])
    assert np.array_equal(load_data(data).images[..., 0], IMAGES)
    assert np.array_equal(load_data(data, "test").images[..., 0], IMAGES[:3])
    assert load_data(data).labels is None


def test_labels_of_any_integers_become_classes(path):
    labels = np.array([-5, 10**12] * 6, ">i8")
    tests = np.array([7, 10**12], np.int64)
    data = archive(path, images=IMAGES, labels=labels, test_images=IMAGES[:2], test_labels=tests)
    assert load_data(data).classes == ("-5", "7", str(10**12))
    assert load_data(data).labels.tolist() == [0, 2] * 6
    assert load_data(data, "test").labels.tolist() == [1, 2]


def test_column_order_and_version_2(path):
    data = archive(path, images=np.asfortranarray(IMAGES), test_images=IMAGES)
    assert np.array_equal(load_data(data).images[..., 0], IMAGES)
    member = io.BytesIO()
    np.lib.format.write_array(member, IMAGES, version=(2, 0))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", member.getvalue())
    assert len(load_data(str(path)).images) == 10


def test_another_size(path):
    data = archive(path, images=np.zeros((6, 30, 20, 3), np.uint8))
    assert load_data(data, image_size=16).images.shape == (5, 16, 16, 3)


def test_other_members_are_not_looked_at(path):
    data = archive(path, images=IMAGES, names=np.array([{}], dtype=object))
    assert len(load_data(data).images) == 10


FLOATS = np.full((12, 8, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": IMAGES}, "expected an array 'images'"),
        ({"images": FLOATS}, r"expected 8-bit integers \(uint8\), got float32; scale"),
        ({"images": IMAGES.astype(np.int64)}, r"expected 8-bit integers \(uint8\), got int64; save"),
        ({"images": IMAGES.astype(object)}, "expected 8-bit integers .*got object"),
        ({"images": IMAGES.view([("a", "u1")])}, "expected 8-bit integers"),
        ({"images": IMAGES[0]}, r"expected shape \(N, H, W\).*got \(8, 8\)"),
        ({"images": np.uint8(3)}, r"got \(\)"),
        ({"images": IMAGES[None, None]}, r"expected shape \(N, H, W\)"),
        ({"images": IMAGES.reshape(12, 8, 4, 2)}, r"got \(12, 8, 4, 2\)"),
        ({"images": IMAGES.reshape(12, 4, 16)}, "expected square images, got 16 x 4"),
        ({"images": IMAGES[:, :6, :6]}, "multiple of 4 .*got 6; .*--image-size"),
        ({"images": IMAGES[:, :0]}, "one pixel or more"),
        ({"images": IMAGES[:0]}, "expected 2 images or more"),
        ({"images": IMAGES[:1]}, "expected 2 images or more.*got 1"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "as many labels as images, got 11 and 12"),
        ({"images": IMAGES, "labels": LABELS / 2}, r"expected integers of shape \(N,\), got float64"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "expected integers .*got object"),
        ({"images": IMAGES, "labels": LABELS.astype(str)}, "expected integers"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, "expected integers .*12, 1"),
        ({"images": IMAGES, "test_labels": LABELS}, "as many test_labels as test_images, got 12 and 0"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES},
            "'labels' and 'test_labels' or neither",
        ),
        ({"images": IMAGES, "test_images": IMAGES[:0]}, "N >= 1"),
        ({"images": IMAGES, "test_images": IMAGES[:, :4, :4]}, "of one shape, got"),
        ({"images": IMAGES, "test_images": IMAGES.reshape(4, 8, 8, 3)}, "of one shape, got .*3"),
    ],
)
def test_arrays_that_are_not_as_expected(path, arrays, match, refused):
    data = archive(path, **arrays)
    with refused(match):
        load_data(data), load_data(data, "test")


def header(shape: object, descr: str = "|u1") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("shape", [IMAGES.shape, "(12L, 8L, 8L)"])  # as Python 2 wrote it, too
def test_the_header_of_these_tests_is_right(path, shape):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header(shape) + IMAGES.tobytes())
    assert len(load_data(str(path)).images) == 10


@pytest.mark.parametrize("count", [11, 13, 2**40])
def test_a_header_that_claims_another_size(path, count, refused):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header((count, 8, 8)) + IMAGES.tobytes())
    with refused(f"expected {count * 64} bytes in images, as its header says, got 768"):
        load_data(str(path))


def test_an_archive_that_claims_more_than_the_file_holds(path, refused):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header((1200, 8, 8)) + IMAGES.tobytes())
    data = bytearray(path.read_bytes())
    sizes = data.rindex(b"PK\x01\x02") + 20
    data[sizes : sizes + 8] = struct.pack("<2I", *[len(header((1200, 8, 8))) + 1200 * 64] * 2)
    path.write_bytes(data)
    with refused("expected an .npz file, got a damaged one"):
        load_data(str(path))


def test_a_member_beyond_the_end_of_the_file(path, refused):
    data = bytearray(Path(archive(path, images=IMAGES)).read_bytes())
    start = data.rindex(b"PK\x01\x02") + 42
    data[start : start + 4] = struct.pack("<I", len(data) - 10)
    path.write_bytes(data)
    with refused("expected an .npz file, got a damaged one"):
        load_data(str(path))


def test_no_file_at_all(path, refused):
    with refused("expected an .npz file, got a damaged one .No such file"):
        npz.load_npz(path, "train")


@pytest.mark.parametrize(
    "member",
    [
        *(
            header(shape) + IMAGES.tobytes()
            for shape in ((11, 8, 8), (13, 8, 8), (2**40, 8, 8), (2**62, 8, 8))
        ),
        *(
            header(shape) + IMAGES.tobytes()
            for shape in ((-12, 8, 8), (12, -8, -8), ("x",), 12, None, (12.0, 8, 8))
        ),
        *(header(IMAGES.shape)[:length] for length in range(0, 128, 9)),
        header(IMAGES.shape, "|O") + IMAGES.tobytes(),
        header(IMAGES.shape, "nonsense") + IMAGES.tobytes(),
        header(IMAGES.shape, "|u1, (" * 9) + IMAGES.tobytes(),
        header("(" * 3000 + ")" * 3000) + IMAGES.tobytes(),
        header("-" * 9000 + "1") + IMAGES.tobytes(),
        header("__import__('os').abort()") + IMAGES.tobytes(),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + header(IMAGES.shape)[10:],
        b"\x93NUMPY\x09\x00" + header(IMAGES.shape)[8:] + IMAGES.tobytes(),
        b"\x80\x04\x95" + IMAGES.tobytes(),
    ],
)
def test_members_that_lie(path, member, refused):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", member)
    tracemalloc.start()
    try:
        with refused("expected"):
            load_data(str(path))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("start", [header((2**14, 128, 64)), b"\x93NUMPY\x02\x00\x00\x00\x00\x08"])
def test_a_zip_bomb_takes_no_memory(path, start, refused):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("images.npy", start + bytes(2**27))
    tracemalloc.start()
    try:
        with refused("expected images of at most .*200 times the file, got 134217"):
            load_data(str(path))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_more_than_the_limit(path, monkeypatch, refused):
    monkeypatch.setattr(npz, "LIMIT_BYTES", 100)
    with refused("expected images of at most 100 bytes"):
        load_data(archive(path, images=IMAGES))


def test_other_compressions_and_encryption(path, refused):
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr("images.npy", header(IMAGES.shape) + IMAGES.tobytes())
        with refused("compressed in another way"):
            load_data(str(path))
    data = bytearray(Path(archive(path, images=IMAGES)).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    with refused("encrypted"):
        load_data(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18]
)
def test_files_that_are_no_archive(path, content, refused):
    path.write_bytes(content)
    with refused("expected an .npz file|expected an array 'images'"):
        load_data(str(path))
