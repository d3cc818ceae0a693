import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch.optim import SGD, Adam

from capsulegan.data import load_data
from capsulegan.networks import CapsNet, CapsuleDiscriminator, ConvDiscriminator, Generator, ResidualNetwork
from capsulegan.objectives import CrossEntropy, Margin, r1_penalty
from capsulegan.randomness import generator_for, seeded
from capsulegan.training.augmentation import Augmentation
from capsulegan.training.batches import Batches
from capsulegan.training.build import ImageShape
from capsulegan.training.classification import ClassificationStep, classification_step
from capsulegan.training.configuration import Config
from capsulegan.training.diversity import Diversity
from capsulegan.training.step import AdversarialStep
from capsulegan.training.trainee import build_trainee


def new_step(discriminator_class=CapsuleDiscriminator, objective=None, learning_rate=1e-3):
    with seeded(0, "test"):
        generator, discriminator = Generator(8, 1, latent_dim=5, width=4), discriminator_class(8)
    optimizers = [Adam(net.parameters(), lr=learning_rate, fused=True) for net in (generator, discriminator)]
    objective = objective or Margin()
    watch = Diversity(load_data("digits", "train"), torch.device("cpu"))
    penalty = functools.partial(r1_penalty, discriminator)
    backward = torch.Tensor.backward
    return AdversarialStep(generator, discriminator, objective, *optimizers, backward, penalty, watch)


def batch():
    generator = generator_for(0, "test batch")
    return torch.rand(6, 1, 8, 8, generator=generator) * 2 - 1, torch.randn(6, 5, generator=generator)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_a_step_is_one_update_of_each_network_written_out():
    step = new_step(ConvDiscriminator, CrossEntropy())
    generator, discriminator = copy.deepcopy(step.generator), copy.deepcopy(step.discriminator)
    real, latents = batch()
    scalars = step(real, latents)

    fake = generator(latents)
    ones, zeros = torch.ones(6), torch.zeros(6)
    loss = F.binary_cross_entropy_with_logits(discriminator(real), ones)
    loss = loss + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros)
    optimizer = Adam(discriminator.parameters(), lr=1e-3)
    loss.backward()
    optimizer.step()
    opinion = F.binary_cross_entropy_with_logits(discriminator(fake), ones)
    gradients = torch.autograd.grad(opinion, list(generator.parameters()))
    for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
        parameter.grad = gradient
    Adam(generator.parameters(), lr=1e-3).step()

    torch.testing.assert_close(scalars["discriminator_loss"], loss.detach())
    torch.testing.assert_close(scalars["generator_loss"], opinion.detach())
    torch.testing.assert_close(weights(step.discriminator), weights(discriminator), rtol=0, atol=1e-6)
    torch.testing.assert_close(weights(step.generator), weights(generator), rtol=0, atol=1e-6)


def penalty_written_out(discriminator, images):
    """Half the squared length of each image's gradient, averaged."""
    images = images.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return sum(0.5 * (slope**2).sum() for slope in slopes) / len(slopes)


@pytest.mark.parametrize("discriminator_class", [ConvDiscriminator, CapsuleDiscriminator])
def test_the_gradient_penalty_adds_its_own_term_and_nothing_else(discriminator_class):
    real, latents = batch()
    plain, penalised = new_step(discriminator_class), new_step(discriminator_class)
    for step in (plain, penalised):  # whose updates are sums
        step.discriminator_optimizer = SGD(step.discriminator.parameters(), lr=0.01, fused=True)
    start = copy.deepcopy(plain.discriminator)
    penalty = penalty_written_out(start, real)
    penalty.backward()
    gradient = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in start.parameters()]
    )
    fake = plain.generator(latents).detach()
    without = plain.update_discriminator(real, fake)
    with_it = penalised.update_discriminator(real, fake, r1_weight=3.0)
    assert penalty > 0
    torch.testing.assert_close(
        with_it["discriminator_loss"] - without["discriminator_loss"], 3 * penalty.detach()
    )
    moved = weights(penalised.discriminator) - weights(plain.discriminator)
    torch.testing.assert_close(moved, -0.01 * 3 * gradient, rtol=1e-3, atol=1e-6)
    assert torch.equal(with_it["real_probability"], without["real_probability"])
    assert torch.equal(with_it["fake_probability"], without["fake_probability"])


@pytest.mark.parametrize("discriminator_class", [ConvDiscriminator, CapsuleDiscriminator])
def test_noise_is_on_all_images_that_the_discriminator_is_shown_and_on_no_other(discriminator_class):
    step, written_out = new_step(discriminator_class), new_step(discriminator_class)
    step.shown = Augmentation(noise=0.3)
    real, latents = batch()
    noise = 0.3 * torch.randn(real.shape, generator=generator_for(0, "test noise"))
    scalars = step(real, latents, noise, r1_weight=1.0)
    drawn = written_out.generator(latents)
    first = written_out.update_discriminator(real + noise, (drawn + noise).detach(), r1_weight=1.0)
    second = written_out.update_generator(drawn + noise)
    assert scalars == {**first, **second, **written_out.watch(drawn.detach())}
    assert torch.equal(weights(step.discriminator), weights(written_out.discriminator))
    assert torch.equal(weights(step.generator), weights(written_out.generator))


def test_instance_noise_is_new_at_each_step_and_of_the_given_deviation(monkeypatch):
    shown = []
    monkeypatch.setattr(
        AdversarialStep, "__call__", lambda self, *inputs, r1_weight: shown.append(inputs) or {}
    )
    trainee = new_trainee(instance_noise=0.3)
    for number in (0, 1, 0):
        trainee.advance(number)
    first, other, again = (noise for _, _, noise in shown)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.3, rel=0.1)
    new_trainee().advance(0)
    assert len(shown[-1]) == 2


def new_trainee(model="capsulegan", precision="32-true", **settings):
    config = Config(model, "digits", batch_size=8, width=4, latent_dim=4, **settings)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    return build_trainee(config, load_data("digits", "train"), ImageShape(8, 1, 10), fabric)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("number", [0, 1, 8, 15, 16, 17, 48])
def test_the_gradient_penalty_comes_every_16_steps_in_float32_with_16_times_its_weight(number, precision):
    plain, penalised = (new_trainee(precision=precision, r1_weight=weight) for weight in (0.0, 0.25))
    images = Batches(load_data("digits", "train"), 8, seed=0).images(number)
    penalty = penalty_written_out(copy.deepcopy(plain.networks["discriminator"]), images).item()
    losses = [trainee.advance(number)["discriminator_loss"].item() for trainee in (plain, penalised)]
    expected = 16 * 0.25 * penalty if number % 16 == 0 else 0
    assert penalty > 0.01
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-4, abs=1e-9)


RATES = {
    "generator_learning_rate": 1e-3,
    "discriminator_learning_rate": 3e-3,
    "classifier_learning_rate": 5e-3,
}


@pytest.mark.parametrize("model", ["capsulegan", "capsnet"])
@pytest.mark.parametrize(
    ("half_life", "number", "share"),
    [(0, 10**6, 1), (80, 0, 1), (80, 10, 1 / 2), (80, 30, 1 / 8), (160, 10, 0.7071)],
)
def test_steps_are_half_as_long_after_each_half_life(model, half_life, number, share):
    """Adam's first step is as long as its step size in every component that has a gradient."""
    trainee = new_trainee(model, learning_rate_half_life=half_life, **RATES)
    before = {name: weights(network) for name, network in trainee.networks.items()}
    trainee.advance(number)
    for name, network in trainee.networks.items():
        longest = (weights(network) - before[name]).abs().max().item()
        assert longest == pytest.approx(share * RATES[f"{name}_learning_rate"], rel=1e-3)


@pytest.mark.parametrize("model", ["capsnet", "resnet"])
def test_a_classifiers_weights_decay_apart_from_its_gradient(model):
    plain, decayed = (new_trainee(model, classifier_weight_decay=decay) for decay in (0.0, 0.5))
    before = weights(plain.networks["classifier"])
    for trainee in (plain, decayed):
        trainee.advance(0)
    taken = weights(plain.networks["classifier"]) - weights(decayed.networks["classifier"])
    torch.testing.assert_close(taken, 1e-3 * 0.5 * before, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("objective", [CrossEntropy(), Margin()])
@pytest.mark.parametrize("discriminator_class", [ConvDiscriminator, CapsuleDiscriminator])
def test_each_half_improves_its_own_loss(discriminator_class, objective):
    step = new_step(discriminator_class, objective, learning_rate=1e-4)
    real, latents = batch()
    fake = step.generator(latents).detach()
    with torch.no_grad():
        before = objective.discriminator_loss(step.discriminator(real), step.discriminator(fake))
    step.update_discriminator(real, fake)
    with torch.no_grad():
        after = objective.discriminator_loss(step.discriminator(real), step.discriminator(fake))
    assert after < before
    before = objective.generator_loss(step.discriminator(step.generator(latents))).item()
    step.update_generator(step.generator(latents))
    assert objective.generator_loss(step.discriminator(step.generator(latents))).item() < before


def test_the_generators_half_leaves_the_discriminator_alone():
    step = new_step()
    _, latents = batch()
    before = weights(step.discriminator)
    step.discriminator.zero_grad()
    step.update_generator(step.generator(latents))
    assert torch.equal(weights(step.discriminator), before)
    assert all(parameter.grad is None for parameter in step.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in step.discriminator.parameters())


def test_a_step_that_is_not_finite_is_not_applied():
    step = new_step()
    real, latents = batch()
    step(real, latents)
    before = weights(step.discriminator), weights(step.generator)
    moments = copy.deepcopy(step.discriminator_optimizer.state_dict()["state"])
    scalars = step(real * torch.nan, latents)
    assert not scalars["discriminator_gradient_norm"].isfinite()
    assert torch.equal(weights(step.discriminator), before[0])
    after = step.discriminator_optimizer.state_dict()["state"]
    assert all(torch.equal(after[i][k], moments[i][k]) for i in moments for k in moments[i])
    step(real, latents)
    assert not torch.equal(weights(step.discriminator), before[0])


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}])
def test_a_batch_that_is_not_finite_leaves_no_trace_in_running_statistics(options):
    discriminator_class = functools.partial(CapsuleDiscriminator, **options) if options else ConvDiscriminator
    step = new_step(discriminator_class)
    real, latents = batch()
    step(real, latents)
    before = [buffer.clone() for buffer in step.discriminator.buffers() if buffer.is_floating_point()]
    step(real * torch.nan, latents)
    after = [buffer for buffer in step.discriminator.buffers() if buffer.is_floating_point()]
    assert before
    assert all(map(torch.equal, before, after))
    step(real, latents)
    assert not any(map(torch.equal, before, after))
    assert all(buffer.isfinite().all() for buffer in after)


def test_a_classifier_too_forgets_a_batch_that_is_not_finite():
    with seeded(0, "test"):
        capsnet = CapsNet(8, classes=3)
    step = ClassificationStep(capsnet, capsnet, Adam(capsnet.parameters(), fused=True), torch.Tensor.backward)
    real, _ = batch()
    before = [buffer.clone() for buffer in capsnet.buffers()]
    step(real * torch.inf, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert all(buffer.isfinite().all() for buffer in capsnet.buffers())
    step(real, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert not any(map(torch.equal, before, capsnet.buffers()))


def test_the_scalars_are_those_that_are_promised():
    step = new_step()
    assert sorted(step(*batch())) == sorted((*AdversarialStep.SCALARS, *step.watch.names))


def test_a_classifier_learns_a_batch_by_heart():
    with seeded(0, "test"):
        capsnet = CapsNet(8, classes=3)
    step = ClassificationStep(capsnet, capsnet, Adam(capsnet.parameters(), fused=True), torch.Tensor.backward)
    real, _ = batch()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    first = step(real, labels)
    assert sorted(first) == sorted(ClassificationStep.SCALARS)
    for _ in range(40):
        last = step(real, labels)
    assert last["accuracy"] == 1
    assert last["margin_loss"] < 0.1 * first["margin_loss"]
    assert last["reconstruction_error"] < first["reconstruction_error"]


def test_a_residual_network_learns_a_batch_by_heart():
    with seeded(0, "test"):
        network = ResidualNetwork(8, 1, classes=3, width=8)
    step = classification_step(
        network, network, Adam(network.parameters(), 0.01, fused=True), torch.Tensor.backward
    )
    real, _ = batch()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    first = step(real, labels)
    assert sorted(first) == sorted(step.SCALARS)
    assert first["cross_entropy"] > 0.8
    for _ in range(40):
        last = step(real, labels)
    assert last["accuracy"] == 1
    assert last["cross_entropy"] < 0.01  # 0.29 at best, were labels smoothed by a tenth
