import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from capsulegan.evaluation.intervals import Z, ratio_interval, share


def test_the_quantile_is_that_of_95_percent():
    assert pytest.approx(norm.ppf(0.975), abs=1e-15) == Z


@pytest.mark.parametrize("n", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("part", [0, 0.03, 0.5, 0.9, 1])
def test_a_share_has_the_wilson_interval_of_scipy(n, part):
    successes = round(n * part)
    found = share(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.value, found.n) == (successes / n, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_no_and_all_successes_end_at_zero_and_one():
    assert share(0, 9).low == 0
    assert share(9, 9).high == 1


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0), (1, -1)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        share(successes, n)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_the_interval_of_a_ratio_holds_the_ratio(n):
    for above in range(n + 1):
        for below in range(1, n + 1):
            low, high = ratio_interval(share(above, n), share(below, n))
            assert 0 <= low <= above / below * (1 + 1e-12)
            assert above / below * (1 - 1e-12) <= high


@pytest.mark.parametrize("n", [1, 5, 40])
def test_the_interval_of_the_inverse_ratio_is_the_inverse_interval(n):
    for above in range(1, n + 1):
        for below in range(1, n + 1):
            low, high = ratio_interval(share(above, n), share(below, n))
            assert ratio_interval(share(below, n), share(above, n)) == pytest.approx(
                (1 / high, 1 / low), rel=1e-9
            )


def test_the_interval_of_a_ratio_equals_the_published_formula():
    # Donner and Zou (2012), away from its poles, for p / q with limits (l, u) of each.
    one, two = share(30, 80), share(55, 90)
    p, l1, u1, q, l2, u2 = one.value, one.low, one.high, two.value, two.low, two.high
    low = (p * q - math.sqrt((p * q) ** 2 - l1 * u2 * (2 * p - l1) * (2 * q - u2))) / (u2 * (2 * q - u2))
    high = (p * q + math.sqrt((p * q) ** 2 - u1 * l2 * (2 * p - u1) * (2 * q - l2))) / (l2 * (2 * q - l2))
    assert ratio_interval(one, two) == pytest.approx((low, high), rel=1e-12)


def test_ratios_of_none_and_of_all():
    none, some, every = share(0, 50), share(20, 50), share(50, 50)
    assert ratio_interval(none, none) == (0, math.inf)
    assert ratio_interval(some, none)[1] == math.inf
    assert ratio_interval(none, some)[0] == 0
    low, high = ratio_interval(every, every)
    assert 0.9 < low < 1 < high < 1.1


@pytest.mark.parametrize(
    ("p", "q", "n", "m"),
    [(0.5, 0.5, 100, 100), (0.9, 0.6, 200, 50), (0.05, 0.3, 80, 150), (0.97, 0.99, 300, 300)],
)
def test_the_interval_of_a_ratio_covers_the_truth_in_about_95_of_100_draws(p, q, n, m):
    random = np.random.default_rng(0)
    draws = 2000
    above, below = random.binomial(n, p, draws), random.binomial(m, q, draws)
    intervals = [
        ratio_interval(share(int(a), n), share(int(b), m)) for a, b in zip(above, below, strict=True)
    ]
    covered = np.mean([low <= p / q <= high for low, high in intervals])
    assert 0.92 <= covered <= 0.99


def test_more_trials_give_narrower_intervals():
    widths = [np.diff(ratio_interval(share(n // 2, n), share(n // 4, n)))[0] for n in (20, 200, 2000)]
    assert widths[0] > widths[1] > widths[2]
