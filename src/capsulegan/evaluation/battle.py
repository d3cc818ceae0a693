"""Battles between runs: the Generative Adversarial Metric of every pair."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from capsulegan.data import ImageData
from capsulegan.errors import UserError
from capsulegan.evaluation.metric import (
    PAPER_THRESHOLD,
    TOLERANCE,
    Battle,
    balanced_threshold,
    generative_adversarial_metric,
)
from capsulegan.evaluation.rows import ResultRow, result_row
from capsulegan.tensors import device_of, sent
from capsulegan.training.batches import scaled
from capsulegan.training.run import Run

BatchNorm = Literal["running", "batch"]
JUDGED_AT_ONCE = 500


@dataclass(frozen=True)
class Contender:
    """A run with the images that it brings to its battles."""

    run: Run
    samples: np.ndarray
    """uint8 (M, H, W, C), drawn by its generator."""
    real: Tensor
    """(N,) probabilities that its discriminator gives to the test images."""
    threshold: float
    """Its balanced cut, between training images and its own samples."""


def tournament(
    runs: Sequence[Run],
    train: ImageData,
    test: ImageData,
    *,
    samples: int = 10_000,
    seed: int = 0,
    batch_norm: BatchNorm = "running",
    tolerance: float = TOLERANCE,
) -> list[ResultRow]:
    """Let every pair of runs fight, at the paper's cut of 0.5 and at calibrated cuts.

    Parameters
    ----------
    runs : sequence of Run
        Two or more, of one image shape.
    train : ImageData
        Training images: as many as there are samples calibrate the `balanced` rule.
    test : ImageData
        All of its images are judged.
    samples : int
        Images that each generator draws.
    seed : int
        Of the draw.
    batch_norm : {"running", "batch"}
        Whether discriminators use the running statistics of training, or those of the images that they
        judge together (500 at a time), as the metric's first implementation did.
    tolerance : float
        See `generative_adversarial_metric`.

    Returns
    -------
    list of rows of the table 'battle'; the settings of each name its rule and verdict.

    Raises
    ------
    UserError
        If there are fewer than two runs, or their image shapes differ from the data's.
    """
    if len(runs) < 2:
        raise UserError(f"a battle needs two runs or more, got {len(runs)}")
    for run in runs:
        shape = (run.data.image_size, run.data.image_size, run.data.channels)
        if shape != test.images.shape[1:]:
            raise UserError(
                f"{run.folder} draws images of shape {shape}, the data has {test.images.shape[1:]}"
            )
    if samples < 1:
        raise UserError(f"samples must be at least 1, got {samples}")
    if not 0 <= tolerance < float("inf"):
        raise UserError(f"tolerance must be 0 or more and finite, got {tolerance}")
    contenders = [contender(run, train, test, samples, seed, batch_norm) for run in runs]
    rows = []
    for first, second in itertools.combinations(contenders, 2):
        rows += battle(first, second, test.digest, batch_norm, tolerance)
    return rows


def contender(
    run: Run, train: ImageData, test: ImageData, samples: int, seed: int, batch_norm: BatchNorm
) -> Contender:
    """Draw a run's samples, and let its discriminator judge real images and these."""
    drawn = run.sample(samples, seed)
    on_train = probabilities(run.discriminator, train.images[:samples], batch_norm)
    on_own = probabilities(run.discriminator, drawn, batch_norm)
    on_test = probabilities(run.discriminator, test.images, batch_norm)
    return Contender(run, drawn, on_test, balanced_threshold(on_train, on_own))


def battle(
    first: Contender, second: Contender, digest: str, batch_norm: BatchNorm, tolerance: float
) -> list[ResultRow]:
    """Return the rows of one pair under both threshold rules."""
    started = time.monotonic()
    first_on_second = probabilities(first.run.discriminator, second.samples, batch_norm)
    second_on_first = probabilities(second.run.discriminator, first.samples, batch_norm)
    rows = []
    for rule, cuts in {
        "paper": (PAPER_THRESHOLD, PAPER_THRESHOLD),
        "balanced": (first.threshold, second.threshold),
    }.items():
        outcome = generative_adversarial_metric(
            first.real, first_on_second, second.real, second_on_first, cuts, tolerance
        )
        seconds = time.monotonic() - started
        settings = {
            "first": first.run.config.model,
            "second": second.run.config.model,
            "first_seed": first.run.config.seed,
            "second_seed": second.run.config.seed,
            "rule": rule,
            "thresholds": list(cuts),
            "tolerance": tolerance,
            "batch_norm": batch_norm,
            "verdict": outcome.verdict,
            "reason": outcome.reason,
        }
        name = f"{first.run.config.model}:{second.run.config.model}"
        rows += [
            result_row(
                "battle",
                figure,
                name,
                first.run.config.seed,
                value,
                n,
                {**settings, "low": finite(low), "high": finite(high)},
                digest,
                seconds,
            )
            for figure, value, (low, high), n in figures_of(outcome)
        ]
    return rows


def figures_of(outcome: Battle) -> list[tuple[str, float, tuple[float, float], int]]:
    """Return (name, value, interval, n) of the ratios and the four accuracies."""
    shares = {
        "first_real_accuracy": outcome.first_real,
        "second_real_accuracy": outcome.second_real,
        "first_on_second_accuracy": outcome.first_on_second,
        "second_on_first_accuracy": outcome.second_on_first,
    }
    return [
        ("r_samples", outcome.r_samples, outcome.r_samples_interval, outcome.first_on_second.n),
        ("r_test", outcome.r_test, outcome.r_test_interval, outcome.first_real.n),
        *((name, share.value, (share.low, share.high), share.n) for name, share in shares.items()),
    ]


def finite(value: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return value if np.isfinite(value) else None


@torch.no_grad()
def probabilities(discriminator: nn.Module, images: np.ndarray, batch_norm: BatchNorm = "running") -> Tensor:
    """Return the probability "this is real" of uint8 images (N, H, W, C): float32 (N,)."""
    if batch_norm == "batch":
        discriminator = copy.deepcopy(discriminator).train()
    batches = (images[start : start + JUDGED_AT_ONCE] for start in range(0, len(images), JUDGED_AT_ONCE))
    device = device_of(discriminator)
    return torch.cat([discriminator(sent(scaled(batch), device)).sigmoid() for batch in batches]).cpu()
