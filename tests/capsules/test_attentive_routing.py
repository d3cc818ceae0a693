import numpy as np
import pytest
import torch

from capsulegan.capsules.functional import attentive_total_input, routed_total_input


def by_hand(predictions, iterations):
    """Routing with a softmax over inputs instead of outputs, one sample and output at a time."""
    batch, inputs, outputs, _ = predictions.shape
    totals = np.zeros_like(predictions[:, 0])
    for n in range(batch):
        for j in range(outputs):
            votes, logits = predictions[n, :, j], np.zeros(inputs)
            for _ in range(iterations):
                couplings = inputs * np.exp(logits) / np.exp(logits).sum()
                s = couplings @ votes
                v = s * np.linalg.norm(s) / (1 + s @ s)
                logits = logits + votes @ v
            totals[n, j] = s
    return totals


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_inputs_compete_for_each_output(iterations):
    predictions = np.random.default_rng(0).normal(0, 0.3, (3, 7, 2, 4))
    found = attentive_total_input(torch.from_numpy(predictions), iterations)
    np.testing.assert_allclose(found.numpy(), by_hand(predictions, iterations), rtol=1e-10)


def test_one_iteration_is_the_plain_sum_of_one_routed_output():
    predictions = torch.randn(2, 9, 1, 4)
    torch.testing.assert_close(attentive_total_input(predictions, 1), routed_total_input(predictions, 3))


def test_it_does_something_with_one_output():
    predictions = torch.randn(2, 9, 1, 4, generator=torch.Generator().manual_seed(0))
    first, third = attentive_total_input(predictions, 1), attentive_total_input(predictions, 3)
    assert (first - third).abs().max() > 0.1


def test_couplings_are_constants_to_the_gradient():
    predictions = torch.randn(2, 5, 1, 3, dtype=torch.float64, requires_grad=True)
    total = attentive_total_input(predictions, 3)
    (gradient,) = torch.autograd.grad(total.sum(), predictions)
    # the gradient of a sum of c_i u_i is c_i in each component, and the couplings sum to the number of inputs
    assert torch.equal(gradient[..., 0], gradient[..., 1])
    torch.testing.assert_close(gradient[..., 0].sum(dim=1), torch.full((2, 1), 5.0, dtype=torch.float64))


@pytest.mark.parametrize(("shape", "iterations"), [((2, 3, 4), 3), ((2, 3, 1, 4), 0)])
def test_wrong_arguments_are_refused(shape, iterations):
    with pytest.raises(ValueError, match="dynamic_routing"):
        attentive_total_input(torch.zeros(shape), iterations)
