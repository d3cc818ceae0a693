"""Squash on a GPU, in Triton kernels that read a feature map as a convolution leaves it.

Computed in float32 whatever the map is, and rounded once. Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SQUASHED = 1024
"""Numbers of a program that squashes."""
WIDEST = 64
"""Largest dimension of capsules that are squashed here."""


def squashes(features: Tensor, dim: int) -> bool:
    """Return whether the kernels can cut a map (B, kinds * dim, H, W) into capsules and squash them."""
    _, channels, _, width = features.shape
    in_rows = features.stride(2) == width * features.stride(3)  # or an address is not one of a place
    dense = torch.empty_like(features, device="meta").stride() == features.stride()
    return bool(
        in_rows and dense and channels % dim == 0 and dim <= WIDEST and 0 < features.numel() < 2**31
        and features.dtype in (torch.float32, torch.bfloat16, torch.float16)
    )  # fmt: skip


def squash_fused(features: Tensor, dim: int) -> Tensor:
    """Return the squashed capsules of a map: (B, kinds * dim, H, W) -> (B, kinds * H * W, dim)."""
    batch, channels, height, width = features.shape
    capsules = features.new_empty(batch, channels // dim * height * width, dim)
    grid, numbers, sizes = squashing(features, dim)
    squash_kernel[grid](features, capsules, *numbers, **sizes)
    return capsules


def squash_gradient_fused(features: Tensor, gradient: Tensor, dim: int) -> Tensor:
    """Return the gradient of a map (B, kinds * dim, H, W) from that of its capsules, contiguous."""
    of_features = torch.empty_like(features)
    grid, numbers, sizes = squashing(features, dim)
    squash_gradient_kernel[grid](features, gradient, of_features, *numbers, **sizes)
    return of_features


def squashing(features: Tensor, dim: int) -> tuple[tuple[int], tuple[int, ...], dict[str, int]]:
    """Return the grid, the numbers and the sizes with which a map is squashed."""
    batch, channels, height, width = features.shape
    places, each = height * width, channels // dim * height * width
    numbers = (batch * each, each, places, features.stride(0), features.stride(1), features.stride(3))
    block_d = triton.next_power_of_2(dim)
    sizes = {"DIM": dim, "BLOCK_D": block_d, "BLOCK_C": SQUASHED // block_d}
    return (triton.cdiv(batch * each, sizes["BLOCK_C"]),), numbers, sizes


@triton.jit
def places_of(  # type: ignore[no-untyped-def]
    capsules, each, places, of_image, of_channel, of_place,
    DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Return where in a map, and where among all capsules, a program's capsules are, and which exist."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.arange(0, BLOCK_D)[None, :]
    i = c % each
    first = c // each * of_image + i // places * DIM * of_channel + i % places * of_place
    return first[:, None] + k * of_channel, c[:, None] * DIM + k, (c < capsules)[:, None] & (k < DIM)


@triton.jit
def squash_kernel(  # type: ignore[no-untyped-def]
    s, v, capsules, each, places, of_image, of_channel, of_place,
    DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Leave s ||s|| / (1 + ||s||^2) of a map's capsules."""
    at_s, at_v, exists = places_of(
        capsules, each, places, of_image, of_channel, of_place, DIM, BLOCK_D, BLOCK_C
    )
    x = tl.load(s + at_s, exists, 0.0).to(tl.float32)
    square = tl.sum(x * x, axis=1)[:, None]
    tl.store(v + at_v, (x * (tl.sqrt(square) / (1 + square))).to(v.dtype.element_ty), exists)


@triton.jit
def squash_gradient_kernel(  # type: ignore[no-untyped-def]
    s, gradient, of_s, capsules, each, places, of_image, of_channel, of_place,
    DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Leave f g + f'(n) / n (s . g) s where n = ||s|| and f = n / (1 + n^2)."""
    at_s, at_v, exists = places_of(
        capsules, each, places, of_image, of_channel, of_place, DIM, BLOCK_D, BLOCK_C
    )
    x = tl.load(s + at_s, exists, 0.0).to(tl.float32)
    g = tl.load(gradient + at_v, exists, 0.0).to(tl.float32)
    square = tl.sum(x * x, axis=1)[:, None]
    length = tl.sqrt(square)
    slope = (1 - square) / ((1 + square) * (1 + square) * tl.where(length > 0, length, 1.0))
    found = length / (1 + square) * g + slope * tl.sum(x * g, axis=1)[:, None] * x
    tl.store(of_s + at_s, found.to(of_s.dtype.element_ty), exists)
