"""Dynamic routing on a GPU, in Triton kernels that never write a prediction vector to memory.

The same products as in `routing`, by tiles of inputs and samples: a program takes BLOCK_I inputs (with all d
components of each, which makes about 64 rows of u and W) and BLOCK_B samples, and goes through the outputs.
u_hat exists only as a tile's agreement W_ij v_j. Each pass of the routing is one launch over all tiles, so
that it fills the device; the parts of s that it leaves are summed in a fixed order, so that results repeat
themselves bit for bit, which atomic additions would not. Sums are in float32 whatever the inputs are.

In a tile samples go down and rows across, component by component: a thread of the tensor cores' layout then
holds all components of its inputs, and sums over them without asking another thread.

Symbols and layouts are those of `routing`: u (I, d, B), c (J, I, B), s, v and gradients (J, D, B); the weight
is (I, d, J, D) as it is stored. Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from capsulegan.capsules.functional import squash

ROWS = 64
"""Rows of u and W in a tile."""
SAMPLES = 64
"""Samples in a tile."""
HIGH = tl.constexpr(-(2**13))
"""Clears the bits of a float32 that tensor cores leave out."""
SMALLEST = 16
"""Side of the smallest product of matrices that Triton makes."""
WIDEST = 64
"""Largest d and D that a tile has room for."""


def fits(capsules: Tensor, weight: Tensor) -> bool:
    """Return whether the kernels can route these: u (B, I, d), W (I, d, J, D)."""
    inputs, dim, outputs, out_dim = weight.shape
    numbers = max(weight.numel(), capsules.numel(), outputs * inputs * len(capsules))
    small = max(dim, out_dim) <= WIDEST and numbers < 2**31  # addresses are 32-bit
    return small and capsules.dtype in (torch.float32, torch.bfloat16, torch.float16)


def route_fused(u: Tensor, weight: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Route by agreement.

    Parameters
    ----------
    u : Tensor of shape (I, d, B)
        Capsules below, contiguous; float32, bf16 or float16.
    weight : Tensor of shape (I, d, J, D)
        Contiguous.
    iterations : int
        At least 2.

    Returns
    -------
    s (J, D, B) and the last couplings c (J, I, B), float32.
    """
    inputs, dim, batch = u.shape
    _, _, outputs, out_dim = weight.shape
    numbers = (inputs, dim, outputs, out_dim, batch)
    sizes = tile(dim, out_dim)
    chunks = triton.cdiv(inputs, sizes["BLOCK_I"])
    couplings = u.new_empty(outputs, inputs, batch, dtype=torch.float32)
    partial = u.new_empty(chunks, outputs, out_dim, batch, dtype=torch.float32)
    s = (weight.flatten(2).flatten(0, 1).T @ u.flatten(0, 1)).float() / outputs
    s = s.view(outputs, out_dim, batch)
    v_sum = torch.zeros_like(s)
    for _ in range(iterations - 1):
        v_sum += squash(s, dim=1)
        grid = (chunks, triton.cdiv(batch, SAMPLES))
        routing_pass[grid](u, weight, v_sum, couplings, partial, *numbers, **sizes)
        s = partial.sum(dim=0)
    return s, couplings


def gradients_fused(
    u: Tensor, weight: Tensor, couplings: Tensor, gradient: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of u and W at these couplings, as far as needed.

    Parameters
    ----------
    u, weight, couplings
        As in `route_fused`.
    gradient : Tensor of shape (J, D, B)
        Of s, contiguous, float32.
    needed : tuple of bool
        Whether the gradients of u and of W are.

    Returns
    -------
    (B, I, d) and (I, d, J, D), in the types of u and W.
    """
    inputs, dim, batch = u.shape
    _, _, outputs, out_dim = weight.shape
    sizes = tile(dim, out_dim)
    chunks = triton.cdiv(inputs, sizes["BLOCK_I"])
    numbers = (inputs, dim, outputs, out_dim, batch)
    of_capsules = u.new_empty(batch, inputs, dim) if needed[0] else None
    of_weight = torch.empty_like(weight) if needed[1] else None
    if of_capsules is not None:
        grid = (chunks, triton.cdiv(batch, SAMPLES))
        capsule_gradient[grid](weight, couplings, gradient, of_capsules, *numbers, **sizes)
    if of_weight is not None:
        weight_gradient[(chunks, outputs)](u, couplings, gradient, of_weight, *numbers, **sizes)
    return of_capsules, of_weight


def tile(dim: int, out_dim: int) -> dict[str, int]:
    """Return the sizes of a tile for capsules of dimensions d and D."""
    width = triton.next_power_of_2(dim)
    return {
        "BLOCK_I": max(1, ROWS // width),
        "BLOCK_D": width,
        "BLOCK_E": max(SMALLEST, triton.next_power_of_2(out_dim)),
        "BLOCK_B": SAMPLES,
    }


@triton.jit
def rows_of(chunk, inputs, dim, BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the rows of u and W that a tile takes, first components first, and whether each exists."""
    place = tl.arange(0, BLOCK_D * BLOCK_I)
    i, k = chunk * BLOCK_I + place % BLOCK_I, place // BLOCK_I
    return i * dim + k, (i < inputs) & (k < dim)


@triton.jit
def product(a, b, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return a @ b on tensor cores nearly as exactly as in float32.

    They take 11 bits of each factor, so a factor is the sum of two, and the product that of three; of two, if
    b has no more than 11 bits to begin with (EXACT).
    """
    a_high = (a.to(tl.int32, bitcast=True) & HIGH).to(tl.float32, bitcast=True)
    if EXACT:
        found = tl.dot(a - a_high, b, input_precision="tf32")
        return tl.dot(a_high, b, found, input_precision="tf32")
    b_high = (b.to(tl.int32, bitcast=True) & HIGH).to(tl.float32, bitcast=True)
    found = tl.dot(a - a_high, b_high, input_precision="tf32")
    found = tl.dot(a_high, b - b_high, found, input_precision="tf32")
    return tl.dot(a_high, b_high, found, input_precision="tf32")


@triton.jit
def routing_pass(  # type: ignore[no-untyped-def]
    u, weight, v_sum, couplings, partial, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Couple a tile's inputs by agreement with v_sum, and leave their part of s."""
    exact: tl.constexpr = weight.dtype.element_ty != tl.float32
    chunk = tl.program_id(0)
    b = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[None, :]
    e = tl.arange(0, BLOCK_E)[None, :]
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    is_u, is_w = (b < batch) & is_row[None, :], is_row[:, None] & (e < out_dim)
    is_c, is_v = (b < batch) & (i < inputs), (b < batch) & (e < out_dim)
    at_u = u + row[None, :] * batch + b
    at_w = weight + row[:, None] * (outputs * out_dim) + e
    at_c = couplings + i * batch + b
    tile_u = tl.load(at_u, is_u, 0.0).to(tl.float32)
    greatest = tl.full((BLOCK_B, BLOCK_I), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_B, BLOCK_I), tl.float32)
    for j in range(outputs):
        w_j = tl.load(at_w + j * out_dim, is_w, 0.0).to(tl.float32)
        v_j = tl.load(v_sum + (j * out_dim + e) * batch + b, is_v, 0.0)
        votes = product(v_j, tl.trans(w_j), exact) * tile_u
        logit = tl.sum(tl.reshape(votes, (BLOCK_B, BLOCK_D, BLOCK_I)), axis=1)
        tl.store(at_c + j * inputs * batch, logit, is_c)  # back in the second loop
        higher = tl.maximum(greatest, logit)
        total = total * tl.exp(greatest - higher) + tl.exp(logit - higher)
        greatest = higher
    tl.debug_barrier()  # a thread may read what another has stored
    scale = 1.0 / total
    tile_u = tl.load(at_u, is_u, 0.0).to(tl.float32)  # once more, in the layout of the second product
    for j in range(outputs):
        logit = tl.load(at_c + j * inputs * batch, is_c, 0.0)
        c_j = tl.exp(logit - greatest) * scale
        tl.store(at_c + j * inputs * batch, c_j, is_c)
        wide = tl.broadcast_to(c_j[:, None, :], (BLOCK_B, BLOCK_D, BLOCK_I))
        coupled = tl.reshape(wide, (BLOCK_B, BLOCK_D * BLOCK_I)) * tile_u
        w_j = tl.load(at_w + j * out_dim, is_w, 0.0).to(tl.float32)
        at_s = partial + ((chunk * outputs + j) * out_dim + e) * batch + b
        tl.store(at_s, product(coupled, w_j, exact), is_v)


@triton.jit
def capsule_gradient(  # type: ignore[no-untyped-def]
    weight, couplings, gradient, of_capsules, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_j c_ij W_ij g_j of a tile's inputs and samples."""
    exact: tl.constexpr = weight.dtype.element_ty != tl.float32
    chunk = tl.program_id(0)
    b = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[None, :]
    e = tl.arange(0, BLOCK_E)[None, :]
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    is_w, is_c, is_g = (
        is_row[:, None] & (e < out_dim),
        (b < batch) & (i < inputs),
        (b < batch) & (e < out_dim),
    )
    found = tl.zeros((BLOCK_B, BLOCK_D * BLOCK_I), tl.float32)
    for j in range(outputs):
        w_j = tl.load(weight + row[:, None] * (outputs * out_dim) + j * out_dim + e, is_w, 0.0)
        g_j = tl.load(gradient + (j * out_dim + e) * batch + b, is_g, 0.0)
        c_j = tl.load(couplings + (j * inputs + i) * batch + b, is_c, 0.0)
        wide = tl.broadcast_to(c_j[:, None, :], (BLOCK_B, BLOCK_D, BLOCK_I))
        votes = product(g_j, tl.trans(w_j.to(tl.float32)), exact)
        found += tl.reshape(wide, (BLOCK_B, BLOCK_D * BLOCK_I)) * votes
    at_u = of_capsules + row[None, :] + b * (inputs * dim)
    tl.store(at_u, found.to(of_capsules.dtype.element_ty), (b < batch) & is_row[None, :])


@triton.jit
def weight_gradient(  # type: ignore[no-untyped-def]
    u, couplings, gradient, of_weight, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_b c_ij u_i g_j^T of a tile's inputs and one output, all samples in a fixed order."""
    chunk, j = tl.program_id(0), tl.program_id(1)
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[:, None]
    e = tl.arange(0, BLOCK_E)[None, :]
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    found = tl.zeros((BLOCK_D * BLOCK_I, BLOCK_E), tl.float32)
    for first in range(0, batch, BLOCK_B):
        b = first + tl.arange(0, BLOCK_B)
        down, across = b[:, None], b[None, :]
        tile_u = tl.load(u + row[:, None] * batch + across, is_row[:, None] & (across < batch), 0.0)
        c_j = tl.load(couplings + (j * inputs + i) * batch + across, (i < inputs) & (across < batch), 0.0)
        g_j = tl.load(gradient + (j * out_dim + e) * batch + down, (down < batch) & (e < out_dim), 0.0)
        wide = tl.broadcast_to(c_j[None, :, :], (BLOCK_D, BLOCK_I, BLOCK_B))
        coupled = tl.reshape(wide, (BLOCK_D * BLOCK_I, BLOCK_B)) * tile_u.to(tl.float32)
        found += product(coupled, g_j, False)
    at_w = of_weight + row[:, None] * (outputs * out_dim) + j * out_dim + e
    tl.store(at_w, found.to(of_weight.dtype.element_ty), is_row[:, None] & (e < out_dim))
