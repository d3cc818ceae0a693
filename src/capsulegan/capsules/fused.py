"""Dynamic routing on a GPU, in Triton kernels that never write a prediction vector to memory.

The same products as in `routing`, by tiles of inputs and samples: a program takes BLOCK_I inputs (with all d
components of each, which makes about 128 rows of u and W) and BLOCK_B samples, and goes through the outputs.
u_hat exists only as a tile's agreement W_ij v_j. Each pass of the routing is one launch over all tiles, so
that it fills the device; the parts of s that it leaves are summed in a fixed order, so that results repeat
themselves bit for bit, which atomic additions would not. Sums are in float32 whatever the inputs are, and
tensor cores take each float32 factor as three of TF32, which is nearly as exact as float32.

Symbols and layouts are those of `routing`: u (I, d, B), c (J, I, B), s, v and gradients (J, D, B); the weight
is (I, d, J, D) as it is stored. Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from capsulegan.capsules.functional import squash

ROWS = 128
"""Rows of u and W in a tile."""
SAMPLES = 32
"""Samples in a tile."""
WARPS = 8
"""Warps of a program. With four, a routing pass over capsules of 8 and 16 dimensions needs more registers
than a thread has on an H100 or H200, and spills 300 bytes (`tests/capsules/test_fused_compiles.py`)."""
SMALLEST = 16
"""Side of the smallest product of matrices that Triton makes."""
WIDEST = 128
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
        routing_pass[grid](u, weight, v_sum, couplings, partial, *numbers, **sizes, num_warps=WARPS)
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
        tensors = weight, couplings, gradient, of_capsules
        capsule_gradient[grid](*tensors, *numbers, **sizes, num_warps=WARPS)
    if of_weight is not None:
        tensors = u, couplings, gradient, of_weight
        weight_gradient[(chunks, outputs)](*tensors, *numbers, **sizes, num_warps=WARPS)
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
    """Return the rows (I * d) of a tile and whether each exists; a row is a component of an input."""
    row = tl.arange(0, BLOCK_I * BLOCK_D)
    i, k = chunk * BLOCK_I + row // BLOCK_D, row % BLOCK_D
    return i * dim + k, (i < inputs) & (k < dim)


@triton.jit
def over_components(  # type: ignore[no-untyped-def]
    c, BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_B: tl.constexpr
):
    """Return couplings repeated for each component of their input: (BLOCK_I, BLOCK_B) -> (rows, BLOCK_B)."""
    wide = tl.broadcast_to(c[:, None, :], (BLOCK_I, BLOCK_D, BLOCK_B))
    return tl.reshape(wide, (BLOCK_I * BLOCK_D, BLOCK_B))


@triton.jit
def routing_pass(  # type: ignore[no-untyped-def]
    u, weight, v_sum, couplings, partial, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Couple a tile's inputs by agreement with v_sum, and leave their part of s."""
    chunk = tl.program_id(0)
    b = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    e = tl.arange(0, BLOCK_E)
    i = chunk * BLOCK_I + tl.arange(0, BLOCK_I)
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    is_b, is_e, is_c = (b < batch)[None, :], e < out_dim, (i < inputs)[:, None] & (b < batch)[None, :]
    is_w = is_row[:, None] & is_e[None, :]
    tile_u = tl.load(u + row[:, None] * batch + b[None, :], is_row[:, None] & is_b, 0.0).to(tl.float32)
    at_w = weight + row[:, None] * (outputs * out_dim) + e[None, :]
    at_c = couplings + i[:, None] * batch + b[None, :]
    greatest = tl.full((BLOCK_I, BLOCK_B), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_I, BLOCK_B), tl.float32)
    for j in range(outputs):
        w_j = tl.load(at_w + j * out_dim, is_w, 0.0).to(tl.float32)
        at_v = v_sum + (j * out_dim + e)[:, None] * batch + b[None, :]
        v_j = tl.load(at_v, is_e[:, None] & is_b, 0.0)
        votes = tl.dot(w_j, v_j, input_precision="tf32x3") * tile_u
        logit = tl.sum(tl.reshape(votes, (BLOCK_I, BLOCK_D, BLOCK_B)), axis=1)
        tl.store(at_c + j * inputs * batch, logit, is_c)  # back in the second loop
        higher = tl.maximum(greatest, logit)
        total = total * tl.exp(greatest - higher) + tl.exp(logit - higher)
        greatest = higher
    tl.debug_barrier()  # a thread may read what another has stored
    for j in range(outputs):
        logit = tl.load(at_c + j * inputs * batch, is_c, 0.0)
        c_j = tl.exp(logit - greatest) / total
        tl.store(at_c + j * inputs * batch, c_j, is_c)
        coupled = over_components(c_j, BLOCK_I, BLOCK_D, BLOCK_B) * tile_u
        w_j = tl.load(at_w + j * out_dim, is_w, 0.0).to(tl.float32)
        s_j = tl.dot(tl.trans(w_j), coupled, input_precision="tf32x3")
        at_s = partial + ((chunk * outputs + j) * out_dim + e)[:, None] * batch + b[None, :]
        tl.store(at_s, s_j, is_e[:, None] & is_b)


@triton.jit
def capsule_gradient(  # type: ignore[no-untyped-def]
    weight, couplings, gradient, of_capsules, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_j c_ij W_ij g_j of a tile's inputs and samples."""
    chunk = tl.program_id(0)
    b = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    e = tl.arange(0, BLOCK_E)
    i = chunk * BLOCK_I + tl.arange(0, BLOCK_I)
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    is_b, is_e, is_c = (b < batch)[None, :], e < out_dim, (i < inputs)[:, None] & (b < batch)[None, :]
    found = tl.zeros((BLOCK_I * BLOCK_D, BLOCK_B), tl.float32)
    for j in range(outputs):
        at_w = weight + row[:, None] * (outputs * out_dim) + j * out_dim + e[None, :]
        w_j = tl.load(at_w, is_row[:, None] & is_e[None, :], 0.0).to(tl.float32)
        at_g = gradient + (j * out_dim + e)[:, None] * batch + b[None, :]
        g_j = tl.load(at_g, is_e[:, None] & is_b, 0.0)
        c_j = tl.load(couplings + (j * inputs + i)[:, None] * batch + b[None, :], is_c, 0.0)
        votes = tl.dot(w_j, g_j, input_precision="tf32x3")
        found += over_components(c_j, BLOCK_I, BLOCK_D, BLOCK_B) * votes
    at_u = of_capsules + row[:, None] + b[None, :] * (inputs * dim)
    tl.store(at_u, found.to(of_capsules.dtype.element_ty), is_row[:, None] & is_b)


@triton.jit
def weight_gradient(  # type: ignore[no-untyped-def]
    u, couplings, gradient, of_weight, inputs, dim, outputs, out_dim, batch,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_b c_ij u_i g_j^T of a tile's inputs and one output, all samples in a fixed order."""
    chunk, j = tl.program_id(0), tl.program_id(1)
    e = tl.arange(0, BLOCK_E)
    i = chunk * BLOCK_I + tl.arange(0, BLOCK_I)
    row, is_row = rows_of(chunk, inputs, dim, BLOCK_I, BLOCK_D)
    is_e = e < out_dim
    found = tl.zeros((BLOCK_I * BLOCK_D, BLOCK_E), tl.float32)
    for first in range(0, batch, BLOCK_B):
        b = first + tl.arange(0, BLOCK_B)
        is_b = (b < batch)[None, :]
        tile_u = tl.load(u + row[:, None] * batch + b[None, :], is_row[:, None] & is_b, 0.0).to(tl.float32)
        at_c = couplings + (j * inputs + i)[:, None] * batch + b[None, :]
        c_j = tl.load(at_c, (i < inputs)[:, None] & is_b, 0.0)
        at_g = gradient + (j * out_dim + e)[:, None] * batch + b[None, :]
        g_j = tl.load(at_g, is_e[:, None] & is_b, 0.0)
        coupled = over_components(c_j, BLOCK_I, BLOCK_D, BLOCK_B) * tile_u
        found += tl.dot(coupled, tl.trans(g_j), input_precision="tf32x3")
    at_w = of_weight + row[:, None] * (outputs * out_dim) + j * out_dim + e[None, :]
    tl.store(at_w, found.to(of_weight.dtype.element_ty), is_row[:, None] & is_e[None, :])
