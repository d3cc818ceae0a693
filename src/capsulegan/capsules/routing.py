"""Dynamic routing of a dense capsule layer without its prediction vectors.

The literal procedure keeps u_hat of shape (B, I, J, D), 47 MB for Sabour's last layer and 64 images, and
walks through it twice an iteration. It is not needed: routing logits after t iterations are

    b_ij = sum_t u_hat_ij . v_j^t = u_i . W_ij (v_j^1 + ... + v_j^t),

so that they need no state either, and the total input of an output is s_j = sum_i W_ij^T (c_ij u_i). Both
are matrix products for each output j, with the weights as they are stored and samples as columns. They are
done for a block of inputs at a time, all of it in the processor's cache. The first iteration couples
uniformly and is one product of all inputs with all weights. On a GPU with Triton, the kernels of `fused` do
the same, and need no copy of u.

Symbols are those of `functional`; here u has shape (I, d, B), c (J, I, B), s and v (J, D, B).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from capsulegan.capsules.functional import squash

CACHED_NUMBERS = 2**19
"""How many numbers the temporary of a block may have on a CPU: 2 MB of float32."""
NUMBERS = 2**26
"""The same elsewhere, where few large products are faster than many small ones: 256 MB."""


def route(capsules: Tensor, weight: Tensor, iterations: int) -> Tensor:
    """Return the total input of output capsules after routing by agreement.

    Equal to `routed_total_input` of the predictions, gradients too: the couplings are constants to the
    gradient, and to the gradient of the gradient.

    Parameters
    ----------
    capsules : Tensor of shape (B, I, d)
        u, in float32 or float64. Autocast changes nothing here.
    weight : Tensor of shape (I, d, J, D)
        W, of the same type.
    iterations : int
        Routing iterations, at least 2: one couples uniformly, which is a plain matrix product.

    Returns
    -------
    Tensor of shape (B, J, D) : s of the last iteration.
    """
    s, *_ = Routing.apply(capsules, weight, iterations)  # type: ignore[no-untyped-call]
    assert isinstance(s, Tensor)
    return s


class Routing(Function):
    """Routing with a backward pass of its own, which keeps u, W and c alone."""

    @staticmethod
    def forward(capsules: Tensor, weight: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return s, u and the last c: (B, I, d), (I, d, J, D) -> (B, J, D), (I, d, B), (J, I, B).

        The kernels take u as it comes, and leave that of the other layout empty.
        """
        with torch.autocast(capsules.device.type, enabled=False):
            if kernels := kernels_for(capsules, weight):
                s, couplings = kernels.route_fused(capsules.contiguous(), weight.contiguous(), iterations)
                return s, s.new_empty(0), couplings
            u, w = samples_last(capsules), by_output(weight)
            outputs = len(w)
            s = weight.flatten(2).flatten(0, 1).T @ u.flatten(0, 1) / outputs  # (J * D, B)
            s = s.view(outputs, -1, u.shape[2])
            v_sum = torch.zeros_like(s)
            couplings = u.new_empty(outputs, len(u), u.shape[2])
            for _ in range(iterations - 1):
                v_sum += squash(s, dim=1)
                s = torch.zeros_like(s)
                for u_i, w_i, c_i, votes in blocks(u, w, couplings):
                    torch.bmm(w_i, v_sum, out=votes.flatten(1, 2))
                    torch.softmax(votes.mul_(u_i).sum(dim=2), dim=0, out=c_i)
                    torch.mul(c_i.unsqueeze(2), u_i, out=votes)
                    torch.baddbmm(s, w_i.mT, votes.flatten(1, 2), out=s)
            return s.permute(2, 0, 1).contiguous(), u, couplings

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, ...]) -> None:
        """Keep what the backward pass needs."""
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # theirs would be large tensors of zeros
        ctx.save_for_backward(*inputs[:2], *output[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of u and W at the last couplings: (B, J, D) -> (B, I, d), (I, d, J, D)."""
        capsules, weight, u, couplings = ctx.saved_tensors
        assert gradients[0] is not None
        gradient = gradients[0].permute(1, 2, 0)  # (J, D, B)
        with torch.autocast(capsules.device.type, enabled=False):
            if torch.is_grad_enabled():  # for a gradient penalty, this pass is itself differentiated
                return *differentiable_gradients(capsules, weight, couplings, gradient), None
            if kernels := kernels_for(capsules, weight):
                tensors = capsules.contiguous(), weight.contiguous(), couplings, gradients[0].contiguous()
                return *kernels.gradients_fused(*tensors, ctx.needs_input_grad), None
            return *blocked_gradients(u, weight, couplings, gradient, ctx.needs_input_grad), None


def runs_triton(device: torch.device) -> bool:
    """Return whether Triton's kernels run on a device.

    They run on a CUDA device, or on a CPU under Triton's interpreter, which is for tests. Triton comes with
    PyTorch's builds for CUDA, on Linux.
    """
    asked_for = device.type == "cuda" or bool(os.environ.get("TRITON_INTERPRET"))
    return asked_for and importlib.util.find_spec("triton") is not None


def kernels_for(capsules: Tensor, weight: Tensor) -> ModuleType | None:
    """Return the module of Triton kernels if it can route u (B, I, d) by W (I, d, J, D), else None."""
    if not runs_triton(capsules.device):
        return None
    from capsulegan.capsules import fused

    return fused if fused.fits(capsules, weight) else None


def differentiable_gradients(
    capsules: Tensor, weight: Tensor, couplings: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of u and W by operations that can be differentiated in turn."""
    u, w, c = samples_last(capsules), by_output(weight), couplings.unsqueeze(2)
    weighted = (c * u).flatten(1, 2)  # (J, I * d, B)
    of_weight = (weighted @ gradient.mT).transpose(0, 1).reshape(weight.shape)
    of_capsules = (c * (w @ gradient).view(len(w), *u.shape)).sum(dim=0).permute(2, 0, 1)
    return of_capsules, of_weight


def blocked_gradients(
    u: Tensor, weight: Tensor, couplings: Tensor, gradient: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the same gradients, as far as needed, block by block."""
    w, gradient = by_output(weight), gradient.contiguous()
    inputs, dim, batch = u.shape
    of_capsules = u.new_empty(batch, inputs, dim) if needed[0] else None
    of_weight = weight.new_empty(weight.shape) if needed[1] else None
    first = 0
    for u_i, w_i, c_i, votes in blocks(u, w, couplings):
        block = slice(first, first + len(u_i))
        first += len(u_i)
        if of_weight is not None:
            torch.mul(c_i.unsqueeze(2), u_i, out=votes)
            torch.bmm(votes.flatten(1, 2), gradient.mT, out=by_output(of_weight[block]))
        if of_capsules is not None:
            torch.bmm(w_i, gradient, out=votes.flatten(1, 2))
            of_capsules[:, block] = votes.mul_(c_i.unsqueeze(2)).sum(dim=0).permute(2, 0, 1)
    return of_capsules, of_weight


def blocks(u: Tensor, w: Tensor, couplings: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Walk through u (I, d, B), w (J, I * d, D) and c (J, I, B) in blocks of inputs.

    Yields views of the three, and memory for one number for each output, input, component and sample of
    the block: (J, inputs of the block, d, B), the same each time.
    """
    inputs, dim, batch = u.shape
    numbers = CACHED_NUMBERS if u.device.type == "cpu" else NUMBERS
    size = min(inputs, max(1, numbers // (len(w) * dim * batch)))
    memory = u.new_empty(len(w), size, dim, batch)
    for first in range(0, inputs, size):
        u_i = u[first : first + size]
        end = first + len(u_i)
        yield u_i, w[:, first * dim : end * dim], couplings[:, first:end], memory[:, : len(u_i)]


def samples_last(capsules: Tensor) -> Tensor:
    """Return capsules with the batch as the innermost axis: (B, I, d) -> (I, d, B)."""
    return capsules.permute(1, 2, 0).contiguous()


def by_output(weight: Tensor) -> Tensor:
    """Return a view of weights as a matrix for each output: (I, d, J, D) -> (J, I * d, D)."""
    return weight.flatten(0, 1).transpose(0, 1)
