"""Squash where it counts: on the capsules of a feature map, and on what routing leaves.

On a GPU with Triton one kernel does it, and one its gradient. Written out they are a dozen passes over the
capsules, which take longer than the convolution that made them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from capsulegan.capsules.functional import at_least_float32, squash
from capsulegan.capsules.routing import runs_triton


def squashed_map(features: Tensor, dim: int) -> Tensor:
    """Return the capsules of a map: (B, kinds * dim, H, W) -> (B, kinds * H * W, dim), of the same type.

    A capsule's components are `dim` neighbouring channels at one place; lengths are in [0, 1).
    """
    if squashing_kernels(features, dim):
        capsules: Tensor = SquashedMap.apply(features, dim)  # type: ignore[no-untyped-call]
        return capsules
    return squash(cut(features, dim))


def squashed(s: Tensor) -> Tensor:
    """Return squash(s) of the total inputs of a layer: (B, J, D) -> (B, J, D)."""
    one_place = s.flatten(1)[:, :, None, None]  # (B, J * D, 1, 1)
    return squashed_map(one_place, s.shape[2]) if squashing_kernels(one_place, s.shape[2]) else squash(s)


def squashing_kernels(features: Tensor, dim: int) -> ModuleType | None:
    """Return the module of Triton kernels if it can squash this map (B, kinds * dim, H, W), else None."""
    if torch.compiler.is_compiling() or not runs_triton(features.device):
        return None
    from capsulegan.capsules import fused_squash

    return fused_squash if fused_squash.squashes(features, dim) else None


def cut(features: Tensor, dim: int) -> Tensor:
    """Return the channels of a map as capsules: (B, kinds * dim, H, W) -> (B, kinds * H * W, dim)."""
    by_kind = features.unflatten(1, (-1, dim)).flatten(3)  # type: ignore[no-untyped-call]
    capsules: Tensor = by_kind.transpose(2, 3).flatten(1, 2)  # of (B, kinds, H * W, dim)
    return capsules


class SquashedMap(Function):
    """`squash(cut(features))` by kernels, with a gradient that can be differentiated."""

    @staticmethod
    def forward(features: Tensor, dim: int) -> Tensor:
        """(B, kinds * dim, H, W) -> (B, kinds * H * W, dim)."""
        from capsulegan.capsules.fused_squash import squash_fused

        return squash_fused(features, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        """Keep the map."""
        ctx.save_for_backward(inputs[0])
        ctx.dim = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the map: (B, kinds * H * W, dim) -> (B, kinds * dim, H, W)."""
        (features,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient penalty, this pass is itself differentiated
            of_capsules = squash_gradient(cut(features, ctx.dim), gradient)
            kinds = features.shape[1] // ctx.dim
            by_kind = of_capsules.unflatten(1, (kinds, -1))  # type: ignore[no-untyped-call]
            return by_kind.transpose(2, 3).reshape(features.shape), None
        from capsulegan.capsules.fused_squash import squash_gradient_fused

        return squash_gradient_fused(features, gradient.contiguous(), ctx.dim), None


def squash_gradient(s: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of s from that of v = squash(s), both (..., D), by differentiable operations.

    With n = ||s|| and f = n / (1 + n^2), v = f s: f g + f'(n) / n (s . g) s, and zero where s is.
    """
    wide, g = at_least_float32(s), at_least_float32(gradient)
    n: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    square = n * n
    slope = (1 - square) / ((1 + square) ** 2 * torch.where(n > 0, n, torch.ones_like(n)))
    return (n / (1 + square) * g + slope * (wide * g).sum(dim=-1, keepdim=True) * wide).to(s.dtype)
