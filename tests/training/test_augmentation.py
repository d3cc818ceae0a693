import numpy as np
import pytest
import torch

from capsulegan.training.augmentation import NUMBERS, Augmentation, augmented
from capsulegan.training.recipes import POLICIES


def images_and_numbers(count=40, channels=3, height=8, width=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, channels, height, width, generator=generator, dtype=torch.float64) * 2 - 1
    return images, torch.rand(NUMBERS, count, generator=generator)


def written_out(image, numbers, policies):
    """What becomes of one image, pixel by pixel: (C, H, W)."""
    mirror, brightness, saturation, contrast, down, right, middle_row, middle_column = numbers
    _, height, width = image.shape
    if "color" in policies:
        image = image + (brightness - 0.5)
        grey = image.mean(axis=0, keepdims=True)
        image = grey + 2 * saturation * (image - grey)
        image = image.mean() + (0.5 + contrast) * (image - image.mean())
    if "mirror" in policies and mirror < 0.5:
        image = image[:, :, ::-1]
    if "translation" in policies:
        most_down, most_right = height // 8, width // 8
        rows = int(down * (2 * most_down + 1)) - most_down
        columns = int(right * (2 * most_right + 1)) - most_right
        moved = np.zeros_like(image)
        for row in range(height):
            for column in range(width):
                if 0 <= row - rows < height and 0 <= column - columns < width:
                    moved[:, row, column] = image[:, row - rows, column - columns]
        image = moved
    if "cutout" in policies:
        top = int(middle_row * (height + 1)) - height // 4
        left = int(middle_column * (width + 1)) - width // 4
        image = image.copy()
        image[:, max(0, top) : top + height // 2, max(0, left) : left + width // 2] = 0
    return image


@pytest.mark.parametrize("policies", [*((policy,) for policy in POLICIES), POLICIES, ("cutout", "mirror")])
def test_images_are_changed_as_is_written_out(policies):
    images, numbers = images_and_numbers()
    found = augmented(images, numbers, policies)
    for before, after, chance in zip(images.numpy(), found.numpy(), numbers.T.numpy(), strict=True):
        np.testing.assert_allclose(after, written_out(before, chance, policies), rtol=0, atol=1e-6)


def test_grey_images_are_moved_and_mirrored_exactly():
    images, numbers = images_and_numbers(channels=1)
    images = images.float()
    found = augmented(images, numbers, ("mirror", "translation"))
    assert set(found.unique().tolist()) <= {0.0, *images.unique().tolist()}


def test_each_place_of_a_cutout_and_of_a_move_is_met():
    images = torch.ones(1, 1, 8, 8).expand(2000, 1, 8, 8)
    numbers = torch.rand(NUMBERS, 2000, generator=torch.Generator().manual_seed(1))
    cut = augmented(images, numbers, ("cutout",)).sum(dim=(1, 2, 3))
    assert cut.min() == 64 - 16  # a quarter of the image, and less at an edge
    assert cut.max() == 64 - 4
    moved = augmented(images, numbers, ("translation",))
    assert {tuple(image.nonzero().amin(dim=0).tolist()) for image in moved[:, 0]} == {
        (0, 0), (0, 1), (1, 0), (1, 1)
    }  # fmt: skip
    assert {tuple(image.nonzero().amax(dim=0).tolist()) for image in moved[:, 0]} == {
        (6, 6), (6, 7), (7, 6), (7, 7)
    }  # fmt: skip


@pytest.mark.parametrize("policies", [("color",), ("mirror", "translation"), ("cutout",), POLICIES])
def test_gradients_flow_through_to_every_image(policies):
    images, numbers = images_and_numbers(count=3, height=8, width=8)
    images.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmented(x, numbers.double(), policies), images)


def test_draws_are_a_function_of_seed_and_step():
    augmentation = Augmentation(("mirror", "cutout"), noise=0.5)
    images, _ = images_and_numbers()
    numbers, noise = augmentation.draws(images.shape, 0, 3)
    assert numbers.shape == (NUMBERS, len(images))
    for again, wanted in zip(augmentation.draws(images.shape, 0, 3), (numbers, noise), strict=True):
        assert torch.equal(again, wanted)
    for other in (augmentation.draws(images.shape, 0, 4), augmentation.draws(images.shape, 1, 3)):
        assert not torch.equal(other[0], numbers)
    shown = augmentation(images, numbers, noise)
    torch.testing.assert_close(shown, augmented(images, numbers, augmentation.policies) + noise)


def test_without_policies_and_noise_images_are_shown_as_they_are():
    images, _ = images_and_numbers()
    augmentation = Augmentation()
    assert augmentation.draws(images.shape, 0, 0) == []
    assert augmentation(images) is images
