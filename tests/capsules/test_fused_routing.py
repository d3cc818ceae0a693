"""The Triton kernels of routing against the literal loop in float64: on a GPU, or under the interpreter."""

import pytest
import torch
from interpreter import (
    CUDA,
    DEVICE,
    assert_passes_under_the_interpreter,
    kernels_only,
    triton_only,
    without_gpu,
)

from capsulegan.capsules import CapsuleLayer, routing
from capsulegan.capsules.functional import routed_total_input

SHAPES = [  # batch, inputs, d, outputs, D, iterations
    (5, 20, 8, 10, 16, 3),
    (33, 7, 3, 4, 5, 2),
    (1, 1, 8, 2, 16, 3),
    (40, 40, 8, 3, 20, 3),
    (32, 16, 8, 10, 16, 4),
    (3, 5, 17, 2, 33, 2),
]
if CUDA:
    SHAPES += [(256, 1152, 8, 10, 16, 3), (64, 288, 8, 10, 16, 3), (257, 1153, 7, 11, 15, 2)]


@triton_only
@without_gpu
def test_all_below_pass_under_the_interpreter():
    assert_passes_under_the_interpreter(__file__)


def test_a_cpu_takes_no_kernel_unless_the_interpreter_is_asked_for(monkeypatch):
    capsules, weight, _ = (tensor.cpu() for tensor in case(20, 6, 4, 3, 5))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert routing.kernels_for(capsules, weight) is None
    assert CapsuleLayer(6, 4, 3, 5)(capsules).shape == (20, 3, 5)


def case(batch, inputs, dim, outputs, out_dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    capsules = torch.randn(batch, inputs, dim, generator=generator) / dim**0.5
    weight = torch.randn(inputs, dim, outputs, out_dim, generator=generator) / out_dim**0.5
    gradient = torch.randn(batch, outputs, out_dim, generator=generator)
    return capsules.to(DEVICE), weight.to(DEVICE), gradient.to(DEVICE)


def exactly(capsules, weight, gradient, iterations):
    """s and both gradients by the literal loop in float64."""
    u, w = (tensor.double().requires_grad_() for tensor in (capsules, weight))
    s = routed_total_input(torch.einsum("bid,idje->bije", u, w), iterations)
    return s.detach(), *torch.autograd.grad(s, (u, w), gradient.double())


def assert_close(found, wanted, tolerance):
    for each, exact in zip(found, wanted, strict=True):
        assert each.isfinite().all()
        scale = exact.abs().max().clamp(min=1e-6)
        assert ((each.double() - exact).abs().max() / scale).item() < tolerance


@kernels_only
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_layer_s_function_is_the_literal_loop_in_float64(shape):
    *sizes, iterations = shape
    capsules, weight, gradient = case(*sizes)
    assert routing.kernels_for(capsules, weight)
    u, w = capsules.clone().requires_grad_(), weight.clone().requires_grad_()
    s = routing.route(u, w, iterations)
    found = (s.detach(), *torch.autograd.grad(s, (u, w), gradient))
    assert_close(found, exactly(capsules, weight, gradient, iterations), 2e-5)


@kernels_only
@pytest.mark.parametrize("seed", range(6))
def test_random_shapes_are_the_literal_loop_in_float64(seed):
    pick = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high + 1, (), generator=pick))

    sizes = (number(1, 40), number(1, 40), number(1, 9), number(2, 6), number(1, 18))
    capsules, weight, gradient = case(*sizes, seed)
    u, w = capsules.clone().requires_grad_(), weight.clone().requires_grad_()
    s = routing.route(u, w, 3)
    found = (s.detach(), *torch.autograd.grad(s, (u, w), gradient))
    assert_close(found, exactly(capsules, weight, gradient, 3), 2e-5)


@kernels_only
def test_bf16_factors_are_summed_in_float32():
    from capsulegan.capsules import fused

    capsules, weight, gradient = (tensor.bfloat16() for tensor in case(9, 30, 8, 4, 16))
    s, couplings = fused.route_fused(capsules, weight, 2)
    of_u, of_w = fused.gradients_fused(capsules, weight, couplings, gradient.float(), (True, True))
    assert (s.dtype, couplings.dtype, of_u.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    exact = exactly(capsules, weight, gradient, 2)
    assert_close((s,), exact[:1], 2e-5)
    assert_close((of_u, of_w), exact[1:], 1e-2)  # rounded to bf16 at the end


@kernels_only
def test_all_zero_samples_have_finite_outputs_and_gradients():
    capsules, weight, gradient = case(6, 20, 8, 10, 16)
    capsules[2] = 0
    u, w = capsules.requires_grad_(), weight.requires_grad_()
    s = routing.route(u, w, 3)
    assert (s[2] == 0).all()
    assert all(each.isfinite().all() for each in torch.autograd.grad(s, (u, w), gradient))


@kernels_only
def test_only_the_gradients_that_are_needed_are_made():
    capsules, weight, gradient = case(20, 12, 8, 3, 16)
    u = capsules.requires_grad_()
    (alone,) = torch.autograd.grad(routing.route(u, weight, 3), u, gradient)
    w = weight.clone().requires_grad_()
    both = torch.autograd.grad(routing.route(u, w, 3), (u, w), gradient)
    assert torch.equal(alone, both[0])


@kernels_only
def test_results_repeat_themselves_bit_for_bit():
    capsules, weight, gradient = case(40, 40, 8, 3, 16)
    w = weight.requires_grad_()
    first, second = (torch.autograd.grad(routing.route(capsules, w, 3), w, gradient)[0] for _ in range(2))
    assert torch.equal(first, second)


@kernels_only
def test_a_gradient_penalty_goes_through_the_kernels_gradients():
    capsules, weight, _ = case(12, 10, 4, 3, 5)

    def penalty_gradient():
        u, w = capsules.clone().requires_grad_(), weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(routing.route(u, w, 3).square().sum(), u, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), w)[0]

    found = penalty_gradient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "kernels_for", lambda capsules, weight: None)
        torch.testing.assert_close(found, penalty_gradient(), rtol=1e-4, atol=1e-4)


@kernels_only
def test_what_does_not_fit_a_tile_takes_the_other_path():
    capsules, weight, _ = case(2, 3, 130, 2, 4)
    assert routing.kernels_for(capsules, weight) is None
    assert routing.kernels_for(capsules.double(), weight[:, :8]) is None
    assert routing.route(capsules, weight, 2).shape == (2, 2, 4)
