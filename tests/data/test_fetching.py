"""Fetching from a real web server on this machine, with the real files of MNIST."""

import hashlib
import sys
from pathlib import Path

import pytest

from capsulegan.data import load_data, mnist
from capsulegan.data.places import CHUNK_BYTES

NAMES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
IMAGES = NAMES[0]


@pytest.fixture
def contents(data_folder: Path) -> dict[str, bytes]:
    return {name: (data_folder / "mnist" / name).read_bytes() for name in NAMES}


@pytest.fixture
def folder(contents, server, tmp_path, monkeypatch) -> Path:
    """An empty data folder, with two places on the server to fetch from, of which the second works."""
    for name, data in contents.items():
        monkeypatch.setitem(mnist.MD5, name, hashlib.md5(data, usedforsecurity=False).hexdigest())
        server.files[f"/second/{name}"] = data
    monkeypatch.setattr(mnist, "PLACES", (f"{server.url}/first/", f"{server.url}/second/"))
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "mnist"


def paths(server) -> list[str]:
    return [path for path, _ in server.requests if IMAGES in path]


def test_the_next_place_is_tried_and_what_comes_is_kept(folder, server, contents):
    assert len(load_data("mnist", "test").images) == 10_000
    assert paths(server) == [f"/first/{IMAGES}", f"/second/{IMAGES}"]
    assert (folder / IMAGES).read_bytes() == contents[IMAGES]
    asked = len(server.requests)
    load_data("mnist", "test")
    assert len(server.requests) == asked
    assert not [path for path in folder.iterdir() if path.suffix == ".partial"]


def test_without_a_data_folder_the_cache_is_used(folder, server, cache, monkeypatch):
    monkeypatch.delenv("CAPSULEGAN_DATA")
    assert load_data("mnist", "test").folder == cache / "mnist"


def test_the_mirror_comes_first(folder, server, contents, monkeypatch):
    monkeypatch.setenv("CAPSULEGAN_MIRROR", f"{server.url}/mirror/")
    server.files |= {f"/mirror/mnist/{name}": data for name, data in contents.items()}
    load_data("mnist", "test")
    assert paths(server) == [f"/mirror/mnist/{IMAGES}"]


def test_a_mirror_without_the_file_is_passed_by(folder, server, monkeypatch):
    monkeypatch.setenv("CAPSULEGAN_MIRROR", f"{server.url}/mirror")
    load_data("mnist", "test")
    assert paths(server) == [f"/mirror/mnist/{IMAGES}", f"/first/{IMAGES}", f"/second/{IMAGES}"]


def test_a_wrong_file_is_thrown_away(folder, server, contents):
    damaged = bytearray(contents[IMAGES])
    damaged[1000] ^= 1
    server.files[f"/first/{IMAGES}"] = bytes(damaged)
    load_data("mnist", "test")
    assert paths(server) == [f"/first/{IMAGES}", f"/second/{IMAGES}"]
    assert (folder / IMAGES).read_bytes() == contents[IMAGES]


def test_an_interrupted_download_goes_on(folder, server, contents, refused):
    server.breaks_off_after = 100_000
    with refused("cannot fetch"):
        load_data("mnist", "test")
    part = (folder / f"{IMAGES}.partial").read_bytes()
    assert 100_000 - CHUNK_BYTES < len(part) <= 100_000
    assert contents[IMAGES].startswith(part)
    server.breaks_off_after = None
    server.requests.clear()
    server.sent_bytes = 0
    load_data("mnist", "test")
    asked = dict(server.requests)
    assert asked[f"/second/{IMAGES}"] == f"bytes={len(part)}-"
    assert server.sent_bytes == sum(map(len, contents.values())) - len(part)
    assert (folder / IMAGES).read_bytes() == contents[IMAGES]


def test_a_server_that_ignores_range(folder, server, contents):
    server.ignores_range = True
    folder.mkdir(parents=True)
    (folder / f"{IMAGES}.partial").write_bytes(contents[IMAGES][:5000])
    load_data("mnist", "test")
    assert paths(server) == [f"/first/{IMAGES}", f"/second/{IMAGES}"]
    assert (folder / IMAGES).read_bytes() == contents[IMAGES]


@pytest.mark.parametrize("length", [10, 5_000_000])
def test_a_part_of_another_file_is_given_up(folder, server, contents, length):
    folder.mkdir(parents=True)
    (folder / f"{IMAGES}.partial").write_bytes(b"x" * length)
    load_data("mnist", "test")
    assert paths(server)[-2:] == [f"/second/{IMAGES}", f"/second/{IMAGES}"]
    assert (folder / IMAGES).read_bytes() == contents[IMAGES]


def test_a_part_that_is_complete_is_taken(folder, server, contents):
    folder.mkdir(parents=True)
    (folder / f"{IMAGES}.partial").write_bytes(contents[IMAGES])
    load_data("mnist", "test")
    assert server.sent_bytes < len(contents[IMAGES])


def test_all_places_fail(folder, server, refused):
    server.files.clear()
    with refused(f"cannot fetch {IMAGES}: .*/first/.*404.*/second/.*404.*by hand: .*{folder}"):
        load_data("mnist", "test")


def test_no_server_at_all(folder, monkeypatch, refused):
    monkeypatch.setattr(mnist, "PLACES", ("http://127.0.0.1:9/", "nonsense://x/", "http://"))
    with refused("cannot fetch.*127.0.0.1:9.*nonsense.*by hand"):
        load_data("mnist", "test")


def test_a_folder_that_cannot_be_written_to(tmp_path, folder, monkeypatch, refused):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path / "file"))
    with refused("cannot fetch"):
        load_data("mnist", "test")


def test_without_pooch_files_are_read_but_not_fetched(folder, contents, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with refused("pooch.*not installed.*by hand"):
        load_data("mnist", "test")
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    assert len(load_data("mnist", "test").images) == 10_000
