"""Semi-supervised classification by label spreading, with generated images as the unlabelled ones.

Zhou et al., *Learning with local and global consistency* (2004), as scikit-learn implements it. What is
ours is the graph: exact neighbours by matrix products, those among the unlabelled images found once for
any number of labelled sets, and handed to scikit-learn as its kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from capsulegan.allocator import keep_freed_memory
from capsulegan.errors import UserError
from capsulegan.evaluation.graph import Graph
from capsulegan.evaluation.intervals import Share, share
from capsulegan.evaluation.neighbours import Neighbours, merged, neighbours
from capsulegan.evaluation.settings import CANDIDATES, REACH, Kernel, SpreadingSettings
from capsulegan.training.environment import resolved_device

EVERY = slice(None)


@dataclass(frozen=True)
class SpreadingError:
    """The error of a classification, and all that it depends on."""

    error: Share
    """Share of test images that are given a wrong label; undecided ones count as wrong."""
    labelled: int
    unlabelled: int
    undecided: int
    """Test images that no label reached."""
    settings: SpreadingSettings
    dropped_weight: float
    """Upper bound, averaged over points, of the share of kernel weight beyond the last neighbour."""


def label_spreading_error(
    generated: ArrayLike | Tensor,
    labelled: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    test: ArrayLike | Tensor,
    test_labels: ArrayLike | Tensor,
    *,
    kernel: Kernel = "knn",
    neighbours: int = 7,
    gamma: float = 0.1,
    alpha: float = 0.2,
) -> SpreadingError:
    """Return the test error when labels spread over generated images (Jaiswal et al. 2018, section 4.3).

    Parameters
    ----------
    generated : array of shape (N, ...)
        Unlabelled images: uint8, or floats in [0, 1].
    labelled, labels : arrays of shape (L, ...), (L,)
        Real labelled images and their classes, integers from 0.
    test, test_labels : arrays of shape (T, ...), (T,)
    kernel, neighbours, gamma, alpha
        See `SpreadingSettings`.

    Returns
    -------
    SpreadingError

    Raises
    ------
    UserError
        If shapes do not fit, a value is not finite, or a setting is out of range.
    """
    settings = SpreadingSettings(kernel, neighbours, gamma, alpha)
    spreader = Spreader(generated, test, reach=settings.reach)
    return spreader.error(labelled, labels, test_labels, settings)


class Spreader:
    """Unlabelled images and the images to classify, with the neighbours among them, found once.

    Parameters
    ----------
    unlabelled : array of shape (N, ...)
        uint8, or floats in [0, 1].
    queries : array of shape (Q, ...)
        Images to classify. They are not part of the graph.
    reach : int
        Neighbours that are found for each point: the most that settings may ask for.
    """

    def __init__(
        self, unlabelled: ArrayLike | Tensor, queries: ArrayLike | Tensor, reach: int = REACH
    ) -> None:
        keep_freed_memory()  # blocks of distances would be mapped and zeroed anew each time, half of the cost
        self.device = torch.device(resolved_device("auto"))
        self.unlabelled, self.queries, self.reach = self._pixels(unlabelled), self._pixels(queries), reach
        check_one_size(self.unlabelled, self.queries)
        self._among = neighbours(self.unlabelled, self.unlabelled, reach)
        self._from_queries = neighbours(self.queries, self.unlabelled, reach)

    def error(
        self,
        labelled: ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        query_labels: ArrayLike | Tensor,
        settings: SpreadingSettings,
        queries: slice = EVERY,
    ) -> SpreadingError:
        """Return the share of queries (all, or a slice) whose label is not found."""
        return self.errors(labelled, labels, query_labels, [settings], queries)[0]

    def answers(
        self, labelled: ArrayLike | Tensor, labels: ArrayLike | Tensor, settings: SpreadingSettings
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the labels of the queries (-1 where none came), and of unlabelled and labelled images."""
        return spread(self._graph(labelled, EVERY), labels, settings)

    def errors(
        self,
        labelled: ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        query_labels: ArrayLike | Tensor,
        candidates: Sequence[SpreadingSettings],
        queries: slice = EVERY,
    ) -> list[SpreadingError]:
        """Return the error with each of several settings, which share one graph."""
        graph = self._graph(labelled, queries)
        return [spread_error(graph, labels, query_labels, each) for each in candidates]

    def choose(
        self,
        labelled: ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        query_labels: ArrayLike | Tensor,
        queries: slice = EVERY,
        candidates: Sequence[SpreadingSettings] = CANDIDATES,
    ) -> SpreadingSettings:
        """Return the settings with the least error on the queries, which must be no test images."""
        errors = self.errors(labelled, labels, query_labels, candidates, queries)
        return min(errors, key=lambda each: each.error.value).settings

    def _pixels(self, images: ArrayLike | Tensor) -> Tensor:
        """Return images as rows on the device that distances are computed on."""
        return flat_pixels(images).to(self.device)

    def _graph(self, labelled: ArrayLike | Tensor, queries: slice) -> Graph:
        """Join the labelled images to the unlabelled ones, and to the queries."""
        points = self._pixels(labelled)
        check_one_size(self.unlabelled, points)
        count, reach = len(self.unlabelled), self.reach
        from_labelled = merged(
            neighbours(points, self.unlabelled, reach), neighbours(points, points, reach), count, reach
        )
        from_unlabelled = merged(self._among, neighbours(self.unlabelled, points, reach), count, reach)
        width = from_labelled.indices.shape[1]
        return Graph(
            points=Neighbours(
                torch.cat([from_unlabelled.distances[:, :width], from_labelled.distances]),
                torch.cat([from_unlabelled.indices[:, :width], from_labelled.indices]),
            ),
            queries=merged(
                Neighbours(self._from_queries.distances[queries], self._from_queries.indices[queries]),
                neighbours(self.queries[queries], points, reach),
                count,
                reach,
            ),
            labelled=len(points),
        )


def spread(
    graph: Graph, labels: ArrayLike | Tensor, settings: SpreadingSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spread labels over a graph; return those of its queries (-1 where none came) and of its points."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.semi_supervised import LabelSpreading

    given = class_numbers(labels, graph.labelled)
    total = len(graph.points.indices)
    within, across = graph.weights(settings)
    # scikit-learn sees points as row numbers and asks the kernel for their weights.
    rows = np.arange(total + len(graph.queries.indices), dtype=np.float64)[:, None]

    def kernel(first: NDArray[Any], second: NDArray[Any]) -> sparse.csr_array:
        return across.T if second[0, 0] == total else within

    known = np.concatenate([np.full(total - len(given), -1), given])
    model = LabelSpreading(kernel=kernel, alpha=settings.alpha)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        probabilities = model.fit(rows[:total], known).predict_proba(rows[total:])
    decided = np.isfinite(probabilities).all(axis=1)
    answers = np.where(decided, model.classes_[np.nan_to_num(probabilities).argmax(axis=1)], -1)
    return answers, model.transduction_


def spread_error(
    graph: Graph, labels: ArrayLike | Tensor, query_labels: ArrayLike | Tensor, settings: SpreadingSettings
) -> SpreadingError:
    """Return the share of a graph's queries whose label is not found."""
    wanted = class_numbers(query_labels, len(graph.queries.indices))
    answers, _ = spread(graph, labels, settings)
    return SpreadingError(
        error=share(int((answers != wanted).sum()), len(wanted)),
        labelled=graph.labelled,
        unlabelled=len(graph.points.indices) - graph.labelled,
        undecided=int((answers == -1).sum()),
        settings=settings,
        dropped_weight=graph.dropped_weight(settings),
    )


def flat_pixels(images: ArrayLike | Tensor) -> Tensor:
    """Return images as rows of float32, uint8 scaled to [0, 1] and floats as they are: (N, ...) -> (N, F)."""
    tensor = images if isinstance(images, Tensor) else torch.tensor(np.asarray(images))
    if tensor.dim() < 2 or len(tensor) == 0:
        raise UserError(f"images must have shape (N, ...) with N at least 1, got {tuple(tensor.shape)}")
    flat = tensor.flatten(1).float()
    if not tensor.is_floating_point():
        flat = flat / 255
    if not flat.isfinite().all():
        raise UserError("images must be finite, got NaN or infinity")
    return flat


def class_numbers(labels: ArrayLike | Tensor, count: int) -> NDArray[np.int64]:
    """Return labels as one integer of 0 or more for each of `count` images."""
    array = np.asarray(labels)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise UserError(
            f"labels must be one for each image, {count} integers of 0 or more; "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)


def check_one_size(first: Tensor, second: Tensor) -> None:
    """Raise UserError unless the rows of both have as many values."""
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"images must have one size, got {first.shape[1]} and {second.shape[1]} values an image"
        )
