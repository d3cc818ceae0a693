import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch

from capsulegan.data.images import make_image_data
from capsulegan.errors import UserError
from capsulegan.evaluation import scores
from capsulegan.evaluation.scores import (
    class_entropy,
    class_shares,
    frechet_distance,
    judge_error,
    judge_images,
    kernel_distance,
    opinion,
    reference_opinion,
)
from capsulegan.networks import CapsNet
from capsulegan.published import judge_of, load
from capsulegan.tensors import write_tensors
from capsulegan.training.configuration import Config
from capsulegan.training.run import DataFacts, write_description


def features(count, dimension=6, shift=0.0):
    return shift + torch.randn(count, dimension) @ torch.randn(dimension, dimension)


def frechet_by_definition(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    means = a.mean(axis=0) - b.mean(axis=0)
    return float(means @ means + np.trace(first + second - 2 * root))


@pytest.mark.parametrize(("n", "m", "shift"), [(200, 200, 0.0), (300, 150, 0.5), (50, 400, 3.0)])
def test_the_frechet_distance_equals_its_definition(n, m, shift):
    real, generated = features(n), features(m, shift=shift)
    assert frechet_distance(real, generated) == pytest.approx(
        frechet_by_definition(real, generated), rel=1e-6
    )


def test_the_frechet_distance_of_a_shift_is_its_square():
    real = features(300)
    assert frechet_distance(real, real + 2) == pytest.approx(6 * 4, rel=1e-5)


def test_the_frechet_distance_of_a_set_to_itself_is_zero():
    real = features(300)
    assert frechet_distance(real, real.flip(0)) == pytest.approx(0, abs=1e-6)


def kernel_by_definition(a, b):
    """The unbiased squared maximum mean discrepancy under (x.y / F + 1)^3, by loops over all pairs."""

    def k(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def within(points):
        n = len(points)
        return sum(k(points[i], points[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    a, b = a.double().numpy(), b.double().numpy()
    return within(a) + within(b) - 2 * sum(k(x, y) for x in a for y in b) / (len(a) * len(b))


def test_the_kernel_distance_equals_its_definition_on_the_full_sets():
    real, generated = features(40) / 3, features(40, shift=1.0) / 3
    distance, deviation = kernel_distance(real, generated, seed=0)
    assert distance == pytest.approx(kernel_by_definition(real, generated), rel=1e-4)
    assert deviation == pytest.approx(0, abs=1e-5)


def test_the_kernel_distance_draws_from_its_seed_alone():
    real, generated = features(120), features(40, shift=0.3)
    before = torch.get_rng_state()
    first, again, other = (kernel_distance(real, generated, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again
    assert first != other
    assert first[1] > 0


def test_the_entropy_of_uniform_classes_is_ln_10_and_of_one_class_zero():
    assert class_entropy(torch.full((10,), 0.1)) == pytest.approx(math.log(10), abs=1e-6)
    assert class_entropy(torch.eye(10)[3]) == 0
    assert class_entropy(torch.tensor([0.5, 0.5, 0.0])) == pytest.approx(math.log(2), abs=1e-12)


def test_shares_count_classes_that_nobody_is_in():
    assert class_shares(torch.tensor([0, 2, 2, 2]), 4).tolist() == [0.25, 0, 0.75, 0]


# ---- a judge

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def data():
    return make_image_data("made", PIXELS, np.arange(30) % 3, ("a", "b", "c"))


@pytest.fixture
def judge(tmp_path, data):
    classifier = CapsNet(8, classes=3).eval()
    write_tensors(tmp_path / "classifier.safetensors", classifier.state_dict(), {})
    return SimpleNamespace(
        classifier=classifier, folder=tmp_path, data=data, config=SimpleNamespace(model="capsnet", seed=4)
    )


def test_an_opinion_does_not_depend_on_how_many_images_are_judged_at_once(judge, monkeypatch):
    whole = opinion(judge.classifier, PIXELS)
    assert whole.confidences.shape == (30, 3)
    assert whole.features.shape == (30, 48)
    assert torch.equal(whole.classes, whole.confidences.argmax(dim=1))
    monkeypatch.setattr(scores, "JUDGED_AT_ONCE", 7)
    torch.testing.assert_close(opinion(judge.classifier, PIXELS).features, whole.features, rtol=0, atol=1e-5)


def test_the_real_images_themselves_are_at_no_distance(judge, data):
    reference = reference_opinion(judge, data, 30)
    rows = judge_images(PIXELS, judge, reference, "real", seed=4)
    values = {row["figure"]: row["value"] for row in rows}
    shape = {"precision", "recall", "density", "coverage"}
    distances = {"frechet_distance", "kernel_distance"}
    assert set(values) == {"class_entropy", "recognised_share"} | distances | shape
    assert values["precision"] == values["recall"] == values["coverage"] == 1
    assert values["frechet_distance"] == pytest.approx(0, abs=1e-5)
    confident = (reference.confidences.amax(dim=1) >= 0.9).double().mean()
    assert values["recognised_share"] == pytest.approx(float(confident), abs=1e-12)
    for row in rows:
        assert (row["table"], row["model"], row["n"], row["seed"]) == ("evaluation", "real", 30, 4)
        assert row["settings"]["features"].startswith("capsnet class capsules, sha256 ")


def test_the_judge_s_own_error_is_that_on_the_test_images(judge, data):
    row = judge_error(judge, data)
    wrong = opinion(judge.classifier, PIXELS).classes.numpy() != np.arange(30) % 3
    assert (row["value"], row["n"]) == (pytest.approx(wrong.mean(), abs=1e-12), 30)


def test_a_judge_of_other_data_is_refused(judge):
    other = make_image_data("other", 255 - PIXELS)
    with pytest.raises(UserError, match="judges other data than other"):
        reference_opinion(judge, other, 30)


@pytest.mark.parametrize(
    ("data", "beside", "found"),
    [
        ("cifar10", ("capsnet", "resnet"), "resnet"),
        ("cifar10", ("capsnet",), "capsnet"),
        ("digits", ("capsnet", "resnet"), "capsnet"),
        ("digits", (), None),
    ],
)
def test_the_judge_beside_a_run_is_the_one_for_its_data(data, beside, found, tmp_path):
    facts = DataFacts("a digest of no published judge", 8, 1, ("0", "1"))
    for model in ("gan", *beside):
        write_description(tmp_path / f"{model}-s0", Config(model, data), facts, {})
    run = load(tmp_path / "gan-s0")
    if found:
        assert judge_of(run).config.model == found
    else:
        with pytest.raises(
            UserError, match="`capsulegan train capsnet --data digits` trains one for --judge"
        ):
            judge_of(run)
