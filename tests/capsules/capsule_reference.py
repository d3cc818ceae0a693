"""Slow, literal NumPy transcriptions of Sabour et al. (2017) and Jaiswal et al. (2018)."""

from __future__ import annotations

import math

import numpy as np


def squash(s: np.ndarray) -> np.ndarray:
    """Eq. 1 for one vector: ||s||^2 / (1 + ||s||^2) * s / ||s||."""
    squared = sum(float(x) * float(x) for x in s)
    if squared == 0:
        return np.zeros(len(s))
    return np.array([squared / (1 + squared) * float(x) / math.sqrt(squared) for x in s])


def softmax(b: np.ndarray) -> np.ndarray:
    """Eq. 3 for the routing logits of one input capsule."""
    exponentials = [math.exp(x - max(b)) for x in b]
    return np.array([x / sum(exponentials) for x in exponentials])


def routing(u_hat: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Procedure 1 for one sample: u_hat (I, J, D) -> v (J, D) and the last couplings c (I, J)."""
    inputs, outputs, dimension = u_hat.shape
    b = np.zeros((inputs, outputs))
    for _ in range(iterations):
        c = np.array([softmax(b[i]) for i in range(inputs)])
        v = np.zeros((outputs, dimension))
        for j in range(outputs):
            s_j = np.zeros(dimension)
            for i in range(inputs):
                s_j += c[i, j] * u_hat[i, j]
            v[j] = squash(s_j)
        for i in range(inputs):
            for j in range(outputs):
                b[i, j] += float(np.dot(u_hat[i, j], v[j]))
    return v, c


def margin_loss(
    lengths: np.ndarray, targets: np.ndarray, m_plus: float, m_minus: float, down_weight: float
) -> float:
    """Eq. 4 of Sabour et al., Eq. 2 of Jaiswal et al.: summed over capsules, averaged over the batch."""
    total = 0.0
    for row, wanted in zip(lengths, targets, strict=True):
        for length, target in zip(row, wanted, strict=True):
            total += target * max(0.0, m_plus - length) ** 2
            total += down_weight * (1 - target) * max(0.0, length - m_minus) ** 2
    return total / len(lengths)
