"""How labels spread. Imports no torch, so that the command line starts quickly."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Literal, get_args

from capsulegan.errors import UserError, unknown_name

Kernel = Literal["knn", "rbf", "local"]

REACH = 50
"""Neighbours that are found for every point: the most that a kernel may use."""

SCALE = 7
"""Which nearest other image is as far away as the `local` kernel's scale."""

FEWEST_SAMPLES = 6
"""Generated images that scores need: more than the neighbours that precision and recall look at."""


@dataclass(frozen=True)
class SpreadingSettings:
    """How labels spread."""

    kernel: Kernel = "knn"
    """knn: weight 1 to each of the nearest images. rbf: exp(-gamma d^2), d between pixels in [0, 1]. local:
    exp(-gamma d^2 / (s t)), s and t each image's distance to its 7th nearest other one (Zelnik-Manor and
    Perona, *Self-tuning spectral clustering*, 2004), so that sparse and dense regions count alike."""
    neighbours: int = 7
    """How many nearest images (itself among them, as in scikit-learn) a point is joined to, at most 50. The
    radial kernels too are cut off there; `dropped_weight` in the record bounds what rbf loses by it."""
    gamma: float = 0.1
    """Of the radial kernels."""
    alpha: float = 0.2
    """Share of its label that a point takes from its neighbours, in (0, 1)."""

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of its range."""
        if self.kernel not in get_args(Kernel):
            raise unknown_name("kernel", str(self.kernel), get_args(Kernel))
        if not 1 <= self.neighbours <= REACH:
            raise UserError(f"neighbours must be between 1 and {REACH}, got {self.neighbours}")
        if not 0 < self.gamma < float("inf"):
            raise UserError(f"gamma must be above 0 and finite, got {self.gamma}")
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha must be between 0 and 1, got {self.alpha}")

    @property
    def reach(self) -> int:
        """How many nearest images to find: those that are joined, and the one that scales are from."""
        return max(self.neighbours, SCALE + 1) if self.kernel == "local" else self.neighbours


CANDIDATES = (
    *(SpreadingSettings("knn", count) for count in (7, REACH)),
    *(SpreadingSettings("rbf", REACH, gamma) for gamma in (0.03, 0.1, 0.3)),
    *(
        SpreadingSettings("local", count, gamma, alpha)
        for count, gamma, alpha in itertools.product((7, REACH), (3.0, 6.0), (0.2, 0.9))
    ),
)
"""What `Spreader.choose` chooses from."""


def described(settings: SpreadingSettings) -> dict[str, Any]:
    """Return the settings as a JSON object, without those that the kernel does not use."""
    document = dataclasses.asdict(settings)
    if settings.kernel == "knn":
        del document["gamma"]
    return document
