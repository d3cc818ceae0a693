"""Semi-supervised classification of real test images, with a run's images or a control's unlabelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from capsulegan.data import ImageData
from capsulegan.errors import UserError
from capsulegan.evaluation.intervals import share
from capsulegan.evaluation.label_spreading import Spreader, flat_pixels
from capsulegan.evaluation.neighbours import neighbours
from capsulegan.evaluation.rows import ResultRow, result_row
from capsulegan.evaluation.settings import REACH, SpreadingSettings, described
from capsulegan.randomness import generator_for
from capsulegan.training.run import Run

LABELS = (100, 1000, 10000)
"""The numbers of labelled images in Tables 1 and 2 of Jaiswal et al. (2018)."""
VALIDATION = 5000
"""Labelled training images held out to choose the kernel with, at most; and never more than a sixth."""


@dataclass(frozen=True)
class View:
    """What images are compared by, where it is not their pixels."""

    name: str
    """Of the network that gives the features."""
    of: Callable[[np.ndarray], Tensor]
    """From images uint8 (N, H, W, C) to features (N, F)."""
    seen: dict[str, tuple[Tensor, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)
    """By the digest of a set, features (N, F) of its images, and which of them are known."""

    def of_some(self, data: ImageData, chosen: np.ndarray) -> Tensor:
        """Return the features of some images of a set, (C, F); those of each image are made once."""
        known = self.seen[data.digest][1] if data.digest in self.seen else np.zeros(len(data.images), bool)
        missing = np.unique(chosen[~known[chosen]])
        if len(missing):
            found = self.of(np.take(data.images, missing, axis=0))
            if data.digest not in self.seen:
                self.seen[data.digest] = found.new_empty(len(known), found.shape[1]), known
            self.seen[data.digest][0][torch.from_numpy(missing)] = found
            known[missing] = True
        return self.seen[data.digest][0][torch.from_numpy(chosen)]


@dataclass(frozen=True)
class Exam:
    """Which real images are labelled, which are tested, and which are held out to choose settings.

    `order` lists the training images so that any first n of them are balanced over the classes, and hold
    the first m < n.
    """

    train: ImageData
    test: ImageData
    labels: tuple[int, ...]
    order: np.ndarray
    seed: int
    settings: SpreadingSettings
    choose: bool
    view: View | None = None

    def points(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Return what images are compared by: themselves, or their features, which stay what they are."""
        return self.view.of(images) if self.view and isinstance(images, np.ndarray) else images

    def points_of(self, data: ImageData, chosen: np.ndarray) -> np.ndarray | Tensor:
        """Return what some images of a set are compared by."""
        return self.view.of_some(data, chosen) if self.view else np.take(data.images, chosen, axis=0)

    @property
    def held_out(self) -> np.ndarray:
        """Training images to choose settings with, drawn from those that are never labelled; or none."""
        count = min(VALIDATION, len(self.order) // 6) if self.choose else 0
        never_labelled = self.order[self.labels[-1] :]
        drawn = torch.randperm(len(never_labelled), generator=generator_for(self.seed, "held-out images"))
        return np.take(never_labelled, drawn[:count].numpy())

    def unlabelled(self, labelled: int) -> np.ndarray:
        """Return the training images that are neither among the first `labelled` nor held out."""
        rest = self.order[labelled:]
        return rest[~np.isin(rest, self.held_out)]


def prepare_exam(
    train: ImageData,
    test: ImageData,
    labels: Sequence[int] | None,
    seed: int,
    settings: SpreadingSettings,
    choose: bool,
    view: View | None = None,
) -> Exam:
    """Draw the labelled images by seed.

    Parameters
    ----------
    train, test : ImageData
        With labels.
    labels : sequence of int, optional
        Numbers of labelled images; those of the paper that the data has if not given.
    seed, settings, choose, view
        See `Exam`.

    Raises
    ------
    UserError
        If the data has no labels, or fewer labelled images than asked for.
    """
    if train.labels is None or test.labels is None:
        raise UserError(f"data must have labels to be classified, {train.name} has none")
    held_out = min(VALIDATION, len(train.images) // 6) if choose else 0
    most = len(train.images) - held_out - 1  # one image at least is left to be unlabelled
    wanted = tuple(sorted(set(labels))) if labels else tuple(n for n in LABELS if n <= most)
    least = len(train.classes)
    if not wanted or wanted[0] < least or wanted[-1] > most:
        raise UserError(f"labels must be between {least} (one a class) and {most} images, got {list(wanted)}")
    order = class_balanced_order(train.labels, seed)
    return Exam(train, test, wanted, order, seed, settings, choose, view)


def class_balanced_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a random order of images in which any first n are balanced over the classes.

    Within a class the order is random; the classes take turns, and a class that has run out is passed.
    """
    shuffled = torch.randperm(len(labels), generator=generator_for(seed, "labelled images")).numpy()
    by_class = labels[shuffled]
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = by_class == label
        turn[members] = np.arange(members.sum())
    return shuffled[np.lexsort((by_class, turn))]


def classify_generated(exam: Exam, run: Run, unlabelled: int) -> list[ResultRow]:
    """Return a run's errors, its images being the unlabelled ones."""
    images = run.sample(unlabelled, exam.seed)
    return spread(exam, run.config.model, lambda labelled: images)


def classify_controls(exam: Exam, unlabelled: int) -> list[ResultRow]:
    """Return the errors without which a run's mean nothing.

    `labelled-only` takes the label of the nearest labelled image, `noise` spreads labels over images of
    independent uniform pixels, `real` over real training images (the ceiling).
    """
    shape, generator = (unlabelled, *exam.train.images.shape[1:]), generator_for(exam.seed, "noise")
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()

    def real(labelled: int) -> np.ndarray | Tensor:
        return exam.points_of(exam.train, np.sort(exam.unlabelled(labelled)[-unlabelled:]))

    return [
        *nearest_labelled(exam),
        *spread(exam, "noise", lambda labelled: noise),
        *spread(exam, "real", real),
    ]


def nearest_labelled(exam: Exam) -> list[ResultRow]:
    """Return the errors of the nearest labelled image's label."""
    assert exam.train.labels is not None
    assert exam.test.labels is not None
    rows, queries = [], flat_pixels(exam.points_of(exam.test, np.arange(len(exam.test.images))))
    for n in exam.labels:
        started = time.monotonic()
        chosen = exam.order[:n]
        points = flat_pixels(exam.points_of(exam.train, chosen))
        nearest = neighbours(queries, points, 1).indices[:, 0].numpy()
        wrong = int((exam.train.labels[chosen][nearest] != exam.test.labels).sum())
        rows.append(error_row(exam, "labelled-only", wrong, {"labels": n, "unlabelled": 0}, started))
    return rows


def spread(exam: Exam, model: str, unlabelled_for: Callable[[int], np.ndarray | Tensor]) -> list[ResultRow]:
    """Return the errors of label spreading for each number of labelled images.

    The unlabelled images may come as what they are compared by. Neighbours among them are found once, as
    long as they stay the same. If settings are to be chosen, there are two errors for each number: with the
    exam's settings, and with those of least error on the held-out training images.
    """
    assert exam.train.labels is not None
    assert exam.test.labels is not None
    rows = []
    spreader: Spreader | None = None
    previous: np.ndarray | Tensor = np.empty(0)
    held_out = exam.held_out
    reach = REACH if exam.choose else exam.settings.reach
    parts = [
        exam.points_of(exam.train, held_out),
        exam.points_of(exam.test, np.arange(len(exam.test.images))),
    ]
    queries = torch.cat(parts) if exam.view else np.concatenate(parts)  # type: ignore[arg-type]
    for n in exam.labels:
        started = time.monotonic()
        images = unlabelled_for(n)
        if spreader is None or not np.array_equal(images, previous):
            spreader, previous = Spreader(exam.points(images), queries, reach), images
        chosen = exam.order[:n]
        known = (exam.points_of(exam.train, chosen), exam.train.labels[chosen])
        rows.append(spreading_row(exam, model, spreader, known, exam.settings, started))
        if exam.choose:
            started = time.monotonic()
            part = slice(0, len(held_out))
            settings = spreader.choose(*known, exam.train.labels[held_out], part)
            rows.append(spreading_row(exam, model, spreader, known, settings, started, chosen=True))
    return rows


def spreading_row(
    exam: Exam,
    model: str,
    spreader: Spreader,
    known: tuple[np.ndarray | Tensor, np.ndarray],
    settings: SpreadingSettings,
    started: float,
    chosen: bool = False,
) -> ResultRow:
    """Return the error on the test images, which are the last queries."""
    queries = slice(len(exam.held_out), None)
    found = spreader.error(*known, exam.test.labels, settings, queries)  # type: ignore[arg-type]
    recorded = {
        "labels": len(known[1]),
        "unlabelled": found.unlabelled,
        **described(settings),
        "chosen": chosen,
        "undecided": found.undecided,
        "dropped_weight": found.dropped_weight,
    }
    wrong = round(found.error.value * found.error.n)
    return error_row(exam, model, wrong, recorded, started)


def error_row(exam: Exam, model: str, wrong: int, settings: dict[str, object], started: float) -> ResultRow:
    """Return one error of the table 'classification', with its Wilson interval."""
    error = share(wrong, len(exam.test.images))
    seen = {"features": exam.view.name} if exam.view else {}
    return result_row(
        "classification",
        "label_spreading_error",
        model,
        exam.seed,
        error.value,
        error.n,
        {**settings, **seen, "low": error.low, "high": error.high},
        exam.test.digest,
        time.monotonic() - started,
    )
