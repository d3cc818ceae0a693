import dataclasses

import pytest

from capsulegan.errors import UserError
from capsulegan.study.configuration import StudyConfig
from capsulegan.training.configuration import CHANGEABLE, Config


def test_json_round_trip_keeps_every_setting():
    config = Config("gan", "digits", 3, images=640, image_size=28, on_collapse="stop")
    assert Config.from_json(config.to_json(), "here") == config


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("seed", -1, "seed must be between 0"),
        ("batch_size", 1, "batch_size must be between 2"),
        ("images", 2.5, "images must be of type int, got 2.5"),
        ("images", True, "images must be of type int, got True"),
        ("beta1", 1.0, "beta1 must be between 0.0"),
        ("beta2", float("nan"), "beta2 must be between"),
        ("generator_learning_rate", 0.0, "generator_learning_rate must be between"),
        ("image_size", 30, "image_size must be a multiple of 4 from 8 to 128 pixels, got 30"),
        ("image_size", 132, "image_size must be a multiple of 4 from 8 to 128 pixels, got 132"),
        ("preset", "smal", "unknown preset 'smal': did you mean 'small'?"),
        ("model", "capsulgan", "did you mean 'capsulegan'?"),
        ("precision", "16", "unknown precision '16'"),
    ],
)
def test_a_value_out_of_range_is_named(name, value, complaint):
    with pytest.raises(UserError, match=complaint.replace("?", r"\?")) as caught:
        Config(**{"model": "gan", "data": "digits", name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        [],
        None,
        "gan",
        {},
        {"model": "gan"},
        {"model": "gan", "data": "digits", "sede": 1},
        {"model": 3, "data": "x"},
    ],
)
def test_a_document_that_is_no_configuration_is_refused(document):
    with pytest.raises(UserError, match=r"run/config\.json"):
        Config.from_json(document, "run/config.json")


def test_only_changeable_settings_may_differ():
    config = Config("gan", "digits")
    changed = {
        "images": 1,
        "log_images": 1,
        "sample_images": 1,
        "checkpoint_minutes": 1.0,
        "device": "cpu",
        "threads": 1,
        "on_collapse": "stop",
    }
    assert set(changed) == CHANGEABLE
    assert config.differences(dataclasses.replace(config, **changed)) == []
    other = dataclasses.replace(config, seed=1, width=32)
    assert sorted(config.differences(other)) == ["seed: 0 -> 1", "width: 64 -> 32"]


def test_a_study_gives_its_settings_to_every_run():
    study = StudyConfig(data="digits", images=640, width=8, models=("gan", "gan-margin"), seeds=(4, 5))
    assert study.run("gan-margin", 5) == Config("gan-margin", "digits", 5, images=640, width=8)
    assert study.run("capsnet", 4).images == 640


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"models": ("gan", "gan")}, "models must be one or more, each once"),
        ({"models": ()}, "models must be one or more"),
        ({"models": ("capsnet",)}, "unknown model 'capsnet'"),
        ({"seeds": (-1,)}, "seed must be between"),
        ({"samples": 1}, "samples must be at least 6"),
        ({"kernel": "linear"}, "kernel must be knn or rbf"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1"),
        ({"gamma": float("nan")}, "gamma must be above 0"),
        ({"workers": -1}, "workers must be 0 or more"),
    ],
)
def test_a_study_refuses_settings_out_of_range(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        StudyConfig(data="digits", **settings)
