import math

import pytest
import torch

from capsulegan.evaluation import balanced_threshold, generative_adversarial_metric
from capsulegan.evaluation.intervals import share


def answers(right, n, real):
    """Probabilities of which `right` of `n` are on the right side of one half."""
    good, bad = (0.9, 0.2) if real else (0.2, 0.9)
    return torch.tensor([good] * right + [bad] * (n - right))


def battle(first_real, first_on_second, second_real, second_on_first, n=100, **settings):
    """A battle of four numbers of right answers."""
    return generative_adversarial_metric(
        answers(first_real, n, real=True),
        answers(first_on_second, n, real=False),
        answers(second_real, n, real=True),
        answers(second_on_first, n, real=False),
        **settings,
    )


def test_the_ratios_are_those_of_equations_4_and_5():
    outcome = battle(90, 40, 95, 50)
    assert outcome.r_test == pytest.approx(90 / 95, abs=1e-15)
    assert outcome.r_samples == pytest.approx(40 / 50, abs=1e-15)
    assert outcome.first_real == share(90, 100)
    assert outcome.first_on_second == share(40, 100)
    assert outcome.second_real == share(95, 100)
    assert outcome.second_on_first == share(50, 100)
    assert outcome.thresholds == (0.5, 0.5)


def test_the_paper_s_mnist_battle_is_won_by_the_second():
    outcome = battle(1000, 790, 1000, 1000, n=1000)
    assert (outcome.r_test, outcome.r_samples) == (1.0, 0.79)
    assert outcome.verdict == "second wins"


VERDICTS = [
    ((90, 90, 90, 50), "first wins", "above 1"),
    ((90, 50, 90, 90), "second wins", "below 1"),
    ((90, 70, 90, 70), "tie", "holds 1"),
    ((90, 71, 90, 70), "tie", "holds 1"),
    ((90, 90, 50, 50), "no verdict", "r_test is 1.800"),
    ((50, 90, 90, 50), "no verdict", "r_test is 0.556"),
    ((90, 0, 90, 0), "no verdict", "0 / 0"),
    ((0, 90, 0, 50), "no verdict", "0 / 0"),
    ((90, 90, 90, 0), "first wins", "above 1"),
    ((90, 0, 90, 90), "second wins", "below 1"),
    ((90, 90, 0, 50), "no verdict", "r_test is inf"),
]


@pytest.mark.parametrize(("right", "verdict", "reason"), VERDICTS)
def test_verdicts_and_their_reasons(right, verdict, reason):
    outcome = battle(*right)
    assert outcome.verdict == verdict
    assert reason in outcome.reason


def test_a_ratio_over_zero_is_infinite_and_zero_over_zero_is_nan():
    assert battle(90, 90, 90, 0).r_samples == math.inf
    assert battle(90, 0, 90, 90).r_samples == 0
    assert math.isnan(battle(90, 0, 90, 0).r_samples)
    assert battle(90, 50, 0, 50).r_test == math.inf
    assert math.isnan(battle(0, 50, 0, 50).r_test)


def test_a_few_images_decide_nothing():
    assert battle(2, 2, 2, 1, n=2).verdict == "tie"
    assert battle(1, 1, 1, 0, n=1).verdict == "tie"


def test_the_tolerance_of_r_test_can_be_set():
    assert battle(85, 90, 70, 50).verdict == "no verdict"
    assert battle(85, 90, 70, 50, tolerance=0.3).verdict == "first wins"


MIRRORED = {"first wins": "second wins", "second wins": "first wins"}


@pytest.mark.parametrize("right", [(90, 90, 90, 50), (90, 50, 91, 90), (90, 70, 89, 70), (90, 90, 50, 50)])
def test_swapping_the_models_inverts_the_ratios_and_mirrors_the_verdict(right):
    a, b, c, d = right
    outcome, swapped = battle(a, b, c, d), battle(c, d, a, b)
    assert swapped.r_samples == pytest.approx(1 / outcome.r_samples, rel=1e-12)
    assert swapped.r_test == pytest.approx(1 / outcome.r_test, rel=1e-12)
    low, high = outcome.r_samples_interval
    assert swapped.r_samples_interval == pytest.approx((1 / high, 1 / low), rel=1e-9)
    low, high = outcome.r_test_interval
    assert swapped.r_test_interval == pytest.approx((1 / high, 1 / low), rel=1e-9)
    assert swapped.verdict == MIRRORED.get(outcome.verdict, outcome.verdict)


def test_an_image_at_the_threshold_is_taken_for_generated():
    half = torch.full((4,), 0.5)
    outcome = generative_adversarial_metric(half, half, half, half)
    assert outcome.first_real.value == outcome.second_real.value == 0
    assert outcome.first_on_second.value == outcome.second_on_first.value == 1


def test_a_pair_of_thresholds_holds_one_for_each_discriminator():
    p = torch.tensor([0.3, 0.5, 0.7, 0.9])
    outcome = generative_adversarial_metric(p, p, p, p, threshold=(0.4, 0.8))
    assert outcome.thresholds == (0.4, 0.8)
    assert (outcome.first_real.value, outcome.first_on_second.value) == (0.75, 0.25)
    assert (outcome.second_real.value, outcome.second_on_first.value) == (0.25, 0.75)


@pytest.mark.parametrize("position", range(4))
def test_nan_counts_as_wrong_and_withholds_the_verdict(position):
    given = [answers(90, 100, real) for real in (True, False, True, False)]
    given[position][0] = math.nan
    outcome = generative_adversarial_metric(*given)
    shares = (outcome.first_real, outcome.first_on_second, outcome.second_real, outcome.second_on_first)
    assert [each.value for each in shares] == [0.89 if i == position else 0.9 for i in range(4)]
    assert outcome.verdict == "no verdict"
    assert outcome.reason == "1 probabilities are NaN"


@pytest.mark.parametrize("name", ["first_real", "first_on_second", "second_real", "second_on_first"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.tensor([-2.0, 3.0]), "logits need a sigmoid"),
        (torch.tensor([0.5, math.inf]), "logits need a sigmoid"),
        (torch.empty(0), r"Got \(0,\)"),
        (torch.rand(2, 1), r"Got \(2, 1\)"),
        (torch.tensor(0.5), r"Got \(\)"),
    ],
)
def test_what_is_no_list_of_probabilities_is_refused_by_name(name, wrong, message):
    given = dict.fromkeys(("first_real", "first_on_second", "second_real", "second_on_first"), torch.rand(3))
    with pytest.raises(ValueError, match=f"'{name}'.*{message}"):
        generative_adversarial_metric(**{**given, name: wrong})


# ---- the balanced threshold


def beta(a, b, count):
    return torch.distributions.Beta(a, b).sample((count,)).double()


SAMPLES = [
    ((4, 2), (2, 4), 500, 500),
    ((9, 1), (1, 3), 400, 400),
    ((2, 2), (2, 2), 301, 301),
    ((5, 1), (4, 1), 50, 50),
]


@pytest.mark.parametrize(("of_real", "of_fake", "n", "m"), SAMPLES)
def test_both_errors_are_equal_at_the_balanced_threshold(of_real, of_fake, n, m):
    real, fake = beta(*of_real, n), beta(*of_fake, m)
    cut = balanced_threshold(real, fake)
    missed, fooled = (real <= cut).double().mean(), (fake > cut).double().mean()
    assert abs(missed - fooled) <= 1 / min(n, m) + 1e-12


def test_a_balanced_threshold_follows_monotone_maps():
    real, fake = beta(3, 2, 200), beta(2, 3, 150)
    accepted = real > balanced_threshold(real, fake)
    for mapped in (torch.square, torch.sqrt, lambda p: p / 3, lambda p: (3 * p.logit() + 1).sigmoid()):
        assert torch.equal(mapped(real) > balanced_threshold(mapped(real), mapped(fake)), accepted)


def test_the_balanced_threshold_of_two_equal_sets_is_their_median():
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert balanced_threshold(p, p) == pytest.approx(0.5, abs=0.011)


def test_a_margin_loss_discriminator_at_its_optimum_is_not_cut_at_one_half():
    p = 0.633 + 0.05 * torch.randn(1000, dtype=torch.float64)
    assert balanced_threshold(p[:500], p[500:]) == pytest.approx(0.633, abs=0.01)


@pytest.mark.parametrize(("name", "position"), [("real", 0), ("fake", 1)])
def test_the_balanced_threshold_refuses_logits_and_empty_sets(name, position):
    for wrong in (torch.tensor([1.5]), torch.empty(0), torch.rand(2, 2)):
        given = [torch.rand(3), torch.rand(3)]
        given[position] = wrong
        with pytest.raises(ValueError, match=f"'{name}'"):
            balanced_threshold(*given)


@pytest.mark.parametrize(("real", "fake"), [((0.8, 0.9), (0.1, 0.2)), ((0.6, 0.8), (0.2, 0.7))])
def test_equal_errors_are_found_where_they_exist(real, fake):
    real, fake = torch.tensor(real), torch.tensor(fake)
    cut = balanced_threshold(real, fake)
    assert (real <= cut).double().mean() == (fake > cut).double().mean()


@pytest.mark.parametrize("low", [0.25, 0.5, 0.7, 1 - 2**-23])
def test_a_cut_fits_between_adjacent_float32_values(low):
    below = torch.tensor(low)
    above = torch.nextafter(below, torch.tensor(2.0))
    real, fake = torch.stack([above, above]), torch.stack([below, below / 2])
    cut = balanced_threshold(real, fake)
    assert (real > cut).all()
    assert not (fake > cut).any()


def test_a_balanced_threshold_of_nan_is_nan():
    cut = balanced_threshold(torch.tensor([math.nan, 0.3]), torch.tensor([0.1, 0.2]))
    assert math.isnan(cut)
    outcome = battle(90, 40, 95, 50, threshold=(cut, 0.5))
    assert outcome.first_real.value == 0
    assert outcome.verdict == "no verdict"


def test_the_verdict_near_the_tolerance_does_not_depend_on_who_is_first():
    assert battle(94, 90, 85, 50).verdict == "no verdict"
    assert battle(85, 50, 94, 90).verdict == "no verdict"
