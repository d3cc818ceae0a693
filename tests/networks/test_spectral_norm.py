"""Discriminators whose convolutions are divided by their largest singular value."""

import pytest
import torch
from torch import nn

from capsulegan.networks import CapsuleDiscriminator, ConvDiscriminator
from capsulegan.tensors import load_weights, parameter_count, write_tensors
from capsulegan.training.build import ImageShape, build_discriminator, spectrally_normalised
from capsulegan.training.configuration import Config

KINDS = [
    lambda: ConvDiscriminator(8, width=16),
    lambda: CapsuleDiscriminator(8),
    lambda: CapsuleDiscriminator(8, preset="deep"),
]


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def largest_singular_values(network):
    """Of the weights as they are used, each a matrix of (outputs, all that one output sees)."""
    network.eval()
    values = [torch.linalg.matrix_norm(each.weight.flatten(1), 2).item() for each in convolutions(network)]
    network.train()
    return values


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_singular_value_of_every_convolution_is_one_even_as_weights_change(kind):
    network = kind()
    plain = largest_singular_values(network)
    assert max(abs(value - 1) for value in plain) > 0.2
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    spectrally_normalised(network)
    for scale in (1, 5):
        for parameter in network.parameters():
            parameter.data = scale * parameter.data + 0.05 * torch.randn_like(parameter)
        for _ in range(40):
            network(images)
        found = largest_singular_values(network)
        assert len(found) == len(plain)
        assert found == pytest.approx([1] * len(plain), abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_in_evaluation_nothing_changes_with_use(kind):
    network = spectrally_normalised(kind()).eval()
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = network(images)
    assert torch.equal(network(images), first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("model", ["gan", "capsulegan"])
def test_a_network_without_memory_takes_the_weights_of_one_that_has_it(model, tmp_path):
    config, shape = Config(model, "digits", width=8, spectral_norm=True), ImageShape(8, 1, 10)
    network = build_discriminator(config, shape)
    images = torch.rand(4, 1, 8, 8) * 2 - 1
    network(images)
    write_tensors(tmp_path / "weights.safetensors", network.state_dict(), {})
    with torch.device("meta"):
        other = build_discriminator(config, shape)
    assert all(tensor.is_meta for tensor in other.state_dict().values())
    assert parameter_count(other) == parameter_count(network)
    load_weights(other, tmp_path / "weights.safetensors")
    assert all(torch.equal(other.state_dict()[name], one) for name, one in network.state_dict().items())
    torch.testing.assert_close(other.eval()(images), network.eval()(images))
