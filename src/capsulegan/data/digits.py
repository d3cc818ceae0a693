"""The 8 x 8 digits that come with scikit-learn: data for a first try, with nothing to fetch."""

from __future__ import annotations

import numpy as np

from capsulegan.data.images import ImageData, Split, make_image_data
from capsulegan.data.splits import stratified


def load_digits(split: Split) -> ImageData:
    """Return the optical digits, 8 x 8 grey: 1,437 to train with and 360 to test with.

    Their values 0..16 are scaled to 0..255. The split is fixed and stratified by class.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, by way of `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits as bundled_digits

    bundled = bundled_digits()
    rows = stratified(bundled.target, 5, "digits split", split)
    pixels = np.round(bundled.images[rows] * (255 / 16)).astype(np.uint8)
    return make_image_data("digits", pixels[..., None], bundled.target[rows], tuple("0123456789"))
