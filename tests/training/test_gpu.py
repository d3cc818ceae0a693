"""Training where the data lies on the device, and on a GPU, where the whole step is one CUDA graph."""

import warnings

import pytest
import torch

import capsulegan
from capsulegan.data import load_data
from capsulegan.networks import CapsNet, CapsuleDiscriminator, ConvDiscriminator, Generator, ResidualNetwork
from capsulegan.training.batches import Batches, scaled
from capsulegan.training.build import ImageShape
from capsulegan.training.configuration import Config
from capsulegan.training.environment import resolved
from capsulegan.training.trainee import build_trainee

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHAPE = ImageShape(size=8, channels=1, classes=10)


def test_batches_are_the_same_wherever_the_images_lie():
    data = load_data("digits", "train")
    for step in (0, 21, 22, 23, 100):  # across epochs, too
        here = Batches(data, 64, seed=3)
        there = Batches(data, 64, seed=3, device=torch.device("cpu"))
        assert torch.equal(here.images(step), there.images(step))


def test_batches_are_channels_last_as_they_are_stored():
    images = scaled(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    assert images.shape == (4, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "kind",
    [
        ConvDiscriminator,
        CapsuleDiscriminator,
        lambda size, channels: CapsuleDiscriminator(size, channels, "deep", batch_norm=True, head="hidden"),
        lambda size, channels: CapsNet(size, channels, 10),
        ResidualNetwork,
    ],
)
def test_networks_answer_the_same_with_filters_channels_last(kind):
    network = kind(28, 3).double().eval()
    images = torch.rand(4, 3, 28, 28, dtype=torch.float64) * 2 - 1
    wanted = network(images)
    network.to(memory_format=torch.channels_last)
    found = network(images.to(memory_format=torch.channels_last))
    for first, second in zip(tensors_of(wanted), tensors_of(found), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


def tensors_of(answer):
    return [answer] if isinstance(answer, torch.Tensor) else list(answer)


def test_a_generator_draws_the_same_with_filters_channels_last():
    generator = Generator(28, 3, width=8).double().eval()
    latents = torch.randn(4, 100, dtype=torch.float64)
    wanted = generator(latents)
    found = generator.to(memory_format=torch.channels_last)(latents)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def trainee(**settings):
    from lightning_fabric import Fabric

    model = settings.pop("model", "capsulegan")
    config = resolved(Config(model, "digits", batch_size=32, device="cuda", **settings))
    precision = "bf16-mixed" if config.precision == "bf16" else "32-true"
    fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
    return build_trainee(config, load_data("digits", "train"), SHAPE, fabric)


@GPU
@pytest.mark.parametrize(
    ("noise", "augmentation"), [(0.0, "none"), (0.2, "none"), (0.0, "mirror,color,translation,cutout")]
)
@pytest.mark.parametrize(
    "model", ["gan", "capsulegan-best", "gan-margin", "capsulegan-bce", "capsnet", "resnet"]
)
def test_replayed_steps_are_the_steps_that_were_recorded(model, noise, augmentation, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # its rounding depends on the algorithm
    settings = {"model": model, "precision": "32", "instance_noise": noise, "augmentation": augmentation}
    replayed = trainee(**settings)
    scalars = [{k: v.item() for k, v in replayed.advance(step).items()} for step in range(40)]
    monkeypatch.setattr("capsulegan.training.capture.WARM_UP", 1000)
    eager = trainee(**settings)
    for step, wanted in enumerate(scalars):
        found = {k: v.item() for k, v in eager.advance(step).items()}
        if step < 8:  # small differences grow in adversarial training
            assert found == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    assert replayed.state().keys() == eager.state().keys()


@GPU
def test_no_step_waits_for_the_device():
    advance = trainee(model="capsulegan-best").advance
    for step in range(70):  # recordings may wait
        advance(step)
    try:
        with warnings.catch_warnings(action="ignore"):  # PyTorch calls the mode a prototype
            torch.cuda.set_sync_debug_mode("error")
        for step in range(70, 140):
            advance(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@GPU
def test_a_deterministic_run_repeats_itself_bit_for_bit(tmp_path):
    config = Config("capsulegan", "digits", images=6400, device="cuda", deterministic=True)
    first, second = (capsulegan.train(config, tmp_path / name) for name in "ab")
    for name, weight in first.generator.state_dict().items():
        assert torch.equal(weight, second.generator.state_dict()[name])


@GPU
def test_a_run_draws_the_same_images_on_both_devices(tmp_path):
    run = capsulegan.train(Config("capsulegan", "digits", images=6400), tmp_path / "run")
    here, there = (capsulegan.load(run.folder, device).sample(100).astype(int) for device in ("cpu", "cuda"))
    assert abs(here - there).max() <= 1


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(capsulegan.errors.UserError, match="unknown device 'gpu'"):
        capsulegan.load("capsnet-mnist", "gpu")
    if not torch.cuda.is_available():
        with pytest.raises(capsulegan.errors.UserError, match="no CUDA device was found"):
            capsulegan.load("capsnet-mnist", "cuda")
        assert capsulegan.load("capsnet-mnist", "auto").device == "cpu"
