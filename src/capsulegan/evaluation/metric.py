"""The Generative Adversarial Metric: each discriminator judges the other's generator.

Im et al., *Generating images with recurrent adversarial networks* (2016); Jaiswal et al. (2018), Eq. 4
and 5. Pure functions of probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from capsulegan.evaluation.intervals import Share, ratio_interval, share

PAPER_THRESHOLD = 0.5
TOLERANCE = 0.1
"""How far r_test may be from 1 for r_samples to mean anything; the papers say only "close to 1"."""


@dataclass(frozen=True)
class Battle:
    """The outcome of a battle. `first` is the numerator of both ratios (the paper's GAN)."""

    r_samples: float
    """Eq. 5: accuracy of the first on the second's images / of the second on the first's. NaN if 0 / 0."""
    r_samples_interval: tuple[float, float]
    r_test: float
    """Eq. 4: accuracy of the first on real test images / of the second."""
    r_test_interval: tuple[float, float]
    first_real: Share
    """Share of real test images that the first discriminator takes for real."""
    first_on_second: Share
    """Share of the second generator's images that the first discriminator takes for generated."""
    second_real: Share
    second_on_first: Share
    thresholds: tuple[float, float]
    """Probability above which the first, and the second, takes an image for real."""
    tolerance: float
    verdict: str
    """'first wins', 'second wins', 'tie' or 'no verdict'."""
    reason: str


def generative_adversarial_metric(
    first_real: Tensor,
    first_on_second: Tensor,
    second_real: Tensor,
    second_on_first: Tensor,
    threshold: float | tuple[float, float] = PAPER_THRESHOLD,
    tolerance: float = TOLERANCE,
) -> Battle:
    """Compare two models by their discriminators' accuracies (Jaiswal et al. 2018, Eq. 4 and 5).

    Parameters
    ----------
    first_real, second_real : Tensor of shape (N,)
        Probability "this is real" that each discriminator gives to real test images.
    first_on_second, second_on_first : Tensor of shape (M,)
        The same, given to the images of the other's generator.
    threshold : float or pair of floats
        An image is taken for real above it: 0.5 in the paper, for both. A pair holds one for each.
    tolerance : float
        The verdict is withheld if r_test or 1 / r_test exceeds 1 by more than this.

    Returns
    -------
    Battle

    Raises
    ------
    ValueError
        If a tensor is empty, has more than one axis, or holds values outside [0, 1].

    Notes
    -----
    A probability that is NaN counts as a wrong answer, and there is then no verdict. The first wins if
    the interval of r_samples lies above 1, the second if it lies below, else it is a tie.
    """
    cuts = threshold if isinstance(threshold, tuple) else (threshold, threshold)
    given = {
        "first_real": first_real,
        "first_on_second": first_on_second,
        "second_real": second_real,
        "second_on_first": second_on_first,
    }
    for name, probabilities in given.items():
        check_probabilities(name, probabilities)
    shares = {
        "first_real": accuracy(first_real > cuts[0]),
        "first_on_second": accuracy(first_on_second <= cuts[0]),
        "second_real": accuracy(second_real > cuts[1]),
        "second_on_first": accuracy(second_on_first <= cuts[1]),
    }
    r_test = ratio(shares["first_real"], shares["second_real"])
    r_samples = ratio(shares["first_on_second"], shares["second_on_first"])
    interval = ratio_interval(shares["first_on_second"], shares["second_on_first"])
    missing = sum(int(probabilities.isnan().sum()) for probabilities in given.values())
    verdict, reason = judge(r_samples, interval, r_test, tolerance, missing)
    return Battle(
        r_samples=r_samples,
        r_samples_interval=interval,
        r_test=r_test,
        r_test_interval=ratio_interval(shares["first_real"], shares["second_real"]),
        **shares,
        thresholds=cuts,
        tolerance=tolerance,
        verdict=verdict,
        reason=reason,
    )


def judge(
    r_samples: float, interval: tuple[float, float], r_test: float, tolerance: float, missing: int
) -> tuple[str, str]:
    """Return the verdict of the paper's two conditions, and a sentence that says why."""
    low, high = interval
    if missing:
        return "no verdict", f"{missing} probabilities are NaN"
    if math.isnan(r_test) or math.isnan(r_samples):
        return "no verdict", "neither discriminator is ever right, so a ratio is 0 / 0"
    if r_test == 0 or max(r_test, 1 / r_test) - 1 > tolerance:
        return "no verdict", f"r_test is {r_test:.3f}, and it or its inverse exceeds {1 + tolerance:g}"
    if low > 1:
        return (
            "first wins",
            f"r_samples is above 1 (95 % interval {low:.3f} to {high:.3f}) and r_test near 1",
        )
    if high < 1:
        return (
            "second wins",
            f"r_samples is below 1 (95 % interval {low:.3f} to {high:.3f}) and r_test near 1",
        )
    return "tie", f"the 95 % interval of r_samples, {low:.3f} to {high:.3f}, holds 1"


def balanced_threshold(real: Tensor, fake: Tensor) -> float:
    """Return the cut at which a discriminator errs as often on real images as on generated ones.

    To calibrate a discriminator on training images and its own generator's images: at the optimum of the
    margin loss its output where both are equally likely is 0.633, so a cut at 0.5 leans to "real".

    Parameters
    ----------
    real, fake : Tensor of shape (N,), (M,)
        Its probabilities for either kind.

    Returns
    -------
    float : the middle of the two values between which the error rates differ least; NaN if a probability
    is NaN.
    """
    check_probabilities("real", real)
    check_probabilities("fake", fake)
    if real.isnan().any() or fake.isnan().any():
        return math.nan
    values = torch.unique(torch.cat([real, fake]).double())  # sorted
    missed = torch.searchsorted(real.double().sort().values, values, right=True) / len(real)
    fooled = 1 - torch.searchsorted(fake.double().sort().values, values, right=True) / len(fake)
    best = int((missed - fooled).abs().argmin())  # a cut at values[best] rejects all up to and with it
    low, high = float(values[best]), float(values[min(best + 1, len(values) - 1)])
    middle = float(torch.tensor((low + high) / 2, dtype=real.dtype))  # as the comparison will round it
    return middle if low <= middle < high else low


def check_probabilities(name: str, probabilities: Tensor) -> None:
    """Raise ValueError unless the tensor holds one probability or NaN for each of 1 or more images."""
    if probabilities.dim() != 1 or len(probabilities) == 0:
        raise ValueError(
            f"The {name!r} parameter must have shape (N,) with N at least 1. "
            f"Got {tuple(probabilities.shape)} instead."
        )
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise ValueError(
            f"The {name!r} parameter must hold probabilities from 0 to 1; logits need a sigmoid first."
        )


def accuracy(right: Tensor) -> Share:
    """Return the share of right answers."""
    return share(int(right.sum()), len(right))


def ratio(numerator: Share, denominator: Share) -> float:
    """Return the ratio of two shares: infinite over zero, NaN for 0 / 0."""
    if denominator.value == 0:
        return math.nan if numerator.value == 0 else math.inf
    return numerator.value / denominator.value
