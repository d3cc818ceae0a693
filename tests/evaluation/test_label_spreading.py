import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.semi_supervised import LabelSpreading

from capsulegan.errors import UserError
from capsulegan.evaluation import SpreadingSettings, label_spreading_error
from capsulegan.evaluation.label_spreading import Spreader, flat_pixels
from capsulegan.evaluation.settings import CANDIDATES, REACH, described

UNLABELLED = 400


@pytest.fixture(scope="module")
def digits():
    """Images with a little noise, so that no two distances are equal, and their classes, shuffled."""
    random = np.random.default_rng(0)
    bundled = load_digits()
    order = random.permutation(len(bundled.target))
    noise = random.uniform(0, 0.02, bundled.images.shape)
    return ((bundled.images / 16 + noise)[order]).astype(np.float32), bundled.target[order]


def parts(digits, labelled, unlabelled=UNLABELLED, test=300):
    """(generated, labelled, labels, test, test labels), as `label_spreading_error` takes them."""
    images, classes = digits
    known, queries = slice(unlabelled, unlabelled + labelled), slice(-test, None)
    return images[:unlabelled], images[known], classes[known], images[queries], classes[queries]


def error_by_scikit_learn(generated, labelled, labels, test, test_labels, **settings):
    points = np.concatenate([generated, labelled]).reshape(-1, generated[0].size).astype(np.float64)
    known = np.concatenate([np.full(len(generated), -1), labels])
    model = LabelSpreading(**settings).fit(points, known)
    return float((model.predict(test.reshape(len(test), -1).astype(np.float64)) != test_labels).mean())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("labelled", [40, 100, 400])
@pytest.mark.parametrize(("neighbours", "alpha"), [(7, 0.2), (7, 0.8), (15, 0.2), (50, 0.5)])
def test_the_knn_error_is_that_of_scikit_learn(digits, labelled, neighbours, alpha):
    given = parts(digits, labelled)
    found = label_spreading_error(*given, neighbours=neighbours, alpha=alpha)
    if found.undecided:
        pytest.fail(
            "choose sizes at which every image is reached: scikit-learn's answer is arbitrary elsewhere"
        )
    expected = error_by_scikit_learn(*given, kernel="knn", n_neighbors=neighbours, alpha=alpha)
    assert found.error.value == pytest.approx(expected, abs=1e-12)
    assert (found.labelled, found.unlabelled, found.error.n) == (labelled, UNLABELLED, 300)
    assert found.dropped_weight == 0
    assert 0 < expected < 0.7


@pytest.mark.parametrize(("labelled", "unlabelled"), [(20, 30), (40, 5)])
@pytest.mark.parametrize("gamma", [0.03, 0.3, 3.0])
def test_the_radial_error_is_scikit_learn_s_where_all_points_are_neighbours(
    digits, labelled, unlabelled, gamma
):
    given = parts(digits, labelled, unlabelled)
    found = label_spreading_error(*given, kernel="rbf", neighbours=50, gamma=gamma)
    assert found.error.value == pytest.approx(
        error_by_scikit_learn(*given, kernel="rbf", gamma=gamma, alpha=0.2), abs=1e-12
    )
    assert found.dropped_weight == 0


def test_the_radial_error_is_scikit_learn_s_where_almost_nothing_is_cut_off(digits):
    given = parts(digits, 100)
    found = label_spreading_error(*given, kernel="rbf", neighbours=50, gamma=8.0)
    assert 0 < found.dropped_weight < 1e-3
    assert found.error.value == pytest.approx(
        error_by_scikit_learn(*given, kernel="rbf", gamma=8.0, alpha=0.2), abs=1e-12
    )


def cut_off(weights, count):
    """The `count` largest weights of each row, all others zero."""
    kept = np.argsort(-weights, axis=1)[:, :count]
    return np.where((kept[:, :, None] == np.arange(weights.shape[1])).any(axis=1), weights, 0)


@pytest.mark.parametrize("neighbours", [5, 7])
@pytest.mark.parametrize("alpha", [0.2, 0.9])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_cut_off_radial_kernel_joins_two_points_if_either_is_among_the_other_s_nearest(
    digits, neighbours, alpha
):
    given = parts(digits, 40)
    points = len(given[0]) + len(given[1])

    def kernel(first, second):
        weights = cut_off(rbf_kernel(second, first, gamma=0.3), neighbours)
        return np.maximum(weights, weights.T) if len(second) == points else weights.T

    assert len(given[3]) != points
    found = label_spreading_error(*given, kernel="rbf", neighbours=neighbours, gamma=0.3, alpha=alpha)
    assert found.undecided == 0
    assert found.error.value == pytest.approx(
        error_by_scikit_learn(*given, kernel=kernel, alpha=alpha), abs=1e-12
    )


def local_weights(rows, columns, points, gamma):
    """The kernel of Zelnik-Manor and Perona, Eq. 2: rows and columns are some of the points, or none."""

    def scales(images):
        own = np.sqrt(euclidean_distances(images, points, squared=True))
        own[own < 1e-3] = np.inf  # itself
        return np.sort(own, axis=1)[:, 6]

    squares = euclidean_distances(rows, columns, squared=True)
    return np.exp(-gamma * squares / (scales(rows)[:, None] * scales(columns)))


@pytest.mark.parametrize("neighbours", [5, 7, 50])
@pytest.mark.parametrize("gamma", [1.0, 3.0])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_local_kernel_measures_distances_by_those_to_the_seventh_nearest(digits, neighbours, gamma):
    given = parts(digits, 40)
    points = np.concatenate(given[:2]).reshape(-1, 64).astype(np.float64)

    def kernel(first, second):
        near = cut_off(np.exp(-euclidean_distances(second, first, squared=True)), neighbours) > 0
        weights = np.where(near, local_weights(second, first, points, gamma), 0)
        return np.maximum(weights, weights.T) if len(second) == len(points) else weights.T

    found = label_spreading_error(*given, kernel="local", neighbours=neighbours, gamma=gamma, alpha=0.9)
    assert found.undecided == found.dropped_weight == 0
    assert found.error.value == pytest.approx(
        error_by_scikit_learn(*given, kernel=kernel, alpha=0.9), abs=1e-12
    )


def test_the_local_kernel_does_not_see_how_bright_images_are(digits):
    """Distances beside distances: images at half their brightness give the same answers."""
    bright, labelled, labels, test, test_labels = parts(digits, 40)
    dim = label_spreading_error(
        bright / 2, labelled / 2, labels, test / 2, test_labels, kernel="local", gamma=1
    )
    as_they_are = label_spreading_error(bright, labelled, labels, test, test_labels, kernel="local", gamma=1)
    assert dim.error == as_they_are.error


def test_equal_images_are_no_trouble_for_the_local_kernel():
    """Their scale is 0: they are joined to each other fully and to nothing else."""
    black, white = torch.zeros(10, 4), torch.ones(10, 4)
    two = torch.stack([black[0], white[0]])
    found = label_spreading_error(torch.cat([black, white]), two, [0, 1], two, [0, 1], kernel="local")
    assert (found.error.value, found.undecided) == (0, 0)


@pytest.mark.parametrize("gamma", [0.05, 0.5, 2.0, 8.0])
@pytest.mark.parametrize("neighbours", [1, 7, 50])
def test_the_dropped_weight_bounds_the_share_that_is_left_out(digits, gamma, neighbours):
    given = parts(digits, 100)
    points = np.concatenate(given[:2]).reshape(-1, 64)
    nearest_first = -np.sort(-rbf_kernel(points.astype(np.float64), gamma=gamma), axis=1)
    truth = (nearest_first[:, neighbours:].sum(axis=1) / nearest_first.sum(axis=1)).mean()
    found = label_spreading_error(*given, kernel="rbf", neighbours=neighbours, gamma=gamma)
    assert truth - 1e-6 <= found.dropped_weight <= 1


def test_labels_reach_nobody_where_the_kernel_vanishes(digits):
    generated, labelled, labels, test, test_labels = parts(digits, 20)
    found = label_spreading_error(
        generated, labelled, labels, test, test_labels, kernel="rbf", neighbours=50, gamma=1e6
    )
    assert found.undecided == found.error.n == 300
    assert found.error.value == 1


def test_an_undecided_image_counts_as_wrong_whatever_its_class():
    """Two clusters, labels in one of them alone: the other's images cannot be told."""
    near, far = torch.rand(10, 4) / 10, 0.9 + torch.rand(10, 4) / 10
    found = label_spreading_error(
        torch.cat([near, far]), near[:2] + 0.01, [0, 1], torch.cat([near, far]), [0] * 20, neighbours=3
    )
    assert found.undecided == 10
    assert found.error.value >= 0.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_labels_that_leave_gaps_keep_their_names(digits):
    images, labels = digits
    two = np.isin(labels, (3, 8))
    images, labels = images[two], labels[two]
    found = label_spreading_error(images[:100], images[100:140], labels[100:140], images[140:], labels[140:])
    assert found.error.value < 0.2


def test_bytes_and_floats_of_the_same_images_give_the_same_error(digits):
    bytes_of = (255 * digits[0].clip(0, 1)).round().astype(np.uint8)
    floats = bytes_of.astype(np.float32) / 255
    first = label_spreading_error(*parts((bytes_of, digits[1]), 50), kernel="rbf", gamma=0.5)
    second = label_spreading_error(*parts((floats, digits[1]), 50), kernel="rbf", gamma=0.5)
    assert first == second


def test_arrays_tensors_and_any_image_shape_are_taken(digits):
    given = parts(digits, 30)
    images = [torch.from_numpy(part.copy()) if part.ndim == 3 else torch.from_numpy(part) for part in given]
    reshaped = [part.reshape(len(part), 1, 4, 16) if part.dim() == 3 else part for part in images]
    assert label_spreading_error(*reshaped) == label_spreading_error(*given)


def test_the_settings_are_recorded(digits):
    found = label_spreading_error(*parts(digits, 30), kernel="rbf", neighbours=9, gamma=0.7, alpha=0.4)
    assert found.settings == SpreadingSettings("rbf", 9, 0.7, 0.4)


# ---- Spreader


def test_a_spreader_serves_any_number_of_labelled_sets(digits):
    images, labels = digits
    spreader = Spreader(images[:300], images[-200:])
    for count in (10, 60, 200):
        known = slice(300, 300 + count)
        found = spreader.error(images[known], labels[known], labels[-200:], SpreadingSettings())
        alone = label_spreading_error(
            images[:300], images[known], labels[known], images[-200:], labels[-200:]
        )
        assert found == alone


def test_a_slice_of_the_queries_is_answered_as_if_it_were_alone(digits):
    images, labels = digits
    spreader = Spreader(images[:300], images[-200:])
    known = (images[300:350], labels[300:350])
    for part, rows in [(slice(0, 80), slice(-200, -120)), (slice(80, None), slice(-120, None))]:
        found = spreader.error(*known, labels[rows], SpreadingSettings(), part)
        assert found == Spreader(images[:300], images[rows]).error(*known, labels[rows], SpreadingSettings())


def test_settings_are_chosen_by_the_least_error_on_the_validation_images(digits):
    images, labels = digits
    spreader = Spreader(images[:300], images[-400:])
    known, validation = (images[300:340], labels[300:340]), labels[-400:-250]
    candidates = [*CANDIDATES, SpreadingSettings("rbf", 50, gamma=1e5)]
    chosen = spreader.choose(*known, validation, slice(0, 150), candidates)
    errors = {
        each: spreader.error(*known, validation, each, slice(0, 150)).error.value for each in candidates
    }
    assert len(set(errors.values())) > 3
    assert errors[chosen] == min(errors.values())
    worst = max(candidates, key=errors.get)
    assert spreader.choose(*known, validation, slice(0, 150), [worst, chosen]) == chosen


def test_choosing_never_sees_the_test_images(digits):
    images, labels = digits
    validation, known = slice(0, 150), (images[300:340], labels[300:340])
    other_tests = [images[-100:], np.zeros_like(images[-100:]), np.ones_like(images[-100:])]
    spreaders = [Spreader(images[:300], np.concatenate([images[400:550], test])) for test in other_tests]
    assert len({spreader.choose(*known, labels[400:550], validation) for spreader in spreaders}) == 1


# ---- settings and errors


def test_the_candidates_are_valid_and_differ():
    assert len(set(CANDIDATES)) == len(CANDIDATES) == 13
    assert {each.kernel for each in CANDIDATES} == {"knn", "rbf", "local"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": "poly"}, "unknown kernel 'poly': the known ones are knn, rbf, local"),
        ({"neighbours": 0}, f"neighbours must be between 1 and {REACH}, got 0"),
        ({"neighbours": REACH + 1}, f"got {REACH + 1}"),
        ({"gamma": 0.0}, "gamma must be above 0 and finite, got 0.0"),
        ({"gamma": float("nan")}, "gamma must be above 0 and finite, got nan"),
        ({"alpha": 0.0}, "alpha must be between 0 and 1, got 0.0"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1, got 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(digits, wrong, message):
    with pytest.raises(UserError, match=message):
        SpreadingSettings(**wrong)
    with pytest.raises(UserError, match=message):
        label_spreading_error(*parts(digits, 20), **wrong)


def test_the_knn_kernel_is_described_without_gamma():
    assert "gamma" not in described(SpreadingSettings())
    assert described(SpreadingSettings("rbf")) == dataclasses.asdict(SpreadingSettings("rbf"))


IMAGES, CLASSES = np.random.default_rng(0).random((6, 4, 4), dtype=np.float32), np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("position", [0, 1, 3])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((6, 5, 5), np.float32), "images must have one size, got"),
        (np.full((6, 4, 4), np.nan, np.float32), "images must be finite"),
        (np.full((6, 4, 4), np.inf, np.float32), "images must be finite"),
        (np.zeros((0, 4, 4), np.float32), r"with N at least 1, got \(0, 4, 4\)"),
        (np.zeros(16, np.float32), r"images must have shape \(N, ...\).*got \(16,\)"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(position, wrong, message):
    given = [IMAGES, IMAGES, CLASSES, IMAGES, CLASSES]
    given[position] = wrong
    with pytest.raises(UserError, match=message) as caught:
        label_spreading_error(*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("position", "count"), [(2, 5), (2, 7), (4, 5), (4, 7)])
def test_labels_must_be_one_for_each_image(position, count):
    given = [IMAGES, IMAGES, CLASSES, IMAGES, CLASSES]
    given[position] = np.zeros(count, np.int64)
    with pytest.raises(UserError, match=rf"labels must be one for each image, 6 .* shape \({count},\)"):
        label_spreading_error(*given)


@pytest.mark.parametrize(
    "wrong",
    [
        np.full(6, -1),
        np.linspace(0, 1, 6),
        np.zeros((6, 2), int),
        np.full(6, np.nan),
        np.array(["a"] * 6),
    ],
    ids=["negative", "floats", "2-D", "NaN", "text"],
)
@pytest.mark.parametrize("position", [2, 4])
def test_labels_that_are_no_classes_are_refused(wrong, position):
    given = [IMAGES, IMAGES, CLASSES, IMAGES, CLASSES]
    given[position] = wrong
    with pytest.raises(UserError, match="labels must be one for each image"):
        label_spreading_error(*given)


def test_read_only_images_are_taken_without_a_warning():
    images = IMAGES.copy()
    images.flags.writeable = False
    assert torch.equal(flat_pixels(images), torch.from_numpy(IMAGES).flatten(1))


def test_pixels_are_scaled_by_their_type():
    assert flat_pixels(np.array([[[0, 255]]], np.uint8)).tolist() == [[0, 1]]
    assert flat_pixels(np.array([[[0.0, 0.25]]])).tolist() == [[0, 0.25]]


def test_a_missing_convergence_is_not_reported_as_a_warning(digits):
    # 30 sweeps at a share of 0.99 are too few, which scikit-learn warns of: the error is what it is.
    given = parts(digits, 20)
    with pytest.warns(ConvergenceWarning):
        error_by_scikit_learn(*given, kernel="knn", n_neighbors=7, alpha=0.99)
    label_spreading_error(*given, alpha=0.99)


def test_every_point_gets_the_label_that_scikit_learn_gives_it(digits):
    images, labels = digits
    unlabelled, known, test = images[:900], images[900:1100], images[1100:1500]
    model = LabelSpreading(kernel="knn", n_neighbors=7)
    flat = [each.reshape(len(each), -1) / 255 for each in (unlabelled, known, test)]
    model.fit(np.concatenate(flat[:2]), np.concatenate([np.full(900, -1), labels[900:1100]]))
    answers, transduced = Spreader(unlabelled, test, reach=7).answers(
        known, labels[900:1100], SpreadingSettings("knn", 7)
    )
    assert (answers == model.predict(flat[2])).mean() >= 0.995
    assert (transduced == model.transduction_).mean() >= 0.995


def test_no_more_neighbours_are_looked_for_than_are_used(digits):
    images, labels = digits
    given = images[400:600], labels[400:600], labels[600:800]
    errors = [
        Spreader(images[:400], images[600:800], reach=reach).error(*given, SpreadingSettings("knn", 7))
        for reach in (7, 50)
    ]
    assert errors[0] == errors[1]
