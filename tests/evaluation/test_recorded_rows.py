"""What each figure is recorded with, and edges of the figures that the other tests leave open."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from capsulegan.capsules import CapsuleLayer, PrimaryCapsules, dynamic_routing, squash
from capsulegan.capsules.functional import length_logits, routed_total_input
from capsulegan.data.digits import load_digits
from capsulegan.data.images import make_image_data
from capsulegan.errors import UserError
from capsulegan.evaluation import SpreadingSettings, balanced_threshold, classification
from capsulegan.evaluation import generative_adversarial_metric as metric
from capsulegan.evaluation.battle import probabilities, tournament
from capsulegan.evaluation.classification import classify_controls, classify_generated, prepare_exam
from capsulegan.evaluation.intervals import share
from capsulegan.evaluation.rows import result_row
from capsulegan.evaluation.scores import (
    CONFIDENCE,
    evaluate_run,
    judge_error,
    judge_images,
    kernel_distance,
    opinion,
    reference_opinion,
)
from capsulegan.networks import CapsNet, ConvDiscriminator
from capsulegan.tensors import write_tensors
from capsulegan.training.environment import version

KEYS = {"table", "figure", "model", "seed", "value", "n", "settings", "data_digest", "version", "seconds"}


def facts(row):
    """A row without its value and its settings, and with its time checked."""
    assert row.keys() == KEYS
    assert 0 <= row["seconds"] < 60
    assert row["version"] == version()
    return tuple(row[name] for name in ("table", "figure", "model", "seed", "n", "data_digest"))


# ---- rows


def test_a_row_holds_what_it_was_given():
    row = result_row("t", "f", "m", 3, 0.5, 7, {"a": 1}, "digest", 1.23456)
    assert facts(row) == ("t", "f", "m", 3, 7, "digest")
    assert (row["value"], row["settings"], row["seconds"]) == (0.5, {"a": 1}, 1.235)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_null_and_noted(value):
    row = result_row("t", "f", "m", 0, value, 1, {"a": 1}, "", 0.0)
    assert row["value"] is None
    assert row["settings"] == {"note": f"the value is {value}", "a": 1}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    torch.manual_seed(0)
    classifier = CapsNet(8).eval()
    write_tensors(folder / "classifier.safetensors", classifier.state_dict(), {})
    data = SimpleNamespace(digest=load_digits("train").digest, image_size=8, channels=1)
    config = SimpleNamespace(model="capsnet", seed=4, data="digits")
    return SimpleNamespace(classifier=classifier, data=data, config=config, folder=folder)


def test_the_judges_rows_say_how_they_were_measured(judge):
    train, test = load_digits("train"), load_digits("test")
    reference = reference_opinion(judge, train, 90)
    rows = judge_images(test.images[:80], judge, reference, "gan", 6)
    figures = ["class_entropy", "recognised_share", "frechet_distance", "kernel_distance"]
    figures += ["precision", "recall", "density", "coverage"]
    assert [facts(row) for row in rows] == [
        ("evaluation", figure, "gan", 6, 80, train.digest) for figure in figures
    ]
    features = rows[0]["settings"]["features"]
    assert features.startswith("capsnet class capsules, sha256 ")
    assert len(features.split()[-1]) == 16
    shares = rows[0]["settings"].pop("histogram")
    assert (len(shares), sum(shares)) == (10, pytest.approx(1))
    against = {"features": features, "reference_images": 90}
    spread = rows[3]["settings"].pop("spread")
    said = opinion(judge.classifier, test.images[:80])
    assert spread == kernel_distance(reference.features, said.features, 6)[1]
    assert [row["settings"] for row in rows] == [
        {"features": features},
        {"features": features, "confidence": CONFIDENCE},
        {**against, "estimator": "means and covariances"},
        {**against, "estimator": "cubic kernel, unbiased, 50 subsets"},
        *4 * [{**against, "estimator": "balls to the 5th nearest neighbour"}],
    ]


def test_the_judges_own_error_is_recorded_on_the_test_images(judge):
    test = load_digits("test")
    row = judge_error(judge, test)
    assert facts(row) == ("evaluation", "judge_error", "judge", 4, 360, judge.data.digest)
    assert list(row["settings"]) == ["features"]
    right = judge.classifier(
        torch.from_numpy(test.images.copy()).permute(0, 3, 1, 2) / 127.5 - 1
    ).lengths.argmax(1)
    assert row["value"] == pytest.approx(float((right.numpy() != test.labels).mean()))


def test_a_run_is_scored_by_what_it_draws(judge, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)
    asked = []

    def sample(count, seed):
        asked.append((count, seed))
        return drawn[:count]

    config = SimpleNamespace(model="gan", data="digits")
    run = SimpleNamespace(config=config, data=judge.data, folder=tmp_path, sample=sample)
    rows = evaluate_run(run, judge, 50, 3)
    assert asked == [(50, 3)]
    assert {facts(row)[2:5] for row in rows} == {("gan", 3, 50)}
    assert rows[2]["settings"]["reference_images"] == 50
    with pytest.raises(UserError, match="samples must be at least 6, got 1"):
        evaluate_run(run, judge, 1)
    assert evaluate_run(run, judge, 6)[0]["n"] == 6
    assert asked[-1] == (6, 0)


def run_of(model, seed, discriminator, drawn):
    return SimpleNamespace(
        discriminator=discriminator,
        data=SimpleNamespace(image_size=8, channels=1),
        config=SimpleNamespace(model=model, seed=seed),
        folder=f"runs/{model}",
        sample=lambda count, seed: drawn[seed : seed + count],
    )


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_a_battles_rows_say_how_it_was_fought(batch_norm):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (40, 8, 8, 1), np.uint8) for _ in range(4)]
    first, second = (ConvDiscriminator(8, width=4).eval() for _ in range(2))
    for module in (first, second):
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean += 0.3  # so that the two ways differ
    train, test = make_image_data("a", images[0]), make_image_data("a", images[1])
    runs = [run_of("gan", 5, first, images[2]), run_of("capsulegan", 6, second, images[3])]
    rows = tournament(runs, train, test, samples=30, seed=2, batch_norm=batch_norm, tolerance=0.3)

    def says(discriminator, given):
        return probabilities(discriminator, given, batch_norm)

    cuts = [
        balanced_threshold(says(d, train.images[:30]), says(d, run.sample(30, 2)))
        for d, run in zip((first, second), runs, strict=True)
    ]
    expected = metric(
        says(first, test.images),
        says(first, runs[1].sample(30, 2)),
        says(second, test.images),
        says(second, runs[0].sample(30, 2)),
        tuple(cuts),
        0.3,
    )
    assert {facts(row)[0] for row in rows} == {"battle"}
    assert {facts(row)[2:4] for row in rows} == {("gan:capsulegan", 5)}
    assert {row["data_digest"] for row in rows} == {test.digest}
    balanced = [row for row in rows if row["settings"]["rule"] == "balanced"]
    for row in balanced:
        settings = {
            name: row["settings"][name] for name in row["settings"] if name not in ("low", "high", "note")
        }
        assert settings == {
            "first": "gan",
            "second": "capsulegan",
            "first_seed": 5,
            "second_seed": 6,
            "rule": "balanced",
            "thresholds": cuts,
            "tolerance": 0.3,
            "batch_norm": batch_norm,
            "verdict": expected.verdict,
            "reason": expected.reason,
        }
    values = {row["figure"]: row["value"] for row in balanced}
    assert values["first_on_second_accuracy"] == expected.first_on_second.value
    assert values["second_on_first_accuracy"] == expected.second_on_first.value
    assert values["first_real_accuracy"] == expected.first_real.value


def test_one_sample_is_enough_for_a_battle_and_none_is_not():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10, 8, 8, 1), np.uint8)
    data = make_image_data("a", images)
    runs = [run_of(name, 0, ConvDiscriminator(8, width=4).eval(), images) for name in ("gan", "capsulegan")]
    assert {row["n"] for row in tournament(runs, data, data, samples=1)} == {1, 10}
    with pytest.raises(UserError, match="samples must be at least 1, got 0"):
        tournament(runs, data, data, samples=0)


# ---- classification


@pytest.fixture(scope="module")
def exam():
    return prepare_exam(load_digits("train"), load_digits("test"), (20, 50), 3, SpreadingSettings(), False)


def test_a_classifications_rows_say_how_it_was_done(exam):
    started = time.monotonic()
    drawn = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)
    run = SimpleNamespace(config=SimpleNamespace(model="gan"), sample=lambda count, seed: drawn[:count])
    rows = classify_generated(exam, run, 60)
    assert sum(row["seconds"] for row in rows) <= time.monotonic() - started + 0.01
    for row, labels in zip(rows, (20, 50), strict=True):
        assert facts(row) == ("classification", "label_spreading_error", "gan", 3, 360, exam.test.digest)
        low, high = row["settings"].pop("low"), row["settings"].pop("high")
        assert 0 <= low <= row["value"] <= high <= 1
        assert 0 <= row["settings"].pop("undecided") <= 360
        assert row["settings"] == {
            "labels": labels,
            "unlabelled": 60,
            "kernel": "knn",
            "neighbours": 7,
            "alpha": 0.2,
            "chosen": False,
            "dropped_weight": 0.0,
        }


def test_noise_is_uniform_over_all_levels_and_a_function_of_the_seed(exam, monkeypatch):
    given = {}

    def spread(exam, model, unlabelled_for):
        given[model] = unlabelled_for(20)
        return []

    monkeypatch.setattr(classification, "spread", spread)
    classify_controls(exam, 2000)
    noise = given["noise"]
    assert (noise.dtype, noise.shape) == (np.uint8, (2000, 8, 8, 1))
    assert (noise.min(), noise.max()) == (0, 255)
    assert abs(noise.mean() - 127.5) < 1
    classify_controls(exam, 2000)
    assert np.array_equal(given["noise"], noise)
    other = prepare_exam(exam.train, exam.test, (20,), 4, SpreadingSettings(), False)
    classify_controls(other, 2000)
    assert not np.array_equal(given["noise"], noise)


def test_neighbours_among_the_same_unlabelled_images_are_found_once(exam, monkeypatch):
    made = []

    class Counted(classification.Spreader):
        def __init__(self, *arguments):
            made.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(classification, "Spreader", Counted)
    images = exam.train.images[:60]
    asked = []
    classification.spread(exam, "same", lambda n: asked.append(n) or images)
    assert (len(made), asked) == (1, [20, 50])
    classification.spread(exam, "changing", lambda n: exam.train.images[n : n + 60])
    assert len(made) == 3


def test_as_few_labels_as_classes_and_all_images_but_one_are_enough():
    train, test = load_digits("train"), load_digits("test")
    most = len(train.images) - 1
    exam = prepare_exam(train, test, (10, most), 0, SpreadingSettings(), False)
    assert exam.labels == (10, most)
    for wrong in (9, most + 1):
        with pytest.raises(UserError, match="between 10"):
            prepare_exam(train, test, (wrong,), 0, SpreadingSettings(), False)
    orders = [prepare_exam(train, test, (10,), seed, SpreadingSettings(), False).order for seed in (0, 1)]
    assert not np.array_equal(*orders)


# ---- the metric


def test_a_clean_cut_lies_in_the_middle_of_the_gap():
    real = torch.tensor([0.75, 0.9], dtype=torch.float64)
    fake = torch.tensor([0.1, 0.25], dtype=torch.float64)
    assert balanced_threshold(real, fake) == 0.5


@pytest.mark.parametrize("seed", range(40))
def test_no_cut_balances_the_errors_better_even_among_equal_values(seed):
    random = torch.Generator().manual_seed(seed)
    real = torch.randint(0, 8, (5 + seed % 4,), generator=random).double() / 8
    fake = torch.randint(0, 8, (4 + seed % 3,), generator=random).double() / 8

    def gap(cut):
        return abs(float((real <= cut).double().mean() - (fake > cut).double().mean()))

    best = min(gap(float(value)) for value in torch.cat([real, fake]))
    assert gap(balanced_threshold(real, fake)) == pytest.approx(best, abs=1e-12)


def test_the_tolerance_is_recorded_and_named_in_the_reason():
    real, half = torch.full((100,), 0.9), torch.tensor([0.9, 0.1] * 50)
    outcome = metric(real, half, half, half, tolerance=0.25)
    assert outcome.tolerance == 0.25
    assert outcome.reason == "r_test is 2.000, and it or its inverse exceeds 1.25"
    never = torch.zeros(10)
    assert (
        metric(never, half, never, half).reason == "neither discriminator is ever right, so a ratio is 0 / 0"
    )


def test_a_share_of_all_has_an_interval_that_ends_at_one():
    assert all(share(n, n).high == 1.0 for n in range(1, 400))
    assert all(share(0, n).low == 0.0 for n in range(1, 400))


def test_the_kernel_distance_takes_sets_of_two_sizes_and_its_subsets_from_the_seed():
    small, large = torch.randn(12, 5), torch.randn(40, 5)
    first = kernel_distance(small, large, 0)
    assert first == kernel_distance(small, large, 0)
    assert first != kernel_distance(small, large, 1)
    assert kernel_distance(large, small, 0)[1] > 0


# ---- capsules


def test_three_iterations_are_routing_s_default():
    predictions = torch.randn(2, 5, 3, 4)
    assert torch.equal(routed_total_input(predictions), routed_total_input(predictions, 3))
    assert torch.equal(dynamic_routing(predictions), squash(routed_total_input(predictions, 3)))


def test_primary_capsules_are_those_of_sabour_by_default():
    layer = PrimaryCapsules(4)
    assert layer.convolution.weight.shape == (32 * 8, 4, 9, 9)
    assert (layer.convolution.stride, layer.convolution.padding) == ((2, 2), (0, 0))
    assert PrimaryCapsules(4, padding=3).convolution.padding == (3, 3)


def test_length_logits_take_the_last_axis_whatever_comes_before():
    s = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(length_logits(s).sigmoid(), squash(s).norm(dim=-1), rtol=0, atol=1e-6)


def test_a_sixth_of_the_training_images_is_held_out_to_choose_with():
    train, test = load_digits("train"), load_digits("test")  # 1,437 images
    exam = prepare_exam(train, test, (1437 - 239 - 1,), 0, SpreadingSettings(), True)
    assert len(exam.held_out) == 239
    with pytest.raises(UserError, match="between 10"):
        prepare_exam(train, test, (1437 - 239,), 0, SpreadingSettings(), True)


def test_a_layer_says_its_sizes_and_how_it_routes():
    assert "6 x 8-D -> 10 x 16-D, 2 iterations" in repr(CapsuleLayer(6, 8, 10, 16, iterations=2))
    assert "6 x 8-D -> 1 x 16-D, closed form" in repr(CapsuleLayer(6, 8, 1, 16))
