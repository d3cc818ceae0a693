import functools

import numpy as np
import pytest
import torch

from capsulegan.data import load_data
from capsulegan.training.batches import Batches, mirrored, scaled, shifted, turned, unscaled


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_every_epoch_shows_every_image_once(digits):
    size, batch_size = len(digits.images), 64
    batches = Batches(digits, batch_size, seed=0)
    shown = np.concatenate([batches.indices(step) for step in range(3 * size // batch_size + 1)])
    epochs = shown[: 3 * size].reshape(3, size)
    for epoch in epochs:
        assert sorted(epoch) == list(range(size))
    assert (epochs[0] != epochs[1]).any()


def test_a_batch_depends_on_its_step_and_seed_alone(digits):
    in_order, at_once = Batches(digits, 100, seed=7), Batches(digits, 100, seed=7)
    for step in range(40):
        last = in_order.indices(step)
    np.testing.assert_array_equal(last, at_once.indices(39))
    assert (Batches(digits, 100, seed=8).indices(39) != last).any()


def test_a_batch_may_be_larger_than_the_data(digits):
    indices = Batches(digits, 2 * len(digits.images), seed=0).indices(0)
    assert (np.bincount(indices) == 2).all()


def test_images_and_labels_belong_together(digits):
    batches = Batches(digits, 16, seed=0)
    indices = batches.indices(5)
    np.testing.assert_array_equal(unscaled(batches.images(5)), digits.images[indices])
    np.testing.assert_array_equal(batches.labels(5), digits.labels[indices])


def test_scaling_maps_all_levels_to_minus_one_to_one_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    pixels = scaled(levels)
    assert pixels.shape == (1, 1, 16, 16)
    assert pixels.min() == -1
    assert pixels.max() == 1
    np.testing.assert_array_equal(unscaled(pixels), levels)
    assert unscaled(torch.tensor([[[[-1.5]], [[1.5]], [[0.0]]]])).tolist() == [[[[0, 255, 128]]]]


# ---- shifts


def pictures(count, channels=1, size=9):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=generator)


def moved(image, down, right):
    """The image on a dark plane, so many pixels further down and right."""
    size = image.shape[-1]
    plane = torch.full((image.shape[0], 3 * size, 3 * size), -1.0)
    plane[:, size + down : 2 * size + down, size + right : 2 * size + right] = image
    return plane[:, size : 2 * size, size : 2 * size]


def offset(image, found, most):
    """By how many pixels an image was moved, down and right; fails if it is not the image moved."""
    steps = range(-most, most + 1)
    (found_at,) = [
        (down, right) for down in steps for right in steps if torch.equal(found, moved(image, down, right))
    ]
    return found_at


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_moved_by_a_shift_of_its_own_and_all_shifts_occur_about_as_often(channels):
    images = pictures(1000, channels)
    found = shifted(images, 2, seed=0, step=0)
    assert found.shape == images.shape
    assert found.is_contiguous()
    offsets = [offset(*pair, 2) for pair in zip(images, found, strict=True)]
    counts = np.array([offsets.count((down, right)) for down in range(-2, 3) for right in range(-2, 3)])
    assert counts.sum() == 1000
    assert ((counts - 40) ** 2 / 40).sum() < 51.2  # 24 degrees of freedom: one seed of a thousand is above
    rows, columns = np.array(offsets).T
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.1


def test_a_shift_is_no_longer_than_was_asked():
    images = pictures(300)
    found = shifted(images, 1, seed=0, step=0)
    assert len({offset(*pair, 1) for pair in zip(images, found, strict=True)}) == 9
    assert torch.equal(shifted(images, 0, seed=0, step=0), images)


@pytest.mark.parametrize("change", [functools.partial(shifted, most=2), turned, mirrored])
def test_shifts_and_turns_depend_on_the_seed_and_the_step_alone(change):
    images = pictures(50)
    before = images.clone(), torch.get_rng_state()
    first = change(images, seed=3, step=4)
    assert torch.equal(change(images, seed=3, step=4), first)
    assert not torch.equal(change(images, seed=4, step=4), first)
    assert not torch.equal(change(images, seed=3, step=5), first)
    assert torch.equal(images, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


# ---- turns


def bars(count, channels=1):
    """A level bar of 16 x 4 light pixels in the middle of a dark image."""
    images = torch.full((count, channels, 28, 28), -1.0)
    images[:, :, 12:16, 6:22] = 1
    return images


def degrees_and_size(image):
    """How far a bar is turned, and how long it is beside one that is not."""
    light = (image.mean(dim=0) + 1) / (image.mean(dim=0) + 1).sum()
    rows, columns = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")
    along, across, both = ((light * each).sum() for each in (columns**2, rows**2, columns * rows))
    spread = along + across
    return 0.5 * torch.atan2(2 * both, along - across).rad2deg().item(), spread.item()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_turned_either_way_by_all_angles_up_to_the_one_asked(channels):
    images = turned(bars(200, channels), seed=0, step=0, degrees=10, scale=0)
    assert images.shape == (200, channels, 28, 28)
    angles = np.array([degrees_and_size(image)[0] for image in images])
    assert angles.min() == pytest.approx(-10, abs=0.5)
    assert angles.max() == pytest.approx(10, abs=0.5)
    assert np.histogram(angles, bins=4, range=(-10.5, 10.5))[0].min() > 30


def test_images_are_made_larger_and_smaller_by_as_much_as_was_asked():
    images = turned(bars(200), seed=0, step=0, degrees=0, scale=0.1)
    areas = np.array([degrees_and_size(image)[1] for image in images]) / degrees_and_size(bars(1)[0])[1]
    assert areas.min() == pytest.approx(1 / 1.1**2, abs=0.03)
    assert areas.max() == pytest.approx(1 / 0.9**2, abs=0.03)
    assert 0.35 < (areas > 1).mean() < 0.65
    assert np.abs([degrees_and_size(image)[0] for image in images]).max() < 0.1


def test_half_of_the_images_are_mirrored_and_the_rest_are_as_they_were():
    images = torch.rand(1000, 1, 2, 3)
    found = mirrored(images, seed=0, step=0)
    flipped = (found == images.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(found[~flipped], images[~flipped])
    assert 450 < flipped.sum() < 550


def test_turned_images_stay_in_range_and_are_dark_where_there_was_nothing():
    images = turned(torch.ones(50, 1, 28, 28), seed=0, step=0)
    assert images.min() == -1
    assert images.max() == pytest.approx(1)
    assert torch.equal(turned(-torch.ones(5, 3, 8, 8), seed=0, step=0), -torch.ones(5, 3, 8, 8))
    still = pictures(4)
    torch.testing.assert_close(turned(still, seed=0, step=0, degrees=0, scale=0), still, rtol=0, atol=1e-5)
