"""The data sets that have names, from their real files."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capsulegan.data import fetch, load_data

MNIST_TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_digits_are_all_there_split_evenly_by_class():
    from sklearn.datasets import load_digits

    train, test = load_data("digits"), load_data("digits", "test")
    assert train.images.shape == (1437, 8, 8, 1)
    assert test.images.shape == (360, 8, 8, 1)
    together = np.concatenate([train.images, test.images]).reshape(1797, -1)
    original = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, together)) == sorted(map(bytes, original))
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    assert np.abs(shares - 0.2).max() < 1 / 170
    assert together.max() == 255


def test_digits_keep_their_labels():
    from sklearn.datasets import load_digits

    original = load_digits()
    labels = {}
    for pixels, label in zip(
        np.round(original.data * 255 / 16).astype(np.uint8), original.target, strict=True
    ):
        labels.setdefault(bytes(pixels), set()).add(label)
    for data in (load_data("digits"), load_data("digits", "test")):
        assert all(
            label in labels[bytes(image.reshape(-1))]
            for image, label in zip(data.images, data.labels, strict=True)
        )


def test_the_splits_do_not_change():
    """Figures of one version are comparable with those of the next."""
    assert load_data("digits").digest.startswith("2728583af6d3020c")
    assert load_data("digits", "test").digest.startswith("a6ff4f01c1366334")


@pytest.mark.parametrize(("split", "counts"), [("train", MNIST_TRAIN_COUNTS), ("test", MNIST_TEST_COUNTS)])
def test_mnist(data_folder: Path, split, counts):
    data = load_data("mnist", split)
    assert data.images.shape == (sum(counts), 28, 28, 1)
    assert np.bincount(data.labels).tolist() == counts
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.classes == tuple("0123456789")
    prefix = {"train": "train", "test": "t10k"}[split]
    with gzip.open(data_folder / "mnist" / f"{prefix}-images-idx3-ubyte.gz") as file:
        assert file.read(16 + 784)[16:] == data.images[0].tobytes()
    # ink in the middle, none in the corners
    mean = data.images.mean(axis=(0, 3))
    assert mean[10:18, 10:18].mean() > 50 * mean[:3, :3].mean() + 50


def test_mnist_uncompressed_is_the_same(data_folder: Path, tmp_path: Path, monkeypatch):
    compressed = load_data("mnist", "test")
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / "mnist").mkdir(exist_ok=True)
        raw = gzip.decompress((data_folder / "mnist" / f"{name}.gz").read_bytes())
        (tmp_path / "mnist" / name).write_bytes(raw)
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    uncompressed = load_data("mnist", "test")
    assert uncompressed.digest == compressed.digest
    assert uncompressed.folder == tmp_path / "mnist"


def test_the_cache_folder_is_looked_in_too(data_folder: Path, tmp_path: Path, cache: Path, monkeypatch):
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    shutil.copytree(data_folder / "mnist", cache / "mnist")
    assert load_data("mnist", "test").folder == cache / "mnist"


@pytest.mark.parametrize(("split", "each"), [("train", 5000), ("test", 1000)])
def test_cifar10(data_folder: Path, split, each):
    data = load_data("cifar10", split)
    assert data.images.shape == (10 * each, 32, 32, 3)
    assert np.bincount(data.labels).tolist() == [each] * 10
    assert data.classes[:2] == ("airplane", "automobile")
    # the published means of the channels (of the training split; the test split is close)
    assert data.images.mean(axis=(0, 1, 2)) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=6e-3)
    # planes put together right: neighbours are alike, and alike in both directions
    pixels = data.images[:1000].astype(float)
    down, right = np.abs(np.diff(pixels, axis=1)).mean(), np.abs(np.diff(pixels, axis=2)).mean()
    assert max(down, right) < 20
    # sky over ground: aeroplanes and ships are bluer and brighter at the top, so rows run down
    ships = data.images[data.labels == 8].astype(float)
    assert ships[:, :8].mean() > ships[:, -8:].mean() + 20


def test_stacked_mnist(data_folder: Path):
    digits, data = load_data("mnist", "test"), load_data("stacked-mnist", "test")
    assert data.images.shape == (10_000, 28, 28, 3)
    assert len(data.classes) == 1000
    labels = {
        bytes(image.reshape(-1)): label for image, label in zip(digits.images, digits.labels, strict=True)
    }
    for image, label in zip(data.images[:200], data.labels[:200], strict=True):
        written = [labels[image[:, :, channel].tobytes()] for channel in range(3)]
        assert data.classes[label] == "".join(map(str, written))
    assert len(set(data.labels)) > 990  # of 1,000, in 10,000 draws
    assert load_data("stacked-mnist", "test").digest == data.digest


def test_another_size(data_folder: Path):
    data = load_data("mnist", "test", image_size=32)
    assert data.images.shape == (10_000, 32, 32, 1)
    assert np.array_equal(data.labels, load_data("mnist", "test").labels)
    assert data.images.mean() == pytest.approx(load_data("mnist", "test").images.mean(), rel=0.05)


def test_arrays_are_read_only():
    data = load_data("digits")
    for array in (data.images, data.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_fetch_says_what_there_is(data_folder: Path):
    summary = fetch("mnist")
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["train"], summary["test"], summary["image_shape"]) == (60_000, 10_000, [28, 28, 1])
    assert summary["digests"]["test"] == load_data("mnist", "test").digest
    assert summary["folder"] == str(data_folder / "mnist")
    assert fetch("digits")["folder"] is None


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (
            "mnits",
            r"unknown data 'mnits': did you mean 'mnist'\?.*path of a folder of images or of an \.npz",
        ),
        ("no/such/folder", "unknown data .*the path of a folder"),
        ("", "unknown data"),
        ("a\0b", "unknown data"),
        ("x" * 5000, "expected a folder"),
    ],
)
def test_unknown_data(data, match, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(match):
        load_data(data)


@pytest.mark.parametrize("size", [0, -8, 4, 30, 132])
def test_sizes_that_no_network_takes(size, refused):
    with refused("multiple of 4 from 8 to 128 pixels, got .*--image-size 32"):
        load_data("digits", image_size=size)


def test_unknown_split(refused):
    with refused("unknown split 'valid'.*train, test"):
        load_data("digits", "valid")


def test_import_is_light():
    heavy = ("torch", "pooch", "sklearn", "PIL", "requests")
    script = f"import sys, capsulegan.data; sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_digest_tells_images_labels_and_order_apart():
    from capsulegan.data.images import digest

    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    labels = np.arange(6) % 2
    digests = [
        digest(images, labels),
        digest(images, None),
        digest(images, labels[::-1]),
        digest(images[::-1], labels),
        digest(images.reshape(3, 8, 16, 1), labels),
        digest(images ^ 1, labels),
    ]
    assert len(set(digests)) == 6
    assert digest(np.asfortranarray(images), labels.astype(np.int32)) == digests[0]
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in digests)
