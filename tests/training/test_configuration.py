import dataclasses

import pytest

from capsulegan.errors import UserError
from capsulegan.study.configuration import StudyConfig
from capsulegan.training.configuration import CHANGEABLE, Config
from capsulegan.training.environment import resolved
from capsulegan.training.recipes import ADVERSARIAL, BEST_RECIPES


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
        ("preset", "depe", "unknown preset 'depe': did you mean 'deep'?"),
        ("r1_weight", -0.1, "r1_weight must be between 0.0"),
        ("r1_weight", float("nan"), "r1_weight must be between"),
        ("augmentation", "flip", "unknown augmentation 'flip'"),
        ("augmentation", "mirror,mirror", "augmentation must name each policy once"),
        ("augmentation", "", "unknown augmentation ''"),
        ("instance_noise", -0.1, "instance_noise must be between 0.0"),
        ("learning_rate_half_life", -1, "learning_rate_half_life must be between 0"),
        ("learning_rate_half_life", 1.5, "learning_rate_half_life must be of type int, got 1.5"),
        ("batch_norm", 1, "batch_norm must be of type bool, got 1"),
        ("spectral_norm", "yes", "spectral_norm must be of type bool, got 'yes'"),
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


def test_a_run_of_a_version_without_a_setting_is_as_it_was_without_it():
    document = resolved(Config("capsulegan-best", "digits")).to_json()
    earlier = {name: value for name, value in document.items() if name != "instance_noise"}
    assert Config.from_json(earlier, "run/config.json").instance_noise == 0.0
    assert Config.from_json(earlier, "run/config.json").r1_weight == 1.0


def test_only_changeable_settings_may_differ():
    config = Config("gan", "digits")
    changed = {
        "images": 1,
        "log_images": 1,
        "sample_images": 1,
        "snapshot_images": 1,
        "checkpoint_minutes": 1.0,
        "device": "cpu",
        "threads": 1,
        "deterministic": True,
        "on_collapse": "stop",
    }
    assert set(changed) == CHANGEABLE
    assert config.differences(dataclasses.replace(config, **changed)) == []
    other = dataclasses.replace(config, seed=1, width=32)
    assert sorted(config.differences(other)) == ["seed: 0 -> 1", "width: 64 -> 32"]


@pytest.mark.parametrize(
    "name",
    [
        "preset",
        "batch_norm",
        "spectral_norm",
        "r1_weight",
        "instance_noise",
        "augmentation",
        "learning_rate_half_life",
    ],
)
def test_what_changes_the_training_may_not_differ(name):
    other = {"preset": "deep", "batch_norm": True, "spectral_norm": True, "r1_weight": 1.0}
    other |= {"instance_noise": 0.1, "augmentation": "mirror"}
    changed = Config("gan", "digits", **{name: other.get(name, 1000)})
    assert [difference.split(":")[0] for difference in Config("gan", "digits").differences(changed)] == [name]


@pytest.mark.parametrize(
    ("model", "preset"), [("capsulegan", "small"), ("gan", "small"), ("capsnet", "deep")]
)
def test_the_preset_is_the_models_own_unless_it_is_given(model, preset):
    machine = {"device": "cpu", "precision": "32", "threads": 1}
    left_open = resolved(Config(model, "digits", **machine))
    assert left_open.preset == preset
    assert left_open == resolved(left_open) == resolved(Config(model, "digits", preset=preset, **machine))
    for given in ("small", "capsnet", "deep"):
        assert resolved(Config(model, "digits", preset=given, **machine)).preset == given


@pytest.mark.parametrize(
    ("data", "found_on"),
    [
        ("digits", "mnist"),
        ("mnist", "mnist"),
        ("stacked-mnist", "mnist"),
        ("cifar10", "cifar10"),
        ("a/folder", "cifar10"),
    ],
)
def test_a_model_ending_in_best_takes_the_best_recipe_but_for_what_is_given(data, found_on):
    machine = {"device": "cpu", "precision": "32", "threads": 1}
    for name in ADVERSARIAL:
        best = BEST_RECIPES[found_on][name.split("-")[0]]
        found = resolved(Config(f"{name}-best", data, **machine))
        assert found.recipe == best != resolved(Config(name, data, **machine)).recipe
        given = resolved(Config(f"{name}-best", data, r1_weight=0.25, beta1=0.25, **machine))
        assert (given.r1_weight, given.beta1) == (0.25, 0.25)
        spelt_out = Config(name, data, **dataclasses.asdict(best), **machine)
        assert dataclasses.replace(resolved(spelt_out), model=f"{name}-best") == found


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
        ({"kernel": "linear"}, "unknown kernel 'linear': the known ones are knn, rbf, local"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1"),
        ({"gamma": float("nan")}, "gamma must be above 0"),
        ({"workers": -1}, "workers must be 0 or more"),
    ],
)
def test_a_study_refuses_settings_out_of_range(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        StudyConfig(data="digits", **settings)
