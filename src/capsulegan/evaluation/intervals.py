"""95 % intervals of shares and of ratios of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959963984540054
"""Standard normal quantile of 0.975."""


@dataclass(frozen=True)
class Share:
    """A share of n trials with its Wilson 95 % interval (Wilson 1927)."""

    value: float
    n: int
    low: float
    high: float


def share(successes: int, n: int) -> Share:
    """Return successes / n with its interval.

    Raises
    ------
    ValueError
        If not 0 <= successes <= n with n at least 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    # At the ends the two terms are equal; rounding must not leave the share outside its own interval.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Share(p, n, low, high)


def ratio_interval(numerator: Share, denominator: Share) -> tuple[float, float]:
    """Return a 95 % interval for the ratio of two independent shares (MOVER-R, Donner and Zou 2012).

    Built from the two Wilson intervals, so it holds for shares of 0 and 1 too; the upper limit is
    infinite where the denominator may be zero.
    """
    p, l1, u1 = numerator.value, numerator.low, numerator.high
    q, l2, u2 = denominator.value, denominator.low, denominator.high
    low, high = 0.0, math.inf
    if l1 > 0:  # the published formula, multiplied out so that it has no pole at u2 = 2 q
        above = l1 * (2 * p - l1)
        low = above / (p * q + math.sqrt(max((p * q) ** 2 - above * u2 * (2 * q - u2), 0.0)))
    if l2 > 0:
        below = l2 * (2 * q - l2)
        high = (p * q + math.sqrt(max((p * q) ** 2 - u1 * (2 * p - u1) * below, 0.0))) / below
    return low, high
