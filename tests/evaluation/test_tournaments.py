import copy
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from capsulegan.data.images import make_image_data
from capsulegan.errors import UserError
from capsulegan.evaluation import balanced_threshold, battle, generative_adversarial_metric
from capsulegan.evaluation.battle import probabilities, tournament
from capsulegan.networks import ConvDiscriminator

RANDOM = np.random.default_rng(0)


def data_of(count):
    return make_image_data("made", RANDOM.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8))


TRAIN, TEST = data_of(60), data_of(40)


class Brightness(nn.Module):
    """Takes bright images for real."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, images):
        return self.scale * images.mean(dim=(1, 2, 3))


def run_of(model, scale, seed=0, size=8):
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 250 - 40 * seed, (500, size, size, 1), dtype=np.uint8)
    return SimpleNamespace(
        discriminator=Brightness(scale),
        data=SimpleNamespace(image_size=size, channels=1),
        config=SimpleNamespace(model=model, seed=seed),
        folder=f"runs/{model}",
        sample=lambda count, seed: drawn[seed : seed + count],
    )


RUNS = [run_of("gan", 3.0, 0), run_of("capsulegan", 5.0, 1), run_of("gan-margin", -2.0, 2)]


def test_every_pair_fights_once_under_both_rules():
    rows = tournament(RUNS, TRAIN, TEST, samples=30)
    pairs = [f"{a.config.model}:{b.config.model}" for a, b in itertools.combinations(RUNS, 2)]
    assert list(dict.fromkeys(row["model"] for row in rows)) == pairs
    assert (
        len({(row["model"], row["settings"]["rule"], row["figure"]) for row in rows})
        == len(rows)
        == 3 * 2 * 6
    )
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("seed", [0, 9])
def test_the_figures_are_the_metric_of_the_discriminators_answers(seed):
    first, second = RUNS[:2]
    rows = tournament([first, second], TRAIN, TEST, samples=30, seed=seed)
    samples = {run.folder: run.sample(30, seed) for run in (first, second)}

    def says(run, images):
        return probabilities(run.discriminator, images)

    for rule in ("paper", "balanced"):
        cuts = (0.5, 0.5)
        if rule == "balanced":
            cuts = tuple(
                balanced_threshold(says(run, TRAIN.images[:30]), says(run, samples[run.folder]))
                for run in (first, second)
            )
        expected = generative_adversarial_metric(
            says(first, TEST.images),
            says(first, samples[second.folder]),
            says(second, TEST.images),
            says(second, samples[first.folder]),
            cuts,
        )
        found = {row["figure"]: row for row in rows if row["settings"]["rule"] == rule}
        assert found["r_samples"]["value"] == expected.r_samples
        assert found["r_test"]["value"] == expected.r_test
        for name in ("first_real", "second_real", "first_on_second", "second_on_first"):
            row, accuracy = found[f"{name}_accuracy"], getattr(expected, name)
            assert (row["value"], row["n"]) == (accuracy.value, accuracy.n)
            assert (row["settings"]["low"], row["settings"]["high"]) == (accuracy.low, accuracy.high)
        settings = found["r_samples"]["settings"]
        assert settings["thresholds"] == list(cuts)
        assert (settings["verdict"], settings["reason"]) == (expected.verdict, expected.reason)
        assert (settings["first"], settings["second"]) == ("gan", "capsulegan")


def test_probabilities_do_not_depend_on_how_many_images_are_judged_at_once(monkeypatch):
    discriminator = ConvDiscriminator(8, width=8).eval()
    whole = probabilities(discriminator, TEST.images)
    assert whole.shape == (40,)
    monkeypatch.setattr(battle, "JUDGED_AT_ONCE", 7)
    torch.testing.assert_close(probabilities(discriminator, TEST.images), whole, rtol=0, atol=1e-6)


def test_batch_statistics_are_used_without_touching_the_discriminator():
    discriminator = ConvDiscriminator(8, width=8).eval()
    before = copy.deepcopy(discriminator.state_dict())
    running, batch = (probabilities(discriminator, TEST.images, kind) for kind in ("running", "batch"))
    assert not torch.allclose(running, batch)
    assert not discriminator.training
    assert all(torch.equal(before[name], value) for name, value in discriminator.state_dict().items())


@pytest.mark.parametrize(
    ("runs", "settings", "message"),
    [
        (RUNS[:1], {}, "needs two runs or more, got 1"),
        (
            [RUNS[0], run_of("big", 1.0, size=12)],
            {},
            r"runs/big draws images of shape \(12, 12, 1\), the data has",
        ),
        (RUNS[:2], {"samples": 0}, "samples must be at least 1, got 0"),
    ],
)
def test_battles_that_cannot_be_fought_are_refused(runs, settings, message):
    with pytest.raises(UserError, match=message):
        tournament(runs, TRAIN, TEST, **settings)
