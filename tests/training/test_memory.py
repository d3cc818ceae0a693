import dataclasses

import pytest

from capsulegan.errors import UserError
from capsulegan.tensors import parameter_count
from capsulegan.training.build import ImageShape, build_classifier, build_discriminator, build_generator
from capsulegan.training.configuration import Config
from capsulegan.training.loop import train
from capsulegan.training.memory import check_memory, least_bytes
from capsulegan.training.recipes import CLASSIFIERS

SHAPE = ImageShape(28, 1, 10)


@pytest.mark.parametrize("model", ["gan", "capsulegan", "capsnet", "resnet"])
def test_weights_count_four_times_and_outputs_once_an_image(model):
    small = Config(model, "mnist", batch_size=2)
    large = dataclasses.replace(small, batch_size=4)
    of_two, of_four = least_bytes(small, SHAPE), least_bytes(large, SHAPE)
    builders = [build_classifier] if model in CLASSIFIERS else [build_generator, build_discriminator]
    weights = sum(parameter_count(build(small, SHAPE)) for build in builders)
    assert 2 * of_two - of_four == 16 * weights


def test_the_outputs_of_a_known_network_are_counted():
    per_image = (
        (
            least_bytes(Config("gan", "mnist", batch_size=4), SHAPE)
            - least_bytes(Config("gan", "mnist", batch_size=2), SHAPE)
        )
        / 2
        / 4
    )
    generator = 128 * 49 + 64 * 14 * 14 + 28 * 28
    discriminator = 64 * 14 * 14 + 128 * 49 + 1
    assert per_image == generator + discriminator


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "gan", "width": 4096, "image_size": 128},
        {"model": "capsulegan", "batch_size": 2**16, "image_size": 128, "preset": "capsnet"},
        {"model": "capsnet", "batch_size": 2**16, "image_size": 128, "preset": "capsnet"},
    ],
)
def test_what_no_machine_holds_is_refused_before_anything_is_written(tmp_path, settings):
    config = Config(data="digits", **settings)
    with pytest.raises(UserError, match=r"needs at least [\d,.]+ GiB of memory, and"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("head", ["one", "hidden", "two", "attention"])
def test_every_head_is_counted(head):
    check_memory(Config("capsulegan", "mnist", head=head), SHAPE)
    assert least_bytes(Config("capsulegan", "mnist", head=head), SHAPE) > 2**20


def test_every_default_fits():
    for model in ("gan", "capsulegan", "capsnet"):
        for shape in (SHAPE, ImageShape(32, 3, 10), ImageShape(128, 3, 2)):
            check_memory(Config(model, "mnist", device="cpu"), shape)
