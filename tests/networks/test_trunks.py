"""What lies between an image and its primary capsules."""

import pytest
import torch
from torch import nn

from capsulegan.capsules.convolution import Convolution
from capsulegan.networks import CapsNet, CapsuleDiscriminator
from capsulegan.networks.trunks import PRESETS, primary_capsules

NORMED = [(preset, batch_norm) for preset in PRESETS for batch_norm in (False, True)]


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("preset", ["small", "deep"])
@pytest.mark.parametrize("size", range(8, 129, 4))
def test_maps_are_halved_until_they_have_16_pixels_or_fewer_and_no_further(size, preset):
    trunk, _ = primary_capsules(size, 1, preset)
    rows, columns = trunk(torch.zeros(2, 1, size, size)).shape[2:]
    assert rows == columns
    assert rows == size if size <= 16 else 8 < rows <= 16


@pytest.mark.parametrize(("preset", "batch_norm"), NORMED)
def test_every_convolution_below_the_capsules_has_its_batch_norm_where_there_is_any(preset, batch_norm):
    trunk, primary = primary_capsules(64, 3, preset, batch_norm)
    kinds = [type(module) for module in trunk]
    block = [Convolution, nn.BatchNorm2d, nn.ReLU] if norms(trunk) else [Convolution, nn.ReLU]
    assert kinds == block * (len(kinds) // len(block))
    assert bool(norms(trunk)) == (batch_norm or preset == "deep")
    assert norms(primary) == []


@pytest.mark.parametrize(("preset", "batch_norm"), NORMED)
def test_primary_capsules_are_free_to_be_short_or_long(preset, batch_norm):
    """Batch norm before the squash would undo the scale of the primary filters."""
    trunk, primary = primary_capsules(8, 1, preset, batch_norm)
    below = trunk(torch.rand(4, 1, 8, 8) * 2 - 1)
    longest = {}
    for scale in (0.01, 1, 100):
        primary.convolution.weight.data *= scale
        longest[scale] = primary(below).norm(dim=2).max()
        primary.convolution.weight.data /= scale
    assert longest[0.01] < 0.01 < longest[1] < 0.99 < longest[100]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(CapsNet, {}), (CapsuleDiscriminator, {"preset": "deep"}), (CapsuleDiscriminator, {"batch_norm": True})],
)
def test_a_new_network_has_seen_nothing_and_is_in_training(kind, settings):
    network = kind(8, **settings)
    assert norms(network)
    assert all(module.training for module in network.modules())
    for norm in norms(network):
        assert norm.num_batches_tracked == 0
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()
