"""What every network promises, whatever its kind and size."""

import itertools

import pytest
import torch
from torch.nn.utils.parametrize import ParametrizationList

from capsulegan.capsules import lengths, squash
from capsulegan.networks import CapsNet, CapsuleDiscriminator, ConvDiscriminator, Generator, ResidualNetwork
from capsulegan.networks.trunks import PRESETS
from capsulegan.randomness import seeded
from capsulegan.tensors import load_weights, parameter_count, write_tensors
from capsulegan.training.build import (
    MODELS,
    ImageShape,
    build_classifier,
    build_discriminator,
    build_generator,
    spectrally_normalised,
)
from capsulegan.training.configuration import Config
from capsulegan.training.recipes import CLASSIFIERS

SIZES = (8, 12, 16, 20, 28, 32, 64, 128)
CHANNELS = (1, 3)


def conv(size, channels=1):
    return ConvDiscriminator(size, channels, width=64 if size <= 32 else 8)


def small(size, channels=1):
    return CapsuleDiscriminator(size, channels)


def deep(size, channels=1):
    return CapsuleDiscriminator(size, channels, preset="deep")


def normed(size, channels=1):
    return CapsuleDiscriminator(size, channels, batch_norm=True)


def capsnet_preset(size, channels=1):
    return CapsuleDiscriminator(size, channels, preset="capsnet")


def normed_capsnet_preset(size, channels=1):
    return CapsuleDiscriminator(size, channels, preset="capsnet", batch_norm=True)


def spectral(size, channels=1):
    return spectrally_normalised(small(size, channels))


def spectral_conv(size, channels=1):
    return spectrally_normalised(conv(size, channels))


def classifier(size, channels=1):
    return CapsNet(size, channels)


DISCRIMINATORS = [
    *(
        pytest.param(kind, size, channels)
        for kind in (conv, small, deep)
        for size in SIZES
        for channels in CHANNELS
    ),
    *(pytest.param(normed, size, channels) for size in (8, 28, 64) for channels in CHANNELS),
    *(pytest.param(capsnet_preset, size, channels) for size, channels in [(8, 3), (20, 1), (28, 1), (32, 3)]),
    pytest.param(normed_capsnet_preset, 20, 3),
    *(pytest.param(kind, 12, 3) for kind in (spectral, spectral_conv)),
]
SEEING = [*DISCRIMINATORS, *(pytest.param(classifier, size, 1) for size in (8, 12, 20, 28, 32, 64))]
ONE_OF_EACH = [conv, small, deep, normed, spectral, spectral_conv, classifier]


def images(count, size, channels=1):
    return torch.rand(count, channels, size, size) * 2 - 1


def outcome(network, batch):
    """The logits of a discriminator, the lengths of a classifier."""
    found = network(batch)
    return found if isinstance(found, torch.Tensor) else found.lengths


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_the_generator_draws_images_of_the_asked_shape_and_range(size, channels):
    generator = Generator(size, channels, latent_dim=10, width=64 if size <= 32 else 4)
    drawn = generator(5 * torch.randn(3, 10))
    assert drawn.shape == (3, channels, size, size)
    assert drawn.dtype == torch.float32
    assert drawn.abs().max() <= 1
    drawn.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_every_latent_component_moves_every_pixel_of_some_image(size):
    generator = Generator(size, latent_dim=5, width=4)
    latents = torch.randn(4, 5)
    still = generator(latents)
    for component in range(5):
        moved = latents.clone()
        moved[:, component] += 1
        assert ((generator(moved) - still).abs().amax(dim=(0, 1)) > 0).all()


@pytest.mark.parametrize(("kind", "size", "channels"), DISCRIMINATORS)
def test_a_discriminator_returns_one_finite_logit_an_image_and_finite_gradients(kind, size, channels):
    discriminator = kind(size, channels)
    logits = discriminator(images(3, size, channels))
    assert logits.shape == (3,)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in discriminator.parameters())


@pytest.mark.parametrize(("kind", "size", "channels"), SEEING)
def test_every_pixel_of_every_channel_is_seen(kind, size, channels):
    network = kind(size, channels).eval()
    batch = images(2, size, channels).requires_grad_()
    outcome(network, batch).sum().backward()
    unseen = (batch.grad.abs().amax(dim=0) == 0).nonzero().tolist()
    assert unseen == []


@pytest.mark.parametrize("kind", ONE_OF_EACH)
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_an_image_of_one_colour_gives_finite_outputs_and_gradients(kind, value):
    network = kind(8)
    batch = torch.full((2, 1, 8, 8), value, requires_grad=True)
    found = outcome(network, batch)
    found.sum().backward()
    assert found.isfinite().all()
    assert batch.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_in_evaluation_an_image_is_judged_apart_from_its_batch(kind):
    network = kind(12)
    outcome(network, images(7, 12))  # for batch norm to have statistics of its own
    network.eval()
    batch = images(5, 12)
    order = torch.tensor([3, 0, 4, 1, 2])
    together = outcome(network, batch)
    alone = torch.cat([outcome(network, image[None]) for image in batch])
    torch.testing.assert_close(outcome(network, batch[order]), together[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


def test_in_evaluation_an_image_is_drawn_apart_from_its_batch():
    generator = Generator(12, width=8).eval()
    latents = torch.randn(4, 100)
    alone = torch.cat([generator(latent[None]) for latent in latents])
    torch.testing.assert_close(alone, generator(latents), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [*ONE_OF_EACH, lambda size: Generator(size, width=8)])
def test_weights_survive_a_file(kind, tmp_path):
    first, second = kind(8), kind(8)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    write_tensors(tmp_path / "weights.safetensors", first.state_dict(), {})
    load_weights(second, tmp_path / "weights.safetensors")
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


@pytest.mark.parametrize("kind", [*ONE_OF_EACH, capsnet_preset, Generator])
def test_networks_hold_no_float64(kind):
    assert {tensor.dtype for tensor in kind(8).state_dict().values()} <= {torch.float32, torch.int64}


BAD_SHAPES = [(0, 1), (4, 1), (10, 1), (27, 1), (132, 1), (28, 2), (28, 0), (28, 4)]


@pytest.mark.parametrize(
    "kind", [Generator, ConvDiscriminator, CapsuleDiscriminator, CapsNet, ResidualNetwork]
)
@pytest.mark.parametrize(("size", "channels"), BAD_SHAPES)
def test_sizes_and_channels_that_no_network_takes_are_refused_in_one_line(kind, size, channels):
    wrong = (
        f"'image_size' parameter.*Got {size} instead"
        if size != 28
        else f"'channels' parameter.*Got {channels}"
    )
    with pytest.raises(ValueError, match=wrong) as caught:
        kind(size, channels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [CapsuleDiscriminator, CapsNet])
def test_an_unknown_preset_is_refused_with_the_known_ones(kind):
    with pytest.raises(
        ValueError, match=r"unknown preset 'smal'.*did you mean 'small'\?.*small, capsnet, deep"
    ) as caught:
        kind(8, preset="smal")
    assert "\n" not in str(caught.value)


# ---- the capsule discriminator


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sigmoid_of_the_logit_is_the_length_of_the_last_capsule(preset):
    discriminator = CapsuleDiscriminator(8, preset=preset)
    batch = images(6, 8)
    top = discriminator.head.last
    last = top(discriminator.primary(discriminator.trunk(batch)))
    assert last.shape == (6, 1, 16)
    found = discriminator(batch).sigmoid()
    torch.testing.assert_close(found, lengths(last).squeeze(1), rtol=0, atol=1e-6)
    total = top.total_input(discriminator.primary(discriminator.trunk(batch)))
    torch.testing.assert_close(found, squash(total).norm(dim=2).squeeze(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [small, deep, normed])
@pytest.mark.parametrize("size", SIZES)
def test_a_capsule_discriminator_starts_undecided(kind, size):
    black_and_white = images(4, size).sign()
    assert 0.1 < kind(size)(black_and_white).sigmoid().mean() < 0.9


# ---- the registry of models

SHAPE = ImageShape(size=8, channels=1, classes=10)


VARIANTS = [
    *((model, {}) for model in (*MODELS, *CLASSIFIERS)),
    ("capsulegan", {"preset": "deep"}),
    ("capsulegan", {"batch_norm": True}),
    ("capsulegan", {"spectral_norm": True}),
    ("gan", {"spectral_norm": True}),
]


def built(model, seed=0, **settings):
    config = Config(model=model, data="digits", seed=seed, width=8, **settings)
    if model in CLASSIFIERS:
        return {"classifier": build_classifier(config, SHAPE)}
    return {"generator": build_generator(config, SHAPE), "discriminator": build_discriminator(config, SHAPE)}


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


@pytest.mark.parametrize(("model", "settings"), VARIANTS)
def test_one_seed_builds_one_network(model, settings):
    first, again, other = (built(model, seed, **settings) for seed in (0, 0, 1))
    for name in first:
        assert same(first[name], again[name])
        assert not same(first[name], other[name])


def test_all_models_of_a_seed_start_from_the_same_generator():
    for first, second in itertools.combinations(MODELS, 2):
        assert same(built(first)["generator"], built(second)["generator"])


@pytest.mark.parametrize(("first", "second"), [("gan", "gan-margin"), ("capsulegan", "capsulegan-bce")])
def test_models_that_differ_in_the_objective_alone_share_their_discriminator(first, second):
    assert same(built(first)["discriminator"], built(second)["discriminator"])


@pytest.mark.parametrize(("model", "settings"), VARIANTS)
def test_building_leaves_the_global_random_state_alone(model, settings):
    before = torch.get_rng_state()
    built(model, **settings)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [*ONE_OF_EACH, lambda size: Generator(size, width=8)])
def test_two_builds_under_one_seed_are_equal(kind):
    with seeded(5, "weights"):
        first = kind(8)
    with seeded(5, "weights"):
        second = kind(8)
    with seeded(6, "weights"):
        third = kind(8)
    assert same(first, second)
    assert not same(first, third)


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_preset_of_the_configuration_reaches_the_network(preset):
    shape = ImageShape(size=8, channels=3, classes=10)
    discriminator = build_discriminator(Config("capsulegan", "digits", preset=preset), shape)
    wanted = CapsuleDiscriminator(8, 3, preset=preset or "small")
    assert parameter_count(discriminator) == parameter_count(wanted)
    classifier = build_classifier(Config("capsnet", "digits", preset=preset), shape)
    wanted = CapsNet(8, 3, preset=preset or "deep")
    assert parameter_count(classifier) == parameter_count(wanted)


def kinds_of(network, kind):
    return sum(isinstance(module, kind) for module in network.modules())


def test_batch_norm_and_spectral_norm_of_the_configuration_reach_the_discriminator():
    plain, normed, spectral = (
        built("capsulegan", **settings)["discriminator"]
        for settings in ({}, {"batch_norm": True}, {"spectral_norm": True})
    )
    assert [kinds_of(each, torch.nn.BatchNorm2d) for each in (plain, normed, spectral)] == [0, 1, 0]
    assert [kinds_of(each, ParametrizationList) for each in (plain, normed, spectral)] == [0, 0, 2]
