"""What every part of the registry promises beyond tests/networks: compilation, autocast, seeds, order."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from capsulegan.capsules import CapsuleLayer
from capsulegan.data import load_data
from capsulegan.evaluation import balanced_threshold, generative_adversarial_metric, label_spreading_error
from capsulegan.evaluation.scores import class_entropy, frechet_distance, kernel_distance
from capsulegan.objectives import CrossEntropy, Margin
from capsulegan.training.build import (
    MODELS,
    ImageShape,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.configuration import CHOICES, Config
from capsulegan.training.recipes import CLASSIFIERS

SHAPE = ImageShape(size=8, channels=1, classes=10)
PRESETS = CHOICES["preset"]
SETTINGS = [
    *((model, {}) for model in (*MODELS, *CLASSIFIERS)),
    *((model, {"preset": preset}) for model in ("capsulegan", *CLASSIFIERS) for preset in PRESETS),
    *(("capsulegan", {"head": head}) for head in CHOICES["head"][1:]),
    ("capsulegan", {"batch_norm": True}),
    ("capsulegan", {"preset": "capsnet", "batch_norm": True}),
    ("gan", {"spectral_norm": True}),
    *(("capsulegan", {"spectral_norm": True, "preset": preset}) for preset in ("small", "deep")),
]
OBJECTIVES = {id(model.objective): model.objective for model in MODELS.values()}.values()


@pytest.fixture(autouse=True)
def global_randomness_is_left_alone():
    """Every test of this file also holds that nothing in it draws from the global generators."""
    torch.manual_seed(11)
    np.random.seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def config_of(model, **settings):
    return Config(model, "digits", width=8, latent_dim=6, **settings)


def networks():
    """Every network of the registry, with a batch for it."""
    images, latents = 2 * noise(6, 1, 8, 8) - 1, noise(6, 6)
    for model, settings in SETTINGS:
        build = build_classifier if model in CLASSIFIERS else build_discriminator
        names = (value if isinstance(value, str) else name for name, value in settings.items())
        yield pytest.param(build, config_of(model, **settings), images, id="-".join((model, *names)))
    yield pytest.param(build_generator, config_of("gan"), latents, id="generator")


NETWORKS = list(networks())


def outputs(network, batch):
    found = network(batch)
    return [found] if isinstance(found, torch.Tensor) else list(found)


@pytest.mark.parametrize(("build", "config", "batch"), NETWORKS)
def test_a_network_gives_float32_one_output_an_image_in_any_order(build, config, batch):
    network = build(config, SHAPE)
    outputs(network, batch[:5])  # for batch norm to have statistics of its own
    network.eval()
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    for straight, mixed in zip(outputs(network, batch), outputs(network, batch[order]), strict=True):
        assert straight.dtype == torch.float32
        assert len(straight) == len(batch)
        torch.testing.assert_close(mixed, straight[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("build", "config", "batch"), NETWORKS)
def test_a_network_compiles_as_one_graph_and_computes_the_same(build, config, batch, training):
    torch.compiler.reset()
    eager, compiled = (build(config, SHAPE).train(training) for _ in range(2))
    graph = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    pairs = list(zip(outputs(eager, batch), outputs(graph, batch), strict=True))
    for expected, found in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for one in zip(*pairs, strict=True):
        sum(output.square().sum() for output in one).backward()
    for expected, found in zip(eager.parameters(), compiled.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("build", "config", "batch"), NETWORKS)
def test_under_autocast_a_network_stays_finite_and_near_float32(build, config, batch):
    network = build(config, SHAPE)
    expected = outputs(network, batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs(network, batch)
    for exact, rough in zip(expected, found, strict=True):
        assert (rough.float() - exact).abs().max() < 0.1 * (1 + exact.abs().max())
    sum(output.float().square().sum() for output in found).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


# ---- a warning, and objectives


def test_the_warning_of_useless_iterations_points_at_whoever_asked():
    with torch.random.fork_rng(), pytest.warns(UserWarning, match="The closed form is used") as caught:
        CapsuleLayer(4, 2, 1, 3, iterations=3)
    assert caught[0].filename == __file__


LOGITS = [torch.linspace(-60, 60, 7), torch.zeros(3), torch.tensor([1e4, -1e4])]


def both_losses(objective, logits):
    yield lambda: objective.discriminator_loss(logits, -logits)
    yield lambda: objective.generator_loss(logits)


def test_the_registry_has_every_objective():
    assert {type(objective) for objective in OBJECTIVES} == {CrossEntropy, Margin}


@pytest.mark.parametrize("logits", LOGITS, ids=["wide", "undecided", "far"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: type(each).__name__)
def test_an_objective_is_a_finite_scalar_with_finite_gradients_in_any_order(objective, logits):
    given = logits.clone().requires_grad_()
    for loss in both_losses(objective, given):
        (gradient,) = torch.autograd.grad(loss(), given)
        assert loss().shape == ()
        assert loss() >= 0
        assert gradient.isfinite().all()
    for straight, mixed in zip(
        both_losses(objective, logits), both_losses(objective, logits.flip(0)), strict=True
    ):
        torch.testing.assert_close(straight(), mixed(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: type(each).__name__)
def test_an_objective_compiles_and_stays_float32_under_autocast(objective):
    torch.compiler.reset()
    logits = torch.linspace(-3, 3, 9)
    compiled = torch.compile(objective.discriminator_loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, -logits), objective.discriminator_loss(logits, -logits))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.discriminator_loss(logits, -logits)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, objective.discriminator_loss(logits, -logits))


# ---- metrics

REAL, FAKE = noise(50, 5, seed=1).double(), noise(60, 5, seed=2).double() + 0.3
TABLE = {
    "generative_adversarial_metric": lambda order: dataclasses.asdict(
        generative_adversarial_metric(REAL[order, 0], REAL[order, 1], REAL[order, 2], REAL[order, 3])
    ),
    "balanced_threshold": lambda order: balanced_threshold(REAL[order, 0], REAL[order, 1]),
    "frechet_distance": lambda order: frechet_distance(REAL[order], FAKE),
    "kernel_distance": lambda order: kernel_distance(REAL[order].float(), FAKE.float()[:50], 3)[0],
    "class_entropy": lambda order: class_entropy(REAL[order, 0] / REAL[:, 0].sum()),
    "label_spreading_error": lambda order: (
        label_spreading_error(
            FAKE.float(),
            REAL[order].float(),
            (torch.arange(50) % 3)[order],
            FAKE[:20].float(),
            torch.arange(20) % 3,
        ).error.value
    ),
}
STRAIGHT = torch.arange(50)
MIXED = torch.randperm(50, generator=torch.Generator().manual_seed(0))


def numbers_of(found):
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers_of(value)]
    if isinstance(found, tuple | list):
        return [number for value in found for number in numbers_of(value)]
    return [found] if isinstance(found, float) else []


@pytest.mark.parametrize("name", TABLE)
def test_a_metric_is_finite_plain_floats_and_the_same_every_time(name):
    first, again = TABLE[name](STRAIGHT), TABLE[name](STRAIGHT)
    assert first == again
    numbers = numbers_of(first)
    assert numbers
    assert all(type(number) is float and math.isfinite(number) for number in numbers)


@pytest.mark.parametrize("name", TABLE)
def test_a_metric_does_not_depend_on_the_order_of_images(name):
    straight, mixed = numbers_of(TABLE[name](STRAIGHT)), numbers_of(TABLE[name](MIXED))
    spread = 2e-2 if name == "kernel_distance" else 1e-9  # whose subsets are drawn by position
    assert mixed == pytest.approx(straight, abs=spread, rel=spread)


# ---- data


@pytest.fixture(params=["digits", "mnist", "cifar10", "stacked-mnist", "folder", "npz"])
def name(request, tmp_path):
    if request.param in ("mnist", "cifar10", "stacked-mnist"):
        request.getfixturevalue("data_folder")
        return request.param
    if request.param == "digits":
        return "digits"
    images = (255 * noise(24, 12, 12)).to(torch.uint8).numpy()
    if request.param == "npz":
        np.savez(tmp_path / "set.npz", images=images, labels=np.arange(24) % 2)
        return str(tmp_path / "set.npz")
    from PIL import Image

    for index, image in enumerate(images):
        folder = tmp_path / "set" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    return str(tmp_path / "set")


def test_a_data_set_is_whole_the_same_every_time_and_cannot_be_changed(name):
    parts = {split: load_data(name, split) for split in ("train", "test")}
    for split, data in parts.items():
        count, height, width, channels = data.images.shape
        assert data.images.dtype == np.uint8
        assert height == width
        assert channels in (1, 3)
        assert data.labels.shape == (count,)
        assert np.issubdtype(data.labels.dtype, np.integer)
        assert 0 <= data.labels.min() <= data.labels.max() < len(data.classes)
        again = load_data(name, split)
        assert again.digest == data.digest
        assert np.array_equal(again.labels, data.labels)
        with pytest.raises(ValueError, match="read-only"):
            data.images[0, 0, 0, 0] = 1
    assert parts["train"].digest != parts["test"].digest
    assert parts["train"].images.shape[1:] == parts["test"].images.shape[1:]
    assert parts["train"].classes == parts["test"].classes
