import json

import numpy as np
import pytest
import torch

from capsulegan.data import load_data
from capsulegan.data.images import make_image_data
from capsulegan.training import loop
from capsulegan.training.batches import scaled
from capsulegan.training.configuration import Config
from capsulegan.training.diversity import Diversity
from capsulegan.training.loop import TrainingFailed, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", "train")


def entropy(shares):
    shares = np.asarray([share for share in shares if share])
    return float(-(shares * np.log(shares)).sum())


def test_real_digits_spread_over_all_classes(digits):
    measured = Diversity(digits, CPU)(scaled(digits.images[:1000]))
    assert 2.25 < measured["class_entropy"] <= np.log(10) + 1e-6
    torch.testing.assert_close(measured["image_deviation"], scaled(digits.images[:1000]).std(dim=0).mean())


def test_the_class_is_that_of_the_nearest_mean(digits):
    images, labels = digits.images.reshape(len(digits.images), -1) / 127.5 - 1, digits.labels
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    batch = images[:64]
    nearest = np.square(batch[:, None] - means).sum(axis=2).argmin(axis=1)
    expected = entropy(np.bincount(nearest) / 64)
    measured = Diversity(digits, CPU)(scaled(digits.images[:64]))["class_entropy"]
    assert float(measured) == pytest.approx(expected, abs=1e-5)


def test_one_class_or_one_image_has_no_entropy(digits):
    diversity = Diversity(digits, CPU)
    zeros = scaled(digits.images[digits.labels == 0][:64])
    assert diversity(zeros)["class_entropy"] < 0.2
    assert diversity(zeros[:1].expand(64, -1, -1, -1)) == {"image_deviation": 0.0, "class_entropy": 0.0}


def test_images_without_classes_have_a_deviation_alone(digits):
    for labels, classes in ((None, ()), (np.zeros(len(digits.images), int), ["all"])):
        diversity = Diversity(make_image_data("x", digits.images, labels, classes), CPU)
        assert diversity.names == ("image_deviation",)
        assert list(diversity(scaled(digits.images[:8]))) == ["image_deviation"]


def test_images_that_come_class_by_class_are_looked_at_from_all_classes(monkeypatch, digits):
    monkeypatch.setattr("capsulegan.training.diversity.MOST_IMAGES", 100)
    order = np.argsort(digits.labels, kind="stable")
    by_class = make_image_data("x", digits.images[order], digits.labels[order], digits.classes)
    measured = Diversity(by_class, CPU)(scaled(digits.images[:1000]))
    assert measured["class_entropy"] > 2.2


def test_a_generator_that_loses_its_classes_is_noticed(tmp_path, monkeypatch, digits):
    """The generator's digits are replaced, from one step on, by real zeros: ten classes become one."""
    zeros = scaled(digits.images[digits.labels == 0][:64])
    real = loop.build_trainee

    def losing(config, data, shape, fabric):
        trainee = real(config, data, shape, fabric)
        diversity, advance = Diversity(data, fabric.device), trainee.advance

        def advance_and_lose(step):
            shown = zeros if step >= 12 else scaled(data.images[step * 64 :][:64])
            return {**advance(step), **diversity(shown)}

        trainee.advance = advance_and_lose
        return trainee

    monkeypatch.setattr(loop, "build_trainee", losing)
    config = Config(
        "gan", "digits", images=64_000, width=4, log_images=64, on_collapse="stop", threads=1, precision="32"
    )
    with pytest.raises(TrainingFailed, match=f"classes lost after {64 * 22} images"):
        train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows if "event" in row] == ["classes lost"]
    assert rows[0]["class_entropy"] > 2 > 0.2 > rows[-1]["class_entropy"]
