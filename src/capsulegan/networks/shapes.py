"""Which images the networks take, and how they halve them."""

from __future__ import annotations

from capsulegan.sizes import SIZES, SMALLEST, is_image_size


def check_image_shape(image_size: int, channels: int) -> None:
    """Raise ValueError if no network takes images of this size and number of channels."""
    if not is_image_size(image_size):
        raise ValueError(f"The 'image_size' parameter must be {SIZES}. Got {image_size} instead.")
    if channels not in (1, 3):
        raise ValueError(f"The 'channels' parameter must be 1 or 3. Got {channels} instead.")


def check_classes(classes: int) -> None:
    """Raise ValueError if there is nothing to tell apart."""
    if classes < 2:
        raise ValueError(f"The 'classes' parameter must be at least 2. Got {classes} instead.")


def halvings(image_size: int) -> int:
    """Return how often a size can be halved and stay an integer of 4 or more: 28 -> 2 (28, 14, 7)."""
    count = 0
    while image_size % 2 == 0 and image_size // 2 >= SMALLEST // 2:
        image_size //= 2
        count += 1
    return count
