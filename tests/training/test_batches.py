import numpy as np
import pytest
import torch

from capsulegan.data import load_data
from capsulegan.training.batches import Batches, scaled, unscaled


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
