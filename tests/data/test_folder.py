"""Folders of pictures of every kind."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capsulegan.data import fetch, folder, load_data
from capsulegan.data.folder import infer_size
from capsulegan.data.pictures import look, read_picture


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (8, 8), seed: int = 0) -> Path:
    """Write noise as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def fill(where: Path, count: int = 12, **options) -> Path:
    for number in range(count):
        picture(where / f"{number:02}.png", seed=number, **options)
    return where


def both(path: Path, **options):
    return load_data(str(path), "train", **options), load_data(str(path), "test", **options)


def test_one_in_six_is_for_testing(tmp_path):
    train, test = both(fill(tmp_path / "faces"))
    assert (len(train.images), len(test.images)) == (10, 2)
    together = {image.tobytes() for data in (train, test) for image in data.images}
    written = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "faces").iterdir()}
    assert together == written
    assert (train.name, train.labels, train.classes) == ("faces", None, ())
    assert load_data(str(tmp_path / "faces")).digest == train.digest


@pytest.mark.parametrize("count", [2, 3, 5, 6, 7])
def test_both_splits_keep_an_image(tmp_path, count):
    train, test = both(fill(tmp_path, count))
    assert len(train.images) + len(test.images) == count
    assert len(test.images) == max(1, count // 6)


def test_subfolders_are_classes(tmp_path):
    for label, count in (("b", 6), ("a", 6), ("empty", 0), (".hidden", 3)):
        (tmp_path / label).mkdir()
        fill(tmp_path / label, count)
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "a" / "._00.png").write_text("not a picture")
    train, test = both(tmp_path)
    assert train.classes == test.classes == ("a", "b")
    assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [6, 6]
    expected = {(name, np.asarray(Image.open(tmp_path / name / "00.png")).tobytes()) for name in "ab"}
    assert expected <= {
        (data.classes[label], image.tobytes())
        for data in (train, test)
        for label, image in zip(data.labels, data.images, strict=True)
    }


def test_train_and_test_subfolders(tmp_path):
    (
        fill(tmp_path / "train" / "a", 3),
        fill(tmp_path / "train" / "b", 2),
        fill(tmp_path / "test" / "b", 4),
    )
    train, test = both(tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 1, 1], [1, 1, 1, 1])
    assert test.classes == ("a", "b")


def test_train_with_classes_and_test_without(tmp_path, refused):
    fill(tmp_path / "train" / "a", 3), fill(tmp_path / "test", 3)
    with refused("classes in both train and test or in neither"):
        load_data(str(tmp_path))


def test_an_empty_test_folder(tmp_path, refused):
    fill(tmp_path / "train", 3)
    (tmp_path / "test").mkdir()
    with refused("expected pictures for the test split, got none"):
        load_data(str(tmp_path), "test")


def test_pictures_beside_classes(tmp_path, refused):
    fill(tmp_path, 2), fill(tmp_path / "a", 2)
    with refused("got both; move 00.png"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures(tmp_path, count, refused):
    with refused(f"expected 2 pictures or more, .*got {count}"):
        load_data(str(fill(tmp_path, count) if count else tmp_path))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)] * 3, 28),
        ([(128, 128)] * 3, 128),
        ([(132, 132)] * 3, 64),
        ([(30, 30)] * 3, 28),
        ([(1, 1)] * 3, 8),
        ([(40, 50), (50, 40), (40, 40)], 40),
        ([(20, 90), (23, 90), (300, 200)], 20),
        ([(300, 200)], 64),
        ([(28, 30)] * 3, 28),
    ],
)
def test_inferred_sizes(sizes, expected):
    assert infer_size(sizes) == expected


def test_one_pixel_pictures_are_enlarged(tmp_path):
    train, _ = both(fill(tmp_path, 3, size=(1, 1)))
    assert train.images.shape == (2, 8, 8, 1)
    assert all(len(np.unique(image)) == 1 for image in train.images)


def test_resized_by_the_shorter_side_and_cropped_in_the_middle(tmp_path):
    pixels = np.zeros((64, 192), np.uint8)
    pixels[:, 64:128] = 255
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    train, _ = both(tmp_path, image_size=32)
    assert train.images.shape == (1, 32, 32, 1)
    assert train.images.min() > 230  # the edges blend with what is beyond them
    assert train.images[:, :, 3:-3].min() > 250


def test_grey_only_if_all_are(tmp_path):
    fill(tmp_path, 3)
    assert load_data(str(tmp_path)).images.shape[3] == 1
    picture(tmp_path / "colour.png", "RGB")
    for data in both(tmp_path):
        assert data.images.shape[3] == 3
    grey = read_picture(tmp_path / "00.png", 8, 3)
    assert (grey == grey[..., :1]).all()


def save(path: Path, image: Image.Image, **options) -> np.ndarray:
    image.save(path, **options)
    return read_picture(path, 8, 1 if look(path)[1] else 3)


def test_16_bit_grey_is_scaled(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.round(values / 257)
    for name in ("a.png", "a.tif"):
        assert np.array_equal(save(tmp_path / name, Image.fromarray(values))[..., 0], expected)


def test_32_bit_grey_has_no_range(tmp_path):
    fill(tmp_path, 3)
    Image.fromarray(np.full((8, 8), 1e6, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((8, 8), 100_000, np.int32)).save(tmp_path / "int.tif")
    with pytest.warns(UserWarning, match="2 pictures cannot be read: float.tif .floating.*int.tif .32-bit"):
        load_data(str(tmp_path)), load_data(str(tmp_path), "test")


def test_palette_cmyk_and_bilevel(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert (save(tmp_path / "a.gif", red.convert("P")) == (255, 0, 0)).all()
    assert (save(tmp_path / "a.png", red.quantize(2)) == (255, 0, 0)).all()
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert (save(tmp_path / "a.tif", cmyk) == (255, 0, 0)).all()
    assert np.abs(save(tmp_path / "a.jpg", cmyk).astype(int) - (255, 0, 0)).max() < 5
    assert (save(tmp_path / "b.png", Image.new("1", (8, 8), 1)) == 255).all()


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("lime", "red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        pixels = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        assert (pixels == (0, 255, 0)).all(), name


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 0, 127), (128, 128, 128)),
        ("LA", (0, 0), (255,)),
        ("LA", (10, 255), (10,)),
    ],
)
def test_transparent_parts_are_white(tmp_path, mode, colour, expected):
    pixels = save(tmp_path / "a.png", Image.new(mode, (8, 8), colour))
    assert pixels.shape == (8, 8, len(expected))
    assert (pixels == expected).all()


def test_a_transparent_colour_is_white(tmp_path):
    grey = Image.new("L", (8, 8), 7)
    assert (save(tmp_path / "a.png", grey, transparency=7) == 255).all()
    assert (save(tmp_path / "b.png", grey, transparency=8) == 7).all()
    palette = Image.new("RGB", (8, 8), "red").quantize(2)
    assert (save(tmp_path / "c.png", palette, transparency=palette.getpixel((0, 0))) == 255).all()


def test_exif_orientation_is_applied(tmp_path):
    upright = np.zeros((8, 8), np.uint8)
    upright[:4] = 255
    turned = Image.fromarray(upright).rotate(90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    pixels = save(tmp_path / "a.png", turned, exif=exif)
    assert np.array_equal(pixels[..., 0], upright)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Twelve good pictures and four that are not."""
    good = fill(tmp_path, 12, size=(32, 32))
    whole = (good / "00.png").read_bytes()
    (good / "empty.png").write_bytes(b"")
    (good / "text.jpg").write_text("not a picture")
    (good / "short.png").write_bytes(whole[: len(whole) // 2])
    (good / "z.PNG").write_bytes(whole[:20])
    return good


def test_broken_pictures_are_left_out_and_named(broken):
    named = set()
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match=r"pictures cannot be read: .*they are left out") as caught:
            data = load_data(str(broken), split)
        assert len(caught) == 1
        assert "empty.png (no picture of a known format)" in str(caught[0].message)
        named |= set(data.skipped)
    assert named == {"empty.png", "short.png", "text.jpg", "z.PNG"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = fetch(str(broken))
    assert summary["train"] + summary["test"] == 12
    assert summary["skipped"] == sorted(named)


def test_broken_pictures_are_an_error_if_strict(broken, refused):
    with refused(
        r"pictures cannot be read: empty.png \(no picture.* and 1 more; mend or remove|cannot be read"
    ):
        load_data(str(broken), strict=True)


def test_only_broken_pictures(tmp_path, refused):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no")
    with refused("expected 2 pictures or more, .*got 0 .*a.png: no picture"):
        load_data(str(tmp_path))


def test_a_decompression_bomb_is_left_out(tmp_path, monkeypatch):
    fill(tmp_path, 6)
    picture(tmp_path / "large.png", size=(40, 40))
    picture(tmp_path / "larger.png", size=(60, 60))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a warning above, an error above twice as many
    with pytest.warns(UserWarning, match=r"2 pictures cannot be read: large.png .*bomb.*larger.png .*bomb"):
        load_data(str(tmp_path))


def test_a_file_that_is_another_kind_of_program_is_not_run(tmp_path):
    fill(tmp_path, 3)
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.warns(UserWarning, match="a.png .no picture of a known format"):
        load_data(str(tmp_path))


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    outside = fill(tmp_path / "outside", 3)
    inside = fill(tmp_path / "inside", 3)
    (inside / "inner.png").symlink_to(inside / "00.png")
    (inside / "outer.png").symlink_to(outside / "00.png")
    (inside / "nothing.png").symlink_to(inside / "nowhere.png")
    (inside / "loop.png").symlink_to(inside / "loop.png")
    (inside / "class").symlink_to(outside)
    os.mkfifo(inside / "pipe.png")
    with pytest.warns(UserWarning, match="4 pictures cannot be read"):
        train = load_data(str(inside))
    assert train.skipped == ("loop.png", "nothing.png", "outer.png", "pipe.png")
    assert len(train.images) == 3  # of four, with the link that stays inside
    (tmp_path / "link").symlink_to(inside)
    with pytest.warns(UserWarning, match="4 pictures cannot be read"):
        assert load_data(str(tmp_path / "link")).digest == train.digest


def test_a_line_break_in_a_name_makes_no_second_line(tmp_path, refused):
    where = fill(tmp_path / "two\nlines", 3)
    (where / "bro\nken.png").write_text("")
    with refused("bro ken.png"):
        load_data(str(where), strict=True)


def test_many_images_are_mapped_from_a_file_that_is_used_again(broken, cache, monkeypatch):
    with pytest.warns(UserWarning, match="left out"):
        in_memory = load_data(str(broken))
    monkeypatch.setattr(folder, "MEMORY_LIMIT_BYTES", 1000)
    with pytest.warns(UserWarning, match="left out") as first:
        mapped = load_data(str(broken))
    assert not isinstance(in_memory.images, np.memmap)
    assert isinstance(mapped.images, np.memmap)
    assert (mapped.digest, mapped.skipped) == (in_memory.digest, in_memory.skipped)
    assert sorted(path.suffix for path in (cache / "folders").iterdir()) == [".json", ".npy"]

    def never(*arguments):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_picture", never)
        patch.setattr(folder, "look", never)
        with pytest.warns(UserWarning, match="left out") as second:
            again = load_data(str(broken))
    assert (again.digest, again.skipped) == (mapped.digest, mapped.skipped)
    assert str(first[0].message) == str(second[0].message)

    picture(broken / "01.png", size=(32, 32), seed=99)  # changed, so it must be decoded again
    os.utime(broken / "01.png", ns=(1, 1))
    changed = both_quietly(broken)
    assert {data.digest for data in changed} != {data.digest for data in (again, both_quietly(broken)[1])}


def both_quietly(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return both(path)


@pytest.mark.parametrize("damage", ["truncate", "text", "remove", "notes"])
def test_a_damaged_kept_file_is_made_anew(tmp_path, cache, monkeypatch, damage):
    fill(tmp_path, 6)
    monkeypatch.setattr(folder, "MEMORY_LIMIT_BYTES", 0)
    digest = load_data(str(tmp_path)).digest
    (kept,) = (cache / "folders").glob("*.npy")
    if damage == "truncate":
        os.truncate(kept, 200)
    elif damage == "text":
        kept.write_text("no array")
    elif damage == "remove":
        kept.unlink()
    else:
        kept.with_suffix(".json").write_text('{"kept": ["../other.png"], "skipped": {}}')
    assert load_data(str(tmp_path)).digest == digest


def test_a_cache_folder_that_cannot_be_written_to(tmp_path, cache, monkeypatch, refused):
    fill(tmp_path, 6)
    monkeypatch.setattr(folder, "MEMORY_LIMIT_BYTES", 0)
    cache.write_text("a file where the folder should be")
    with refused("cannot write"):
        load_data(str(tmp_path))


def test_each_size_and_split_has_a_file_of_its_own(tmp_path, cache, monkeypatch):
    fill(tmp_path, 6)
    monkeypatch.setattr(folder, "MEMORY_LIMIT_BYTES", 0)
    assert load_data(str(tmp_path)).images.shape[1] == 8
    assert load_data(str(tmp_path), image_size=16).images.shape[1] == 16
    assert load_data(str(tmp_path), "test").images.shape[0] == 1
    assert all(re.fullmatch(r"[0-9a-f]{64}\.(npy|json)", path.name) for path in (cache / "folders").iterdir())
