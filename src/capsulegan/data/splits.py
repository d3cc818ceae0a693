"""Which images are the test set of data that has none: a function of the number of images alone."""

from __future__ import annotations

import numpy as np

from capsulegan.data.images import Labels, Split


def permutation(count: int, purpose: str) -> Labels:
    """Return the numbers 0..count-1, int64 of shape (count,), in an order that depends on `purpose`."""
    import torch

    from capsulegan.randomness import generator_for

    return torch.randperm(count, generator=generator_for(0, purpose)).numpy()


def draws(count: int, choices: int, columns: int, purpose: str) -> Labels:
    """Return numbers 0..choices-1, drawn with replacement, int64 of shape (count, columns)."""
    import torch

    from capsulegan.randomness import generator_for

    return torch.randint(choices, (count, columns), generator=generator_for(0, purpose)).numpy()


def one_in_six(count: int, split: Split) -> Labels:
    """Return the sorted positions of one split, where one image in six, drawn once, is the test set.

    Both splits hold at least one of two or more images.
    """
    order = permutation(count, "test split")
    tests = max(1, count // 6)
    return np.sort(order[:tests] if split == "test" else order[tests:])


def stratified(labels: Labels, one_in: int, purpose: str, split: Split) -> Labels:
    """Return the sorted positions of one split, with each class's share of the test set right to +-1.

    Sorted by class, and within a class in random order, every `one_in`-th image is a test image.
    """
    order = permutation(len(labels), purpose)
    order = order[np.argsort(labels[order], kind="stable")]
    tests = order[::one_in]
    return np.sort(tests if split == "test" else np.setdiff1d(order, tests))
