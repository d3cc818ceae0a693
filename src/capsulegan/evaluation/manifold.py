"""Precision, recall, density and coverage of generated images, from neighbours among features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from capsulegan.errors import UserError

NEIGHBOURS = 5
"""Of a point; its ball reaches to the last of them (Naeem et al. 2020, section 4)."""
ROWS_AT_ONCE = 1000


class Manifold(NamedTuple):
    """How generated features lie among real ones."""

    precision: float
    """Share of generated points in the ball of some real point, in [0, 1] (Kynkaanniemi et al. 2019)."""
    recall: float
    """Share of real points in the ball of some generated point, in [0, 1]."""
    density: float
    """Balls of real points that a generated point lies in, over their number of neighbours; 1 is typical of
    real points, more is possible (Naeem et al. 2020, Eq. 4)."""
    coverage: float
    """Share of real points whose ball holds a generated point, in [0, 1] (Naeem et al. 2020, Eq. 5)."""


@torch.no_grad()
def manifold(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS) -> Manifold:
    """Compare two sets of features: (N, F) and (M, F).

    The ball of a point reaches to its `neighbours`-th nearest other point of its own set. Density and
    coverage compare fairly only at equal N and M.

    Raises
    ------
    UserError
        If a set has not more points than `neighbours`.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise UserError(
            f"precision and recall need more than {neighbours} images of each kind, "
            f"got {len(real)} and {len(generated)}"
        )
    real_radii, generated_radii = radii(real, neighbours), radii(generated, neighbours)
    precise, density, covered = 0, 0, torch.zeros(len(real), dtype=torch.bool)
    for block in torch.split(generated, ROWS_AT_ONCE):
        inside = torch.cdist(block, real) <= real_radii  # (rows, N)
        precise += int(inside.any(dim=1).sum())
        density += int(inside.sum())
        covered |= inside.any(dim=0)
    recalled = 0
    for block in torch.split(real, ROWS_AT_ONCE):
        recalled += int((torch.cdist(block, generated) <= generated_radii).any(dim=1).sum())
    return Manifold(
        precision=precise / len(generated),
        recall=recalled / len(real),
        density=density / (neighbours * len(generated)),
        coverage=float(covered.double().mean()),
    )


def radii(points: Tensor, neighbours: int) -> Tensor:
    """Return each point's distance to its `neighbours`-th nearest other one: (N, F) -> (N,)."""
    found = []
    for start in range(0, len(points), ROWS_AT_ONCE):
        block = points[start : start + ROWS_AT_ONCE]
        distances = torch.cdist(block, points)
        distances[torch.arange(len(block)), torch.arange(start, start + len(block))] = torch.inf
        found.append(distances.kthvalue(neighbours, dim=1).values)
    return torch.cat(found)
