"""How labels spread. Imports no torch, so that the command line starts quickly."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from capsulegan.errors import UserError

REACH = 50
"""Neighbours that are found for every point: the most that a kernel may use."""

FEWEST_SAMPLES = 6
"""Generated images that scores need: more than the neighbours that precision and recall look at."""


@dataclass(frozen=True)
class SpreadingSettings:
    """How labels spread."""

    kernel: Literal["knn", "rbf"] = "knn"
    """knn: weight 1 to each of the nearest images. rbf: exp(-gamma d^2), d between pixels in [0, 1]."""
    neighbours: int = 7
    """How many nearest images (itself among them, as in scikit-learn) a point is joined to, at most 50. The
    radial kernel too is cut off there; `dropped_weight` in the record bounds what that leaves out."""
    gamma: float = 0.1
    """Of the radial kernel."""
    alpha: float = 0.2
    """Share of its label that a point takes from its neighbours, in (0, 1)."""

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of its range."""
        if self.kernel not in ("knn", "rbf"):
            raise UserError(f"kernel must be knn or rbf, got {self.kernel!r}")
        if not 1 <= self.neighbours <= REACH:
            raise UserError(f"neighbours must be between 1 and {REACH}, got {self.neighbours}")
        if not 0 < self.gamma < float("inf"):
            raise UserError(f"gamma must be above 0 and finite, got {self.gamma}")
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha must be between 0 and 1, got {self.alpha}")


CANDIDATES = (
    *(SpreadingSettings("knn", count) for count in (7, REACH)),
    *(SpreadingSettings("rbf", count, gamma) for count in (7, 15, REACH) for gamma in (0.03, 0.1, 0.3)),
)
"""What `Spreader.choose` chooses from."""


def described(settings: SpreadingSettings) -> dict[str, Any]:
    """Return the settings as a JSON object, without those that the kernel does not use."""
    document = dataclasses.asdict(settings)
    if settings.kernel == "knn":
        del document["gamma"]
    return document
