"""The arithmetic of capsules as pure functions of tensors.

Symbols follow Sabour, Frosst and Hinton, *Dynamic Routing Between Capsules* (2017): u are the outputs
of the capsules below (I of them, d-dimensional), W_ij their transformation matrices, u_hat the
prediction vectors, b the routing logits, c the coupling coefficients, s_j the total input of an output
capsule (J of them, D-dimensional) and v_j = squash(s_j) its output.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision tensors as float32 and all others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def lengths(capsules: Tensor, dim: int = -1) -> Tensor:
    """Return the Euclidean lengths of capsules: (..., D) -> (...), each at least 0.

    Half precision is computed and returned in float32. The gradient at a zero vector is zero.
    """
    result: Tensor = torch.linalg.vector_norm(at_least_float32(capsules), dim=dim)
    return result


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shrink vectors to a length below 1 and keep their direction (Sabour et al., Eq. 1).

    v = ||s||^2 / (1 + ||s||^2) * s / ||s||, written as s * ||s|| / (1 + ||s||^2) so that a zero vector
    and its gradient are zero instead of NaN.

    Parameters
    ----------
    s : Tensor of shape (..., D, ...)
        Total inputs, of any floating type; D is the axis `dim`.
    dim : int
        The axis that holds a capsule's components.

    Returns
    -------
    Tensor of the shape and type of `s`, with lengths in [0, 1).
    """
    wide = at_least_float32(s)
    norm: Tensor = torch.linalg.vector_norm(wide, dim=dim, keepdim=True)
    return (wide * (norm / (1 + norm * norm))).to(s.dtype)


def length_logits(s: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Return the logit of the length of squash(s): (..., D) -> (...).

    ||squash(s)|| = ||s||^2 / (1 + ||s||^2) = sigmoid(ln ||s||^2), so ln(||s||^2 + epsilon) makes the
    capsule's length the probability that any objective on logits works with.
    """
    wide = at_least_float32(s)
    return torch.log((wide * wide).sum(dim=-1) + epsilon)


def dynamic_routing(predictions: Tensor, iterations: int = 3) -> Tensor:
    """Route prediction vectors to output capsules by agreement (Sabour et al., Procedure 1).

    Parameters
    ----------
    predictions : Tensor of shape (B, I, J, D)
        u_hat[b, i, j] is what input capsule i predicts for output capsule j.
    iterations : int
        Number of routing iterations, at least 1. One iteration couples uniformly.

    Returns
    -------
    Tensor of shape (B, J, D) : v, with lengths in [0, 1).

    Raises
    ------
    ValueError
        If `predictions` has not four axes or `iterations` is below 1.

    Notes
    -----
    See `routed_total_input` for how gradients flow.
    """
    return squash(routed_total_input(predictions, iterations))


def routed_total_input(predictions: Tensor, iterations: int = 3) -> Tensor:
    """Return s of the last routing iteration: (B, I, J, D) -> (B, J, D).

    The coupling coefficients are a softmax over the output capsules and are constants to the gradient:
    they are what routing determined, and the loss is differentiated at these couplings. (Backpropagation
    through all iterations, as in the code that the authors published, costs three times as much.)
    With one output capsule they are identically 1 and the result is the plain sum over inputs.
    """
    check_routing(predictions, iterations)
    constant = at_least_float32(predictions.detach())
    logits = constant.new_zeros(constant.shape[:3])  # b: (B, I, J)
    for _ in range(iterations - 1):
        couplings = logits.softmax(dim=2)  # c: (B, I, J)
        v = squash(torch.einsum("bij,bijd->bjd", couplings, constant))
        logits = logits + torch.einsum("bijd,bjd->bij", constant, v)
    couplings = logits.softmax(dim=2)
    return torch.einsum("bij,bijd->bjd", couplings, at_least_float32(predictions))


def attentive_total_input(predictions: Tensor, iterations: int = 3) -> Tensor:
    """Return s of capsules whose couplings are a softmax over their INPUTS: (B, I, J, D) -> (B, J, D).

    Not the routing of Sabour et al.: inputs compete for an output, as in attention, so it does something
    with one output too. Couplings are I times the softmax, so that uniform ones are 1 as with one routed
    output, and constants to the gradient. Iterations and errors as in `routed_total_input`.
    """
    check_routing(predictions, iterations)
    constant = at_least_float32(predictions.detach())
    logits = constant.new_zeros(constant.shape[:3])  # b: (B, I, J)
    inputs = constant.shape[1]
    for _ in range(iterations - 1):
        v = squash(torch.einsum("bij,bijd->bjd", inputs * logits.softmax(dim=1), constant))
        logits = logits + torch.einsum("bijd,bjd->bij", constant, v)
    return torch.einsum("bij,bijd->bjd", inputs * logits.softmax(dim=1), at_least_float32(predictions))


def check_routing(predictions: Tensor, iterations: int) -> None:
    """Raise ValueError if prediction vectors are not (B, I, J, D), or there is no iteration."""
    if predictions.dim() != 4:
        raise ValueError(
            "The 'predictions' parameter of dynamic_routing must have shape (batch, inputs, outputs, "
            f"dimension). Got {tuple(predictions.shape)} instead."
        )
    if iterations < 1:
        raise ValueError(
            f"The 'iterations' parameter of dynamic_routing must be at least 1. Got {iterations} instead."
        )


def margin_loss(
    lengths: Tensor,
    targets: Tensor,
    m_plus: float = 0.9,
    m_minus: float = 0.1,
    down_weight: float = 0.5,
) -> Tensor:
    """Return the margin loss of capsule lengths (Sabour et al., Eq. 4; Jaiswal et al., Eq. 2).

    L = T max(0, m_plus - length)^2 + down_weight (1 - T) max(0, length - m_minus)^2, summed over the
    capsules and averaged over the batch.

    Parameters
    ----------
    lengths : Tensor of shape (B, K)
        Lengths of K capsules, in [0, 1].
    targets : Tensor of shape (B, K)
        T: 1 where the capsule's entity is present, else 0.
    m_plus, m_minus : float
        A present entity costs nothing above `m_plus`, an absent one nothing below `m_minus`.
    down_weight : float
        The weight of absent entities (lambda).

    Returns
    -------
    Tensor : a scalar.

    Raises
    ------
    ValueError
        If the two shapes differ or are not (B, K).
    """
    if lengths.shape != targets.shape or lengths.dim() != 2:
        raise ValueError(
            "The 'lengths' and 'targets' parameters of margin_loss must have one shape (batch, capsules). "
            f"Got {tuple(lengths.shape)} and {tuple(targets.shape)} instead."
        )
    wide = at_least_float32(lengths)
    present = targets * (m_plus - wide).clamp(min=0) ** 2
    absent = down_weight * (1 - targets) * (wide - m_minus).clamp(min=0) ** 2
    return (present + absent).sum(dim=1).mean()
