"""The graph that labels spread over: points, their nearest neighbours, and how these are weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from capsulegan.evaluation.neighbours import Neighbours
from capsulegan.evaluation.settings import SCALE, SpreadingSettings


@dataclass(frozen=True)
class Graph:
    """Unlabelled, then labelled points, and their nearest neighbours among all of them."""

    points: Neighbours
    queries: Neighbours
    labelled: int

    def weights(self, settings: SpreadingSettings) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the kernel between points (N, N) and from queries to points (Q, N)."""
        size = len(self.points.indices)
        squares, across = self.points.distances, self.queries.distances
        if settings.kernel == "local":  # a point is its own nearest, a query is not among the points
            scales = scale(squares, SCALE)
            squares = squares / (scales[:, None] * scales[self.points.indices])
            across = across / (scale(across, SCALE - 1)[:, None] * scales[self.queries.indices])
        within = kernel_matrix(squares, self.points.indices, settings, size)
        if settings.kernel != "knn":  # a symmetric kernel stays one when it is cut off
            within = within.maximum(within.T)
        return within, kernel_matrix(across, self.queries.indices, settings, size)

    def dropped_weight(self, settings: SpreadingSettings) -> float:
        """Bound the share of weight that a cut-off radial kernel leaves out; 0 for the others.

        All points beyond the last neighbour weigh at most as much as that one each.
        """
        if settings.kernel != "rbf":
            return 0.0
        weights = (-settings.gamma * self.points.distances[:, : settings.neighbours].double()).exp()
        beyond = weights[:, -1] * (len(weights) - weights.shape[1])
        return float((beyond / (beyond + weights.sum(dim=1))).nan_to_num(1.0).mean())


def scale(squares: Tensor, place: int) -> Tensor:
    """Return the distance to the neighbour at a place, or to the last if there are fewer: (N, k) -> (N,)."""
    distances = squares[:, min(place, squares.shape[1] - 1)].double().sqrt()
    return distances.clamp(min=torch.finfo(torch.float32).tiny)  # equal images stay at distance 0


def kernel_matrix(
    squares: Tensor, indices: Tensor, settings: SpreadingSettings, size: int
) -> sparse.csr_array:
    """Return the weights of the nearest neighbours at such squared distances: sparse, (rows, size)."""
    count = min(settings.neighbours, indices.shape[1])
    rows = len(indices)
    if settings.kernel == "knn":
        weights = torch.ones(rows, count, dtype=torch.float64)
    else:
        weights = (-settings.gamma * squares[:, :count].double()).exp()
    ends = np.arange(0, rows * count + 1, count)
    columns = indices[:, :count].reshape(-1).cpu().numpy()
    return sparse.csr_array((weights.reshape(-1).cpu().numpy(), columns, ends), shape=(rows, size))
