"""Shares of an answer: they add up to it, and each is of the place that it says."""

import pytest
import torch

from capsulegan.networks import CapsuleDiscriminator, ConvDiscriminator, evidence_of
from capsulegan.training.build import spectrally_normalised

LINEAR = {
    "conv": lambda size, channels: ConvDiscriminator(size, channels, width=8),
    "small": CapsuleDiscriminator,
    "normed": lambda size, channels: CapsuleDiscriminator(size, channels, batch_norm=True),
    "deep": lambda size, channels: CapsuleDiscriminator(size, channels, preset="deep"),
    "spectral": lambda size, channels: spectrally_normalised(CapsuleDiscriminator(size, channels)),
}


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", LINEAR)
def test_the_shares_add_up_to_the_answer(kind, size, channels):
    network = LINEAR[kind](size, channels).double().eval()
    images = torch.rand(5, channels, size, size, dtype=torch.float64) * 2 - 1
    found = evidence_of(network, images)
    logits = found.total if kind == "conv" else (found.total.square() + 1e-12).log()
    torch.testing.assert_close(network(images).detach(), logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.shares.sum(dim=(1, 2)) + found.constant, found.total)


@pytest.mark.parametrize("kind", ["conv", "small"])
def test_a_share_is_of_its_place(kind):
    """What changes in the upper left corner of an image changes no share of the lower right."""
    network = LINEAR[kind](32, 1).eval()
    if kind == "small":
        with torch.no_grad():  # one component alone, or all shares would turn with the direction of s
            network.head.last.weight[..., 1:] = 0
    images = (torch.rand(1, 1, 32, 32) * 2 - 1).repeat(2, 1, 1, 1)
    images[1, :, :4, :4] *= -1
    plain, changed = evidence_of(network, images).shares
    moved, largest = (changed - plain).abs(), plain.abs().max()
    assert moved[0, 0] > 1e-2 * largest
    assert moved[-1, -1] < 1e-5 * largest
    assert plain[-1, -1].abs() > 1e-4 * largest


def test_a_share_of_a_capsule_is_the_length_that_it_adds():
    """By the definition: the part of W u along s, for each primary capsule, added over the kinds."""
    network = CapsuleDiscriminator(8, 1).eval()
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        capsules = network.primary(network.trunk(images))
        predictions = torch.einsum("bid,ide->bie", capsules, network.head.last.weight[:, :, 0])
        s = predictions.sum(dim=1)
        parts = (predictions * (s / s.norm(dim=1, keepdim=True))[:, None]).sum(dim=2)
    expected = sum(part.view(3, 4, 4) for part in parts.split(16, dim=1))
    torch.testing.assert_close(evidence_of(network, images).shares, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["hidden", "two", "attention"])
def test_a_head_that_is_not_linear_has_none(head):
    assert evidence_of(CapsuleDiscriminator(8, 1, head=head).eval(), torch.zeros(1, 1, 8, 8)) is None


def test_an_image_of_which_nothing_is_known_has_shares_of_nothing():
    network = CapsuleDiscriminator(8, 1).eval()
    with torch.no_grad():
        network.head.last.weight.zero_()
    found = evidence_of(network, torch.zeros(1, 1, 8, 8))
    assert found.shares.abs().max() == 0
    assert found.total.item() == 0
