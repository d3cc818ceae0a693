"""Inception features: refused with one line without torch-fidelity, and as it computes them with it."""

import importlib.util

import numpy as np
import pytest
import torch

from capsulegan.errors import UserError
from capsulegan.evaluation.inception import WEIGHTS, inception_view, view_by
from capsulegan.evaluation.scores import evaluate_run
from capsulegan.files import sha256
from capsulegan.published import load

HERE = importlib.util.find_spec("torch_fidelity") is not None


@pytest.mark.skipif(HERE, reason="torch-fidelity is installed")
def test_without_torch_fidelity_it_is_said_what_to_install():
    with pytest.raises(UserError, match=r"need torch-fidelity .*; install capsulegan\[inception\]"):
        inception_view()


def test_the_weights_are_those_that_their_publisher_names():
    digest = WEIGHTS.known_hash.removeprefix("sha256:")
    assert len(digest) == 64
    assert WEIGHTS.name.removesuffix(".pth").endswith(digest[:8])
    assert all(url.endswith(WEIGHTS.name) for url in WEIGHTS.urls)


@pytest.fixture(scope="module")
def network():
    """The real network with weights of chance, for its own cannot be had everywhere."""
    if not HERE:
        pytest.skip("needs torch-fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            """Keep the weights of chance."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda path, **settings: {})
        torch.manual_seed(0)
        return Untrained("inception-v3-compat", ["2048"], "nowhere")


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def test_other_weights_are_refused_before_anything_is_unpickled(weights, tmp_path, monkeypatch):
    (tmp_path / WEIGHTS.name).write_bytes(weights.read_bytes())
    monkeypatch.setenv("CAPSULEGAN_DATA", str(tmp_path))
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="is not the file that was published"):
        inception_view()


def test_features_are_those_of_torch_fidelity(network, weights):
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    view = view_by(weights, "cpu")
    (expected,) = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    torch.testing.assert_close(view.of(images), expected)
    assert view.name == f"inception layer 2048, sha256 {sha256(weights)[:16]}"


def test_grey_images_are_red_green_and_blue_alike(weights):
    grey = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    view = view_by(weights, "cpu")
    torch.testing.assert_close(view.of(grey), view.of(np.repeat(grey, 3, axis=3)))


def test_a_run_is_scored_by_distances_alone(weights, data_folder):
    view = view_by(weights, "cpu")
    rows = evaluate_run(load("capsulegan-mnist"), view, samples=8)
    assert [row["figure"] for row in rows] == [
        "frechet_distance",
        "kernel_distance",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    assert all(row["settings"]["features"] == view.name for row in rows)
    assert all(row["n"] == row["settings"]["reference_images"] == 8 for row in rows)
