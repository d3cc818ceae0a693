"""Means over seeds, and how far they can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with Student's interval.

    Attributes
    ----------
    value : float
        The mean.
    half_width : float or None
        The interval is `value` plus or minus this. None for one seed, which has no interval.
    seeds : int
        The number of seeds.
    p_value : float or None
        Two-sided, of Student's t-test that the mean is 0. None where the seeds do not differ.
    """

    value: float
    half_width: float | None
    seeds: int
    p_value: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and 0 lies outside it."""
        return self.half_width is not None and abs(self.value) > self.half_width


def mean_of(values: Sequence[float], level: float = 0.95) -> Mean:
    """Return the mean of one value a seed: mean +- t(n - 1) * s / sqrt(n)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Mean(mean, None, len(values))
    from scipy.special import stdtr, stdtrit

    freedom, error = len(values) - 1, statistics.stdev(values) / math.sqrt(len(values))
    quantile = float(stdtrit(freedom, (1 + level) / 2))
    p_value = 2 * float(stdtr(freedom, -abs(mean) / error)) if error else None
    return Mean(mean, quantile * error, len(values), p_value)


def paired_difference(
    first: Mapping[Hashable, float], second: Mapping[Hashable, float], level: float = 0.95
) -> Mean | None:
    """Return the mean of `second - first` over their common seeds; None with fewer than two.

    A pair shares its seed, so what the seed does to both cancels.
    """
    differences = [second[seed] - first[seed] for seed in first if seed in second]
    return mean_of(differences, level) if len(differences) > 1 else None
