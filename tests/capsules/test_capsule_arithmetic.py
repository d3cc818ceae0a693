import capsule_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from capsulegan.capsules import dynamic_routing, length_logits, lengths, margin_loss, squash
from capsulegan.capsules.functional import routed_total_input

SHAPES = [(1, 1, 1, 1), (2, 5, 3, 4), (3, 7, 1, 8), (1, 2, 10, 1), (2, 9, 2, 16)]


def double(*shape, scale=1.0):
    return scale * torch.randn(*shape, dtype=torch.float64)


# ---- squash and lengths


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 8), (2, 5, 16)])
def test_squash_equals_equation_1(shape):
    s = double(*shape, scale=2)
    expected = np.apply_along_axis(reference.squash, -1, s.numpy())
    np.testing.assert_allclose(squash(s).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [0, 1, 2, -2])
def test_squash_works_along_any_axis(dim):
    s = double(3, 4, 5)
    assert torch.equal(squash(s, dim), squash(s.movedim(dim, -1)).movedim(-1, dim))


def test_squash_is_gradchecked():
    assert gradcheck(squash, double(4, 3).requires_grad_())


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
@settings(deadline=None)
def test_squashed_vectors_are_shorter_than_one_and_keep_their_direction(components):
    s = torch.tensor(components, dtype=torch.float64)
    v = squash(s)
    assert 0 <= lengths(v) < 1
    torch.testing.assert_close(v * s.norm(), s * v.norm(), rtol=1e-12, atol=1e-12)
    assert (v * s >= 0).all()


def test_squashed_length_grows_with_the_norm():
    direction = torch.nn.functional.normalize(double(6), dim=0)
    norms = torch.logspace(-4, 4, 400, dtype=torch.float64)
    assert (lengths(squash(norms[:, None] * direction)).diff() > 0).all()


@pytest.mark.parametrize("function", [squash, lengths, length_logits])
def test_a_zero_vector_has_a_zero_gradient(function):
    s = torch.zeros(3, 4, requires_grad=True)
    result = function(s)
    assert result.isfinite().all()
    result.sum().backward()
    assert torch.equal(s.grad, torch.zeros(3, 4))


def test_a_zero_vector_stays_zero():
    assert torch.equal(squash(torch.zeros(2, 4)), torch.zeros(2, 4))


@pytest.mark.parametrize("function", [squash, lengths, length_logits])
@pytest.mark.parametrize("magnitude", [1e-30, 1e-20, 1e-8, 1.0, 1e8, 1e15])
def test_values_and_gradients_are_finite_at_any_magnitude(function, magnitude):
    s = torch.full((2, 4), magnitude, requires_grad=True)
    result = function(s)
    result.sum().backward()
    assert result.isfinite().all()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("magnitude", [1e-4, 0.3, 100.0, 60000.0])
def test_half_precision_is_computed_in_float32(dtype, magnitude):
    s = torch.full((2, 8), magnitude, dtype=dtype)
    assert torch.equal(squash(s), squash(s.float()).to(dtype))
    assert squash(s).isfinite().all()
    assert torch.equal(lengths(s), lengths(s.float()))
    assert torch.equal(length_logits(s), length_logits(s.float()))
    assert lengths(s).dtype == length_logits(s).dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-2, 0.1, 1.0, 10.0, 1e3])
def test_sigmoid_of_the_length_logit_is_the_squashed_length(scale):
    s = scale * torch.randn(50, 16)
    torch.testing.assert_close(length_logits(s).sigmoid(), lengths(squash(s)), rtol=0, atol=1e-6)


def test_length_logits_are_gradchecked():
    assert gradcheck(length_logits, double(4, 3).requires_grad_())


# ---- dynamic routing


@pytest.mark.parametrize("iterations", [1, 2, 3, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_routing_equals_procedure_1(shape, iterations):
    predictions = double(*shape)
    expected = np.stack([reference.routing(u_hat, iterations)[0] for u_hat in predictions.numpy()])
    found = dynamic_routing(predictions, iterations)
    assert found.shape == (shape[0], *shape[2:])
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_three_iterations_are_the_default():
    predictions = double(2, 6, 3, 4)
    assert torch.equal(dynamic_routing(predictions), dynamic_routing(predictions, 3))
    assert not torch.equal(dynamic_routing(predictions), dynamic_routing(predictions, 2))


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_gradient_takes_the_couplings_as_constants(iterations):
    predictions = double(2, 5, 3, 4).requires_grad_()
    couplings = np.stack([reference.routing(u_hat, iterations)[1] for u_hat in predictions.detach().numpy()])
    s = (torch.from_numpy(couplings)[..., None] * predictions).sum(dim=1)
    weights = double(2, 3, 4)
    (expected,) = torch.autograd.grad((squash(s) * weights).sum(), predictions)
    (found,) = torch.autograd.grad((dynamic_routing(predictions, iterations) * weights).sum(), predictions)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_routing_iteration_is_gradchecked():
    assert gradcheck(lambda u_hat: dynamic_routing(u_hat, 1), double(2, 3, 2, 3).requires_grad_())


def test_each_input_divides_one_vote_among_the_outputs():
    # Input 0 predicts the same for both outputs and input 1 nothing: whatever the number of inputs, half of
    # the vote goes to each output. A softmax over inputs would give input 0 more than half of each.
    predictions = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    predictions[0, 0] = torch.tensor([3.0, 4.0, 0.0])
    s = routed_total_input(predictions, 3)
    torch.testing.assert_close(s, predictions[:, 0] / 2, rtol=0, atol=1e-15)


def test_couplings_go_to_the_output_that_the_inputs_agree_on():
    agreed, scattered = torch.ones(1, 4, 1, 2), torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1, 1)
    predictions = torch.cat([agreed, agreed * scattered], dim=2)
    assert lengths(dynamic_routing(predictions, 3))[0, 0] > lengths(dynamic_routing(predictions, 1))[0, 0]


def test_samples_of_a_batch_are_routed_apart():
    predictions = double(4, 6, 3, 5, scale=2)
    alone = torch.cat([dynamic_routing(each[None], 3) for each in predictions])
    torch.testing.assert_close(dynamic_routing(predictions, 3), alone, rtol=0, atol=1e-14)


def test_an_all_zero_sample_is_routed_to_zero_without_nan():
    predictions = torch.zeros(2, 5, 3, 4, requires_grad=True)
    v = dynamic_routing(predictions, 3)
    v.sum().backward()
    assert torch.equal(v, torch.zeros(2, 3, 4))
    assert predictions.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_are_routed_in_float32(dtype):
    predictions = torch.randn(2, 200, 3, 8).to(dtype)
    torch.testing.assert_close(
        dynamic_routing(predictions).float(), dynamic_routing(predictions.float()), rtol=0, atol=1e-2
    )


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5, 6)])
def test_predictions_of_a_wrong_rank_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"'predictions'.*Got \(" + ", ".join(map(str, shape)) + r"\) instead"
    ):
        dynamic_routing(torch.zeros(shape))


@pytest.mark.parametrize("iterations", [0, -1])
def test_fewer_than_one_iteration_is_refused(iterations):
    with pytest.raises(ValueError, match=rf"'iterations'.*at least 1. Got {iterations} instead"):
        dynamic_routing(torch.zeros(1, 2, 3, 4), iterations)


# ---- margin loss


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (3, 10), (7, 2)])
@pytest.mark.parametrize("margins", [(0.9, 0.1, 0.5), (0.8, 0.3, 1.0)])
def test_margin_loss_equals_its_equation(shape, margins):
    lengths_of, targets = torch.rand(shape, dtype=torch.float64), torch.rand(shape).round().double()
    expected = reference.margin_loss(lengths_of.numpy(), targets.numpy(), *margins)
    assert margin_loss(lengths_of, targets, *margins).item() == pytest.approx(expected, abs=1e-12)


def test_margin_loss_defaults_are_those_of_the_papers():
    lengths_of, targets = torch.tensor([[0.4, 0.6]]), torch.tensor([[1.0, 0.0]])
    assert margin_loss(lengths_of, targets).item() == pytest.approx(0.5**2 + 0.5 * 0.5**2, abs=1e-7)


def test_margin_loss_is_gradchecked():
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    lengths_of = torch.tensor([[0.3, 0.5, 0.05], [0.7, 0.95, 0.2]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: margin_loss(x, targets), lengths_of)


def test_margin_loss_in_half_precision_is_float32():
    loss = margin_loss(torch.tensor([[0.5]], dtype=torch.bfloat16), torch.tensor([[1.0]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.16, abs=1e-6)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 2)), ((2,), (2,)), ((2, 3), (3,)), ((2, 1, 1), (2, 1, 1))])
def test_margin_loss_refuses_other_shapes(shapes):
    first, second = shapes
    with pytest.raises(ValueError, match="'lengths' and 'targets'") as caught:
        margin_loss(torch.zeros(first), torch.zeros(second))
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
