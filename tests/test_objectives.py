import math

import pytest
import torch
from torch.autograd import gradcheck

from capsulegan.networks import CapsuleDiscriminator
from capsulegan.objectives import CrossEntropy, Margin, r1_penalty
from capsulegan.randomness import seeded
from capsulegan.training.build import MODELS

OBJECTIVES = [CrossEntropy(), Margin()]


def logits_of(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).logit()


def test_cross_entropy_equals_its_equations():
    real, fake = (0.2, 0.9), (0.3, 0.6, 0.5)
    expected = -sum(map(math.log, real)) / 2 - sum(math.log(1 - p) for p in fake) / 3
    objective = CrossEntropy()
    loss = objective.discriminator_loss(logits_of(*real), logits_of(*fake)).item()
    assert loss == pytest.approx(expected, abs=1e-12)
    assert objective.generator_loss(logits_of(*fake)).item() == pytest.approx(
        -sum(map(math.log, fake)) / 3, abs=1e-12
    )


def test_margin_equals_its_equations():
    real, fake = (0.2, 0.95), (0.3, 0.05, 0.6)
    objective = Margin()
    expected = (0.7**2 + 0) / 2 + 0.5 * (0.2**2 + 0 + 0.5**2) / 3
    loss = objective.discriminator_loss(logits_of(*real), logits_of(*fake)).item()
    assert loss == pytest.approx(expected, abs=1e-12)
    expected = (0.6**2 + 0.85**2 + 0.3**2) / 3
    assert objective.generator_loss(logits_of(*fake)).item() == pytest.approx(expected, abs=1e-12)


def test_margin_takes_its_constants():
    objective = Margin(m_plus=0.8, m_minus=0.2, down_weight=0.25)
    loss = objective.discriminator_loss(logits_of(0.5), logits_of(0.6)).item()
    assert loss == pytest.approx(0.3**2 + 0.25 * 0.4**2, abs=1e-12)


def test_the_margin_loss_is_zero_beyond_its_margins():
    logits = logits_of(0.91, 0.99).requires_grad_()
    loss = Margin().discriminator_loss(logits, -logits)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_gradchecked(objective):
    real, fake = (torch.tensor([-1.0, 0.3, 1.2], dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(objective.discriminator_loss, (real, fake))
    assert gradcheck(objective.generator_loss, fake)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_generator_gains_from_a_higher_logit(objective):
    fake = torch.linspace(-3, 2, 11, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.generator_loss(fake), fake)
    assert (gradient < 0).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_discriminator_gains_from_higher_real_and_lower_generated_logits(objective):
    real, fake = (torch.linspace(-2, 2, 11, requires_grad=True) for _ in range(2))
    on_real, on_fake = torch.autograd.grad(objective.discriminator_loss(real, fake), (real, fake))
    assert (on_real < 0).all()
    assert (on_fake > 0).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_average_over_each_batch(objective):
    real, fake = torch.randn(4), torch.randn(6)
    twice = objective.discriminator_loss(real.repeat(2), fake.repeat(3))
    torch.testing.assert_close(twice, objective.discriminator_loss(real, fake))
    torch.testing.assert_close(objective.generator_loss(fake.repeat(2)), objective.generator_loss(fake))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_losses_and_gradients_are_finite_at_extreme_logits(objective, logit):
    real, fake = (torch.tensor([logit, -logit], requires_grad=True) for _ in range(2))
    loss = objective.discriminator_loss(real, fake) + objective.generator_loss(fake)
    loss.backward()
    assert loss.isfinite()
    assert real.grad.isfinite().all()
    assert fake.grad.isfinite().all()


def test_cross_entropy_is_linear_far_out():
    far = torch.tensor([1e4])
    assert CrossEntropy().discriminator_loss(-far, far).item() == 2e4
    assert CrossEntropy().generator_loss(-far).item() == 1e4
    assert CrossEntropy().discriminator_loss(far, -far).item() == 0


# ---- where the losses are least


def optimal_probability(objective, real_share, fake_share):
    """Minimise p L(real) + q L(fake) over one output: the actual loss on p + q copies of its logit."""
    lengths = torch.linspace(0.1, 0.9, 80_001, dtype=torch.float64)
    nothing = torch.tensor([0.0], dtype=torch.float64)

    def losses(on_real, on_fake):
        return torch.vmap(objective.discriminator_loss)(on_real[:, None], on_fake[:, None])

    logits, constant = lengths.logit(), nothing.expand(len(lengths))
    total = real_share * losses(logits, constant) + fake_share * losses(constant, logits)
    return float(lengths[total.argmin()])


DENSITIES = [(1, 1), (1, 2), (2, 1), (1, 5), (5, 1), (0.3, 0.7)]


@pytest.mark.parametrize(("p", "q"), DENSITIES)
def test_the_optimal_length_under_the_margin_loss(p, q):
    assert optimal_probability(Margin(), p, q) == pytest.approx(
        (0.9 * p + 0.05 * q) / (p + 0.5 * q), abs=1e-4
    )


def test_the_optimal_length_is_0_633_where_either_kind_is_as_likely_and_half_where_q_is_2p():
    assert optimal_probability(Margin(), 1, 1) == pytest.approx(0.6333, abs=1e-4)
    assert optimal_probability(Margin(), 1, 2) == pytest.approx(0.5, abs=1e-4)
    for q in (1, 1.9, 2.1, 4):
        assert abs(optimal_probability(Margin(), 1, q) - 0.5) > 0.005


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1, 2), (2, 1), (0.3, 0.7)])
def test_the_optimal_probability_under_cross_entropy(p, q):
    assert optimal_probability(CrossEntropy(), p, q) == pytest.approx(p / (p + q), abs=1e-4)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_objective_of_every_model_gives_scalars(model):
    assert model.objective.discriminator_loss(torch.randn(4), torch.randn(4)).shape == ()
    assert model.objective.generator_loss(torch.randn(4)).shape == ()


# ---- the gradient penalty


def test_the_penalty_of_a_linear_discriminator_is_half_its_squared_weight():
    weight = torch.randn(3, 4, 4, dtype=torch.float64)
    for count in (1, 5):
        images = torch.randn(count, 3, 4, 4, dtype=torch.float64)
        penalty = r1_penalty(lambda each: (each * weight).sum(dim=(1, 2, 3)), images)
        assert penalty.item() == pytest.approx(0.5 * weight.square().sum().item(), rel=1e-12)
        assert not images.requires_grad


def test_the_penalty_is_averaged_over_images():
    images = torch.randn(5, 1, 4, 4, dtype=torch.float64)

    def squares(each):
        return each.square().sum(dim=(1, 2, 3))  # whose gradient is 2x

    assert r1_penalty(squares, images).item() == pytest.approx(2 * squares(images).mean().item(), rel=1e-12)


@pytest.mark.parametrize("settings", [{}, {"preset": "deep"}, {"batch_norm": True}])
def test_the_gradient_of_the_penalty_is_that_of_finite_differences(settings):
    with seeded(0, "test"):
        discriminator = CapsuleDiscriminator(8, **settings).double()
        images = 2 * torch.rand(3, 1, 8, 8, dtype=torch.float64) - 1
        directions = [torch.randn_like(parameter) for parameter in discriminator.parameters()]

    def penalty():
        return r1_penalty(discriminator, images)

    @torch.no_grad()
    def moved(parameter, direction):
        parameter += direction

    parameters = list(discriminator.parameters())
    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True, materialize_grads=True)
    assert sum(gradient.any() for gradient in gradients) >= len(gradients) - 1
    for parameter, gradient, direction in zip(parameters, gradients, directions, strict=True):
        step = 1e-7 * direction / direction.norm()
        moved(parameter, step)
        above = penalty().item()
        moved(parameter, -2 * step)
        below = penalty().item()
        moved(parameter, step)
        slope = (gradient * direction).sum().item() / direction.norm().item()
        assert (above - below) / 2e-7 == pytest.approx(slope, rel=1e-4, abs=1e-6)
