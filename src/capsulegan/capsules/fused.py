"""Dynamic routing on a GPU, in Triton kernels that never write a prediction vector to memory.

The same products as in `routing`, by tiles of inputs and samples: a program takes BLOCK_I inputs
(with all d components of each, which makes about 64 rows of u and W) and BLOCK_B samples, and goes through
the outputs. u_hat exists only as a tile's agreement W_ij v_j. Each pass of the routing is one launch over all
tiles, so that it fills the device, and a small one that sums the parts of s which the tiles leave: in a fixed
order, so that results repeat themselves bit for bit, which atomic additions would not. Sums are in float32
whatever the inputs are.

In a tile samples go down and rows across, component by component: a thread of the tensor cores' layout then
holds all components of its inputs, and sums over them without asking another thread.

u (B, I, d) and W (I, d, J, D) are read, and s, v and gradients (B, J, D) and c (J, I, B) written, as they are
stored elsewhere. Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 64
"""Rows of u and W in a tile."""
SAMPLES = 32
"""Samples in a tile."""
WARPS = 2
"""Groups of 32 threads that work on a tile."""
HIGH = tl.constexpr(-(2**13))
"""Clears the bits of a float32 that tensor cores leave out."""
PARTS = 32
"""Parts of s that are loaded at once when they are summed."""
CAPSULES = 16
"""Output capsules of a program that sums."""
SMALLEST = 16
"""Side of the smallest product of matrices that Triton makes."""
WIDEST = 64
"""Largest d and D that a tile has room for."""


def fits(capsules: Tensor, weight: Tensor) -> bool:
    """Return whether the kernels can route these: u (B, I, d), W (I, d, J, D)."""
    inputs, dim, outputs, out_dim = weight.shape
    if max(dim, out_dim) > WIDEST or capsules.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    parts = triton.cdiv(inputs, tile(dim, out_dim)["BLOCK_I"])
    largest = max(parts * outputs * out_dim, outputs * inputs, inputs * dim) * len(capsules)
    return bool(max(weight.numel(), largest) < 2**31)  # addresses are 32-bit


def route_fused(capsules: Tensor, weight: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Route by agreement.

    Parameters
    ----------
    capsules : Tensor of shape (B, I, d)
        u, contiguous; float32, bf16 or float16.
    weight : Tensor of shape (I, d, J, D)
        Contiguous.
    iterations : int
        At least 2.

    Returns
    -------
    s (B, J, D) and the last couplings c (J, I, B), float32.
    """
    batch, inputs, dim = capsules.shape
    _, _, outputs, out_dim = weight.shape
    sizes = tile(dim, out_dim)
    parts = triton.cdiv(inputs, sizes["BLOCK_I"])
    s = capsules.new_empty(batch, outputs, out_dim, dtype=torch.float32)
    v_sum = torch.empty_like(s)
    couplings = s.new_empty(outputs, inputs, batch)
    partial = s.new_empty(parts, batch, outputs, out_dim)
    numbers = (inputs, outputs, batch)
    tiles, blocks = (parts, triton.cdiv(batch, SAMPLES)), (triton.cdiv(batch * outputs, CAPSULES),)
    for number in range(iterations):
        routed = number > 0  # the first couples uniformly
        routing_pass[tiles](capsules, weight, v_sum, couplings, partial, *numbers, ROUTED=routed, **sizes)
        sum_of_parts[blocks](
            partial, s, v_sum, parts, batch * outputs, OUT_DIM=out_dim, ADD=routed,
            BLOCK_P=PARTS, BLOCK_C=CAPSULES, BLOCK_E=sizes["BLOCK_E"],
        )  # fmt: skip
    return s, couplings


def gradients_fused(
    capsules: Tensor, weight: Tensor, couplings: Tensor, gradient: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of u and W at these couplings, as far as needed.

    Parameters
    ----------
    capsules, weight, couplings
        As in `route_fused`.
    gradient : Tensor of shape (B, J, D)
        Of s, contiguous, float32.
    needed : tuple of bool
        Whether the gradients of u and of W are.

    Returns
    -------
    (B, I, d) and (I, d, J, D), in the types of u and W.
    """
    batch, inputs, dim = capsules.shape
    _, _, outputs, out_dim = weight.shape
    sizes = tile(dim, out_dim)
    chunks = triton.cdiv(inputs, sizes["BLOCK_I"])
    numbers = (inputs, outputs, batch)
    of_capsules = torch.empty_like(capsules) if needed[0] else None
    of_weight = torch.empty_like(weight) if needed[1] else None
    if of_capsules is not None:
        grid = (chunks, triton.cdiv(batch, SAMPLES))
        capsule_gradient[grid](weight, couplings, gradient, of_capsules, *numbers, **sizes)
    if of_weight is not None:
        weight_gradient[(chunks, outputs)](capsules, couplings, gradient, of_weight, *numbers, **sizes)
    return of_capsules, of_weight


def tile(dim: int, out_dim: int) -> dict[str, int]:
    """Return the sizes of a tile for capsules of dimensions d and D, these, and the warps of its launch."""
    width = triton.next_power_of_2(dim)
    return {
        "DIM": dim,
        "OUT_DIM": out_dim,
        "BLOCK_I": max(1, ROWS // width),
        "BLOCK_D": width,
        "BLOCK_E": max(SMALLEST, triton.next_power_of_2(out_dim)),
        "BLOCK_B": SAMPLES,
        "num_warps": WARPS,
    }


@triton.jit
def rows_of(chunk, inputs, DIM: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the rows of u and W that a tile takes, first components first, and whether each exists."""
    place = tl.arange(0, BLOCK_D * BLOCK_I)
    i, k = chunk * BLOCK_I + place % BLOCK_I, place // BLOCK_I
    return i * DIM + k, (i < inputs) & (k < DIM)


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
    u, weight, v_sum, couplings, partial, inputs, outputs, batch,
    ROUTED: tl.constexpr, DIM: tl.constexpr, OUT_DIM: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Couple a tile's inputs by agreement with v_sum, uniformly if not ROUTED, and leave their part of s."""
    exact: tl.constexpr = weight.dtype.element_ty != tl.float32
    chunk = tl.program_id(0)
    b = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[None, :]
    e = tl.arange(0, BLOCK_E)[None, :]
    row, is_row = rows_of(chunk, inputs, DIM, BLOCK_I, BLOCK_D)
    is_u, is_w = (b < batch) & is_row[None, :], is_row[:, None] & (e < OUT_DIM)
    is_c, is_s = (b < batch) & (i < inputs), (b < batch) & (e < OUT_DIM)
    at_u = u + b * (inputs * DIM) + row[None, :]
    at_w = weight + row[:, None] * (outputs * OUT_DIM) + e
    at_c = couplings + i * batch + b
    at_s = b * (outputs * OUT_DIM) + e
    tile_u = tl.load(at_u, is_u, 0.0).to(tl.float32)
    greatest = tl.full((BLOCK_B, BLOCK_I), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_B, BLOCK_I), tl.float32)
    if ROUTED:
        for j in range(outputs):
            w_j = tl.load(at_w + j * OUT_DIM, is_w, 0.0).to(tl.float32)
            v_j = tl.load(v_sum + j * OUT_DIM + at_s, is_s, 0.0)
            votes = product(v_j, tl.trans(w_j), exact) * tile_u
            logit = tl.sum(tl.reshape(votes, (BLOCK_B, BLOCK_D, BLOCK_I)), axis=1)
            tl.store(at_c + j * inputs * batch, logit, is_c)  # back in the second loop
            higher = tl.maximum(greatest, logit)
            total = total * tl.exp(greatest - higher) + tl.exp(logit - higher)
            greatest = higher
        tl.debug_barrier()  # a thread may read what another has stored
        tile_u = tl.load(at_u, is_u, 0.0).to(tl.float32)  # once more, in the layout of the second product
    scale = 1.0 / (total if ROUTED else outputs)
    for j in range(outputs):
        if ROUTED:
            c_j = tl.exp(tl.load(at_c + j * inputs * batch, is_c, 0.0) - greatest) * scale
            tl.store(at_c + j * inputs * batch, c_j, is_c)
            wide = tl.broadcast_to(c_j[:, None, :], (BLOCK_B, BLOCK_D, BLOCK_I))
            coupled = tl.reshape(wide, (BLOCK_B, BLOCK_D * BLOCK_I)) * tile_u
        else:
            coupled = tile_u * scale
        w_j = tl.load(at_w + j * OUT_DIM, is_w, 0.0).to(tl.float32)
        part = partial + (chunk * batch * outputs + j) * OUT_DIM
        tl.store(part + at_s, product(coupled, w_j, exact), is_s)


@triton.jit
def sum_of_parts(  # type: ignore[no-untyped-def]
    partial, s, v_sum, parts, capsules, OUT_DIM: tl.constexpr, ADD: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Leave s, the sum of its parts (P, B * J, D), and squash(s), added to v_sum if ADD."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    e = tl.arange(0, BLOCK_E)
    at, is_s = c[:, None] * OUT_DIM + e[None, :], (c < capsules)[:, None] & (e < OUT_DIM)[None, :]
    found = tl.zeros((BLOCK_C, BLOCK_E), tl.float32)
    for first in range(0, parts, BLOCK_P):
        p = (first + tl.arange(0, BLOCK_P))[:, None, None]
        some = tl.load(partial + p * (capsules * OUT_DIM) + at[None], (p < parts) & is_s[None], 0.0)
        found += tl.sum(some, axis=0)
    tl.store(s + at, found, is_s)
    length = tl.sqrt(tl.sum(found * found, axis=1))
    v = found * (length / (1 + length * length))[:, None]
    if ADD:
        v += tl.load(v_sum + at, is_s, 0.0)
    tl.store(v_sum + at, v, is_s)


@triton.jit
def capsule_gradient(  # type: ignore[no-untyped-def]
    weight, couplings, gradient, of_capsules, inputs, outputs, batch,
    DIM: tl.constexpr, OUT_DIM: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_j c_ij W_ij g_j of a tile's inputs and samples."""
    exact: tl.constexpr = weight.dtype.element_ty != tl.float32
    chunk = tl.program_id(0)
    b = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[None, :]
    e = tl.arange(0, BLOCK_E)[None, :]
    row, is_row = rows_of(chunk, inputs, DIM, BLOCK_I, BLOCK_D)
    is_w, is_c = is_row[:, None] & (e < OUT_DIM), (b < batch) & (i < inputs)
    is_g = (b < batch) & (e < OUT_DIM)
    found = tl.zeros((BLOCK_B, BLOCK_D * BLOCK_I), tl.float32)
    for j in range(outputs):
        w_j = tl.load(weight + row[:, None] * (outputs * OUT_DIM) + j * OUT_DIM + e, is_w, 0.0)
        g_j = tl.load(gradient + (b * outputs + j) * OUT_DIM + e, is_g, 0.0)
        c_j = tl.load(couplings + (j * inputs + i) * batch + b, is_c, 0.0)
        wide = tl.broadcast_to(c_j[:, None, :], (BLOCK_B, BLOCK_D, BLOCK_I))
        votes = product(g_j, tl.trans(w_j.to(tl.float32)), exact)
        found += tl.reshape(wide, (BLOCK_B, BLOCK_D * BLOCK_I)) * votes
    at_u = of_capsules + b * (inputs * DIM) + row[None, :]
    tl.store(at_u, found.to(of_capsules.dtype.element_ty), (b < batch) & is_row[None, :])


@triton.jit
def weight_gradient(  # type: ignore[no-untyped-def]
    u, couplings, gradient, of_weight, inputs, outputs, batch,
    DIM: tl.constexpr, OUT_DIM: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Leave sum_b c_ij u_i g_j^T of a tile's inputs and one output, all samples in a fixed order."""
    chunk, j = tl.program_id(0), tl.program_id(1)
    i = (chunk * BLOCK_I + tl.arange(0, BLOCK_I))[:, None]
    e = tl.arange(0, BLOCK_E)[None, :]
    place = tl.arange(0, BLOCK_I * BLOCK_D)  # rows as they are stored: nothing is summed over components
    i_of, k = chunk * BLOCK_I + place // BLOCK_D, place % BLOCK_D
    row, is_row = i_of * DIM + k, (i_of < inputs) & (k < DIM)
    found = tl.zeros((BLOCK_I * BLOCK_D, BLOCK_E), tl.float32)
    for first in range(0, batch, BLOCK_B):
        b = first + tl.arange(0, BLOCK_B)
        down, across = b[:, None], b[None, :]
        is_u = is_row[:, None] & (across < batch)
        tile_u = tl.load(u + across * (inputs * DIM) + row[:, None], is_u, 0.0)
        c_j = tl.load(couplings + (j * inputs + i) * batch + across, (i < inputs) & (across < batch), 0.0)
        g_j = tl.load(gradient + (down * outputs + j) * OUT_DIM + e, (down < batch) & (e < OUT_DIM), 0.0)
        wide = tl.broadcast_to(c_j[:, None, :], (BLOCK_I, BLOCK_D, BLOCK_B))
        coupled = tl.reshape(wide, (BLOCK_I * BLOCK_D, BLOCK_B)) * tile_u.to(tl.float32)
        found += product(coupled, g_j, False)
    at_w = of_weight + row[:, None] * (outputs * OUT_DIM) + j * OUT_DIM + e
    tl.store(at_w, found.to(of_weight.dtype.element_ty), is_row[:, None] & (e < OUT_DIM))
