import dataclasses

import pytest

from capsulegan.training.build import ImageShape
from capsulegan.training.configuration import Config
from capsulegan.training.cost import step_flops

SHAPE = ImageShape(28, 1, 10)


def test_a_gan_step_costs_what_its_layers_do():
    """Passes: generator 1 forward, 2 of gradients; discriminator 3 forward, 5 of gradients, 2 left out."""
    first, second, last = 64 * 14 * 14 * 16, 128 * 7 * 7 * 16 * 64, 128 * 7 * 7
    generator = [100 * 128 * 49, 128 * 49 * 16 * 64, 64 * 14 * 14 * 16]
    discriminator = 8 * (first + second + last) - 2 * first
    latents_have_no_gradient = generator[0]
    expected = 2 * 64 * (discriminator + 3 * sum(generator) - latents_have_no_gradient)
    assert step_flops(Config("gan", "mnist"), SHAPE) == expected


@pytest.mark.parametrize("model", ["gan", "capsulegan", "capsnet", "resnet"])
def test_twice_the_batch_costs_twice(model):
    config = Config(model, "mnist", batch_size=32)
    once, twice = (step_flops(dataclasses.replace(config, batch_size=n), SHAPE) for n in (32, 64))
    assert twice == 2 * once


def test_the_loss_costs_nothing_and_the_preset_much():
    assert step_flops(Config("gan-margin", "mnist"), SHAPE) == step_flops(Config("gan", "mnist"), SHAPE)
    small, large = (step_flops(Config("capsulegan", "mnist", preset=p), SHAPE) for p in ("small", "capsnet"))
    assert large > 15 * small
