"""Which images an exam labels, holds out and tests, and the rows that it leaves."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from capsulegan.data.digits import load_digits
from capsulegan.data.images import make_image_data
from capsulegan.errors import UserError
from capsulegan.evaluation import SpreadingSettings, classification
from capsulegan.evaluation.classification import (
    View,
    class_balanced_order,
    classify_controls,
    classify_generated,
    nearest_labelled,
    prepare_exam,
)
from capsulegan.evaluation.intervals import share

UNBALANCED = np.repeat([0, 1, 2], [40, 25, 10])


@pytest.fixture(scope="module")
def digits():
    train, test = load_digits("train"), load_digits("test")
    few = dataclasses.replace(test, images=test.images[:120], labels=test.labels[:120])
    return train, few


def exam_of(digits, labels=(20, 100), seed=0, choose=False, settings=None):
    return prepare_exam(*digits, labels, seed, settings or SpreadingSettings(), choose)


# ---- the order


def test_the_order_is_a_permutation():
    assert sorted(class_balanced_order(UNBALANCED, 0)) == list(range(75))


def test_every_prefix_is_balanced_over_the_classes_that_have_images_left():
    labels = UNBALANCED[class_balanced_order(UNBALANCED, 3)]
    for n in range(1, 76):
        counts = np.bincount(labels[:n], minlength=3)
        left = [k for k, size in enumerate((40, 25, 10)) if counts[k] < size]
        assert counts[left].size == 0 or counts[left].max() - counts[left].min() <= 1
        assert all(counts[k] <= counts.max() for k in range(3))
    assert (np.bincount(labels[:30]) == 10).all()


def test_the_order_depends_on_the_seed_alone():
    first, again, other = (class_balanced_order(UNBALANCED, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    before = torch.get_rng_state()
    class_balanced_order(UNBALANCED, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_that_leave_gaps_are_balanced_too():
    labels = np.array([7, 7, 7, 2, 2, 2])
    assert sorted(labels[class_balanced_order(labels, 0)][:2]) == [2, 7]


# ---- what is labelled and what is held out


def test_what_is_held_out_is_never_labelled(digits):
    exam = exam_of(digits, (100, 1000), choose=True)
    assert len(exam.held_out) == len(digits[0].images) // 6
    assert not set(exam.held_out) & set(exam.order[: max(exam.labels)])


def test_what_is_held_out_is_mixed_like_all_images_and_not_what_the_classes_leave_over():
    labels = np.repeat([0, 1, 2], [1200, 600, 200])
    train = make_image_data("unbalanced", np.zeros((2000, 8, 8, 1), np.uint8), labels, ("a", "b", "c"))
    exam = prepare_exam(train, train, (30,), 0, SpreadingSettings(), True)
    shares = np.bincount(labels[exam.held_out], minlength=3) / len(exam.held_out)
    assert np.abs(shares - (0.6, 0.3, 0.1)).max() < 0.06
    assert set(exam.unlabelled(10)) | set(exam.held_out) | set(exam.order[:10]) == set(range(2000))
    assert not set(exam.unlabelled(10)) & set(exam.held_out)


def test_nothing_is_held_out_unless_settings_are_chosen(digits):
    assert len(exam_of(digits, choose=False).held_out) == 0


def test_the_numbers_of_the_paper_that_the_data_has_are_the_default(digits):
    assert exam_of(digits, None).labels == (100, 1000)
    assert exam_of(digits, (100, 20, 100)).labels == (20, 100)


@pytest.mark.parametrize(
    ("labels", "choose"), [((9,), False), ((1438,), False), ((100, 1300), True), ((0,), False)]
)
def test_too_few_and_too_many_labels_are_refused_in_one_line(digits, labels, choose):
    with pytest.raises(UserError, match=r"labels must be between 10 \(one a class\) and") as caught:
        exam_of(digits, labels, choose=choose)
    assert str(max(labels)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bare", [0, 1])
def test_data_without_labels_is_refused(digits, bare):
    given = list(digits)
    given[bare] = make_image_data("bare", digits[bare].images)
    with pytest.raises(UserError, match="must have labels"):
        exam_of(given)


# ---- rows


def test_the_nearest_labelled_image_is_scikit_learn_s_one_neighbour(digits):
    exam = exam_of(digits)
    for row, n in zip(nearest_labelled(exam), (20, 100), strict=True):
        known, wanted = exam.order[:n], digits[1].labels
        model = KNeighborsClassifier(1).fit(digits[0].images[known].reshape(n, -1), digits[0].labels[known])
        wrong = int((model.predict(digits[1].images.reshape(len(wanted), -1)) != wanted).sum())
        expected = share(wrong, len(wanted))
        assert (row["value"], row["n"]) == (expected.value, expected.n)
        assert (row["settings"]["low"], row["settings"]["high"]) == (expected.low, expected.high)
        assert (row["settings"]["labels"], row["settings"]["unlabelled"]) == (n, 0)


def halves(images):
    """The upper halves of images, dark ones bright: features that are no pixels."""
    return torch.tensor(255 - images[:, :4].astype(np.float32)).flatten(1)


def test_the_features_of_an_image_are_made_once(digits):
    asked = []
    view = View("upper halves", lambda images: asked.append(len(images)) or halves(images))
    for chosen in ([5, 3, 5], [3, 4], [4, 5]):
        found = view.of_some(digits[0], np.array(chosen))
        assert torch.equal(found, halves(digits[0].images[chosen]))
    assert torch.equal(view.of_some(digits[1], np.array([3])), halves(digits[1].images[[3]]))
    assert asked == [2, 1, 1]


def test_a_view_decides_what_is_compared_and_is_recorded(digits):
    train, test = digits
    exam = prepare_exam(train, test, (50,), 0, SpreadingSettings(), True, View("upper halves", halves))
    upper = [dataclasses.replace(each, images=255 - each.images[:, :4]) for each in digits]
    run, cropped = FakeRun(train.images), FakeRun(upper[0].images)
    found = [*nearest_labelled(exam), *classify_generated(exam, run, 150), *classify_controls(exam, 200)]
    assert {row["settings"]["features"] for row in found} == {"upper halves"}
    bare = exam_of(upper, (50,), choose=True)
    same_scale = dataclasses.replace(
        bare, view=View("bytes", lambda images: torch.tensor(images).flatten(1).float())
    )
    wanted = [*nearest_labelled(bare), *classify_generated(same_scale, cropped, 150)]
    assert [row["value"] for row in found[:3]] == [row["value"] for row in wanted]
    assert "features" not in nearest_labelled(exam_of(digits, (50,)))[0]["settings"]


@pytest.mark.parametrize("choose", [False, True])
@pytest.mark.parametrize("wanted", [300, 5000])
def test_real_unlabelled_images_are_neither_labelled_nor_held_out(digits, choose, wanted, monkeypatch):
    given = {}
    monkeypatch.setattr(
        classification, "spread", lambda exam, model, images: given.update({model: images}) or []
    )
    exam = exam_of(digits, choose=choose)
    classify_controls(exam, wanted)
    for n in exam.labels:
        images = given["real"](n)
        assert len(images) == min(wanted, len(exam.order) - n - len(exam.held_out))
        found = {image.tobytes() for image in images}
        taken = np.concatenate([exam.order[:n], exam.held_out])
        assert len(found & {image.tobytes() for image in exam.train.images[taken]}) <= 1  # two are alike
        assert found <= {image.tobytes() for image in exam.train.images}


def test_controls_leave_one_row_for_each_number_of_labels(digits):
    rows = classify_controls(exam_of(digits), unlabelled=200)
    assert [(row["model"], row["settings"]["labels"]) for row in rows] == [
        (model, n) for model in ("labelled-only", "noise", "real") for n in (20, 100)
    ]
    values = {(row["model"], row["settings"]["labels"]): row["value"] for row in rows}
    assert values["real", 20] < values["noise", 20]
    assert all(row["data_digest"] == digits[1].digest for row in rows)


class FakeRun:
    """Draws the images that it is given."""

    def __init__(self, images):
        self.images, self.config, self.asked = images, SimpleNamespace(model="gan", seed=5), []

    def sample(self, count, seed=0):
        self.asked.append((count, seed))
        return self.images[:count]


def test_a_run_s_images_are_the_unlabelled_ones(digits):
    run = FakeRun(digits[0].images)
    rows = classify_generated(exam_of(digits, seed=3), run, unlabelled=150)
    assert run.asked == [(150, 3)]
    assert [(row["model"], row["settings"]["unlabelled"]) for row in rows] == [("gan", 150)] * 2
    settings = rows[0]["settings"]
    assert (settings["kernel"], settings["neighbours"], settings["chosen"]) == ("knn", 7, False)
    assert settings["low"] <= rows[0]["value"] <= settings["high"]


def test_choosing_is_recorded_and_is_not_moved_by_the_test_labels(digits):
    run = FakeRun(digits[0].images)
    wrong = dataclasses.replace(digits[1], labels=(digits[1].labels + 1) % 10)
    rows, moved = (
        classify_generated(exam_of((digits[0], test), (50,), choose=True), run, unlabelled=150)
        for test in (digits[1], wrong)
    )
    plain = classify_generated(exam_of(digits, (50,)), run, unlabelled=150)
    assert [row["settings"]["chosen"] for row in rows] == [False, True]
    assert rows[0]["value"] == plain[0]["value"]
    assert moved[1]["value"] > rows[1]["value"]
    kept = ("kernel", "neighbours", "alpha")
    assert [rows[1]["settings"][name] for name in kept] == [moved[1]["settings"][name] for name in kept]


def test_one_training_image_at_least_stays_unlabelled():
    train, test = load_digits("train"), load_digits("test")
    with pytest.raises(UserError, match=r"and 1436 images, got \[1437\]"):
        prepare_exam(train, test, (len(train.images),), 0, SpreadingSettings(), False)
