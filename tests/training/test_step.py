import copy

import pytest
import torch
import torch.nn.functional as F
from torch.optim import Adam

from capsulegan.data import load_data
from capsulegan.networks import CapsNet, CapsuleDiscriminator, ConvDiscriminator, Generator
from capsulegan.objectives import CrossEntropy, Margin
from capsulegan.randomness import generator_for, seeded
from capsulegan.training.classification import ClassificationStep
from capsulegan.training.diversity import Diversity
from capsulegan.training.step import AdversarialStep


def new_step(discriminator_class=CapsuleDiscriminator, objective=None, learning_rate=1e-3):
    with seeded(0, "test"):
        generator, discriminator = Generator(8, 1, latent_dim=5, width=4), discriminator_class(8)
    optimizers = [Adam(net.parameters(), lr=learning_rate, fused=True) for net in (generator, discriminator)]
    objective = objective or Margin()
    watch = Diversity(load_data("digits", "train"), torch.device("cpu"))
    return AdversarialStep(generator, discriminator, objective, *optimizers, torch.Tensor.backward, watch)


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
