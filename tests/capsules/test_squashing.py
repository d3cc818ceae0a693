"""Squash by kernels beside the same written out: on a GPU, or under the interpreter."""

import pytest
import torch
from interpreter import DEVICE, assert_passes_under_the_interpreter, kernels_only, triton_only, without_gpu
from torch.autograd import gradcheck, gradgradcheck

from capsulegan.capsules.functional import squash
from capsulegan.capsules.squashing import (
    SquashedMap,
    cut,
    squash_gradient,
    squashed,
    squashed_map,
    squashing_kernels,
)

SHAPES = [(3, 2, 8, 7, 7), (2, 5, 3, 4, 6), (1, 1, 1, 1, 1), (4, 3, 16, 3, 5), (2, 16, 8, 8, 8)]


@triton_only
@without_gpu
def test_all_below_pass_under_the_interpreter():
    assert_passes_under_the_interpreter(__file__)


def feature_map(batch, kinds, dim, height, width, last=False, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, kinds * dim, height, width, generator=generator).to(DEVICE, dtype)
    return features.to(memory_format=torch.channels_last) if last else features


def test_a_capsule_is_neighbouring_channels_at_one_place():
    features = feature_map(2, 3, 4, 5, 6)
    capsules = cut(features, 4)
    for kind, row, column in [(0, 0, 0), (1, 2, 5), (2, 4, 3)]:
        wanted = features[:, 4 * kind : 4 * kind + 4, row, column]
        assert torch.equal(capsules[:, (kind * 5 + row) * 6 + column], wanted)


def test_the_gradient_of_squash_written_out_is_autograds_and_differentiable():
    s = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(6, 5, dtype=torch.float64)
    (wanted,) = torch.autograd.grad(squash(s), s, gradient)
    torch.testing.assert_close(squash_gradient(s, gradient), wanted)
    assert gradcheck(squash_gradient, (s, gradient.requires_grad_()))


@kernels_only
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_do_what_is_written_out(shape, last):
    features = feature_map(*shape, last).requires_grad_()
    found = squashed_map(features, shape[2])
    exact = features.detach().double().requires_grad_()
    wanted = squash(cut(exact, shape[2]))
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
    gradient = torch.randn(wanted.shape).to(DEVICE)
    (of_features,) = torch.autograd.grad(found, features, gradient)
    (of_exact,) = torch.autograd.grad(wanted, exact, gradient.double())
    assert of_features.stride() == features.stride()
    torch.testing.assert_close(of_features.double(), of_exact, rtol=1e-5, atol=1e-6)


@kernels_only
def test_half_precision_is_computed_in_float32_and_rounded_once():
    features = feature_map(3, 4, 8, 5, 5, last=True, dtype=torch.bfloat16).requires_grad_()
    found = squashed_map(features, 8)
    assert found.dtype == torch.bfloat16
    wide = features.detach().float().requires_grad_()
    wanted = squash(cut(wide, 8))
    torch.testing.assert_close(found, wanted.bfloat16(), rtol=1e-2, atol=1e-3)
    gradient = torch.randn(found.shape).to(DEVICE, torch.bfloat16)
    (of_features,) = torch.autograd.grad(found, features, gradient)
    (of_wide,) = torch.autograd.grad(wanted, wide, gradient.float())
    torch.testing.assert_close(of_features, of_wide.bfloat16(), rtol=1e-2, atol=1e-3)


@kernels_only
def test_a_layer_is_squashed_by_them_too():
    s = torch.randn(5, 3, 7).to(DEVICE).requires_grad_()
    found = squashed(s)
    assert type(found.grad_fn).__name__.startswith("SquashedMap")
    torch.testing.assert_close(found, squash(s))
    gradient = torch.randn_like(s)
    first, second = (torch.autograd.grad(v, s, gradient)[0] for v in (found, squash(s)))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


@kernels_only
def test_empty_capsules_have_no_gradient_but_a_finite_one():
    features = feature_map(2, 2, 4, 3, 3)
    features[0] = 0
    features.requires_grad_()
    capsules = squashed_map(features, 4)
    (gradient,) = torch.autograd.grad(capsules.sum(), features)
    assert (capsules[0] == 0).all()
    assert (gradient[0] == 0).all()
    assert gradient.isfinite().all()


@kernels_only
def test_a_gradient_penalty_goes_through_them():
    features = feature_map(2, 3, 4, 3, 2)

    def penalty_gradient(capsules_of):
        leaf = features.clone().requires_grad_()
        (slope,) = torch.autograd.grad(capsules_of(leaf).pow(3).sum(), leaf, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaf)[0]

    found = penalty_gradient(lambda leaf: SquashedMap.apply(leaf, 4))
    wanted = penalty_gradient(lambda leaf: squash(cut(leaf, 4)))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    exact = features.double().cpu().requires_grad_()
    assert gradgradcheck(lambda leaf: squash(cut(leaf, 4)), exact)


@kernels_only
def test_other_maps_are_written_out():
    features = feature_map(2, 2, 4, 4, 4)
    assert squashing_kernels(features, 4)
    others = (features.double(), features[:, :, ::2], features[:, :, :, ::2], features[:0])
    for other in others:
        assert not squashing_kernels(other, 4)
    assert not squashing_kernels(feature_map(1, 1, 65, 2, 2), 65)
