"""Scores of a generator's images on the features of a classifier, the judge."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from capsulegan.data import ImageData, load_data
from capsulegan.errors import UserError
from capsulegan.evaluation.classification import View
from capsulegan.evaluation.manifold import NEIGHBOURS, manifold
from capsulegan.evaluation.rows import ResultRow, result_row
from capsulegan.evaluation.settings import FEWEST_SAMPLES
from capsulegan.files import sha256
from capsulegan.networks import CapsNet, ResidualNetwork
from capsulegan.randomness import seeded
from capsulegan.tensors import device_of, sent
from capsulegan.training.batches import scaled
from capsulegan.training.run import Run

CONFIDENCE = 0.9
"""Confidence in its class from which an image counts as recognised."""
FEATURES = {"capsnet": "class capsules", "resnet": "mean maps"}
JUDGED_AT_ONCE = 250
KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 50, 1000

Score: TypeAlias = tuple[str, float, dict[str, Any]]
"""A figure's name, its value, and the settings that it was taken with."""


@dataclass(frozen=True)
class Opinion:
    """What a judge says of a set of images."""

    confidences: Tensor
    """(N, K): lengths of a CapsNet's class capsules, or a residual network's probabilities."""
    features: Tensor
    """(N, F): a CapsNet's class capsules, or the last layer but one of a residual network."""

    @property
    def classes(self) -> Tensor:
        """(N,): the class of each image."""
        return self.confidences.argmax(dim=1)


@torch.no_grad()
def opinion(judge: CapsNet | ResidualNetwork, images: np.ndarray) -> Opinion:
    """Let a judge look, where it computes, at uint8 images (N, H, W, C); the answers lie on the CPU."""
    starts, device = range(0, len(images), JUDGED_AT_ONCE), device_of(judge)
    said = [judge(sent(scaled(images[start : start + JUDGED_AT_ONCE]), device)) for start in starts]
    return Opinion(
        torch.cat([each.confidences for each in said]).cpu(),
        torch.cat([each.features for each in said]).cpu(),
    )


def class_shares(classes: Tensor, count: int) -> Tensor:
    """Return the share of images in each class: (N,) -> (count,)."""
    return torch.bincount(classes, minlength=count) / len(classes)


def class_entropy(shares: Tensor) -> float:
    """Return the entropy of a distribution over classes in nats: ln K if uniform, 0 if it is one class."""
    return float(torch.special.entr(shares.double()).sum())


class Given(nn.Module):
    """Stands where torchmetrics expects a feature network, for features that are there already."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.num_features = dimension

    def forward(self, features: Tensor) -> Tensor:
        """Return the features: (N, F) -> (N, F)."""
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Return the Frechet distance of two sets of features (N, F), (M, F), both sizes 2 or more.

    ||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of their means and covariances (Heusel et al. 2017), by
    torchmetrics.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, generated: Tensor, seed: int) -> tuple[float, float]:
    """Return the kernel distance of two sets of features and its spread over subsets.

    The unbiased squared maximum mean discrepancy under the cubic kernel (Binkowski et al. 2018), averaged
    over 50 subsets of 1,000 images (or of the smaller set's size), by torchmetrics.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KERNEL_SUBSET_SIZE, len(real), len(generated))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Metric `Kernel Inception Distance` will save all extracted"
        )
        metric = KernelInceptionDistance(Given(real.shape[1]), subsets=KERNEL_SUBSETS, subset_size=size)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    with seeded(seed, "kernel distance"):
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def judge_images(images: np.ndarray, judge: Run, reference: Opinion, name: str, seed: int) -> list[ResultRow]:
    """Return all scores of a set of images as rows of the table 'evaluation'.

    Parameters
    ----------
    images : uint8 (N, H, W, C)
        Generated images, or real ones as a yardstick.
    judge : Run
        A finished run of a classifier on the same data.
    reference : Opinion
        Of the judge on the real training images that the distances are to.
    name : str
        What the images are of: a model, or 'real'.
    seed : int
        Of the run.
    """
    started = time.monotonic()
    said, features = opinion(judge.classifier, images), feature_network(judge)
    scores = class_scores(said, judge.classifier.classes, features)
    scores += distances(reference.features, said.features, features, seed)
    return as_rows(scores, name, seed, len(images), judge.data.digest, time.monotonic() - started)


def class_scores(said: Opinion, classes: int, features: str) -> list[Score]:
    """Return how even the classes of images are, and how sure a judge is of them."""
    shares = class_shares(said.classes, classes)
    confident = (said.confidences.max(dim=1).values >= CONFIDENCE).double().mean()
    return [
        ("class_entropy", class_entropy(shares), {"features": features, "histogram": shares.tolist()}),
        ("recognised_share", float(confident), {"features": features, "confidence": CONFIDENCE}),
    ]


def distances(reference: Tensor, generated: Tensor, features: str, seed: int) -> list[Score]:
    """Return how far generated features (M, F) are from real ones (N, F), and how they lie among them."""
    settings = {"features": features, "reference_images": len(reference)}
    by_moments = {**settings, "estimator": "means and covariances"}
    distance, deviation = kernel_distance(reference, generated, seed)
    by_kernel = {
        **settings,
        "estimator": f"cubic kernel, unbiased, {KERNEL_SUBSETS} subsets",
        "spread": deviation,
    }
    by_balls = {**settings, "estimator": f"balls to the {NEIGHBOURS}th nearest neighbour"}
    return [
        ("frechet_distance", frechet_distance(reference, generated), by_moments),
        ("kernel_distance", distance, by_kernel),
        *((figure, value, by_balls) for figure, value in manifold(reference, generated)._asdict().items()),
    ]


def as_rows(
    scores: list[Score],
    name: str,
    seed: int,
    count: int,
    digest: str,
    seconds: float,
    table: str = "evaluation",
) -> list[ResultRow]:
    """Return scores of `count` images as rows of a table."""
    return [
        result_row(table, figure, name, seed, value, count, settings, digest, seconds)
        for figure, value, settings in scores
    ]


def evaluate_run(
    run: Run, judge: Run | View, samples: int, seed: int = 0, over_training: bool = False
) -> list[ResultRow]:
    """Score a run's images by a judge, or by features alone, and return the rows.

    Parameters
    ----------
    run : Run
    judge : Run or View
        A classifier, or features alone.
    samples : int
        Images to draw.
    seed : int
        Of the latents.
    over_training : bool
        Whether to score the copies of the generator too that the run has kept.

    Raises
    ------
    UserError
        If the samples are too few, the judge is no classifier of the run's data, or there are no copies.
    """
    if samples < FEWEST_SAMPLES:
        raise UserError(f"samples must be at least {FEWEST_SAMPLES}, got {samples}")
    train = load_data(run.config.data, "train", image_size=run.data.image_size)
    model = run.config.model
    if isinstance(judge, View):
        started = time.monotonic()
        real, generated = judge.of(train.images[:samples]), judge.of(run.sample(samples, seed))
        scores = distances(real, generated, judge.name, seed)
        rows = as_rows(scores, model, seed, samples, train.digest, time.monotonic() - started)
        view = judge
    else:
        reference = reference_opinion(judge, train, samples)
        rows = judge_images(run.sample(samples, seed), judge, reference, model, seed)
        view, real = features_seen_by(judge), reference.features
    return rows + (scores_over_training(run, view, real, samples, seed) if over_training else [])


def scores_over_training(
    run: Run, view: View, reference: Tensor, samples: int, seed: int = 0
) -> list[ResultRow]:
    """Return the distances of each copy of a run's generator, the last one too, as rows of 'progress'.

    Raises
    ------
    UserError
        If the run kept no copies.
    """
    if not run.snapshots:
        raise UserError(
            f"{run.folder} kept no copies of its generator; train it anew with --snapshot-images 100000"
        )
    size = run.config.batch_size
    rows, end = [], -(-run.config.images // size) * size  # the last step may go beyond what was asked for
    for images in dict.fromkeys([*run.snapshots, end]):
        started = time.monotonic()
        there = run if images == end else dataclasses.replace(run, snapshot=images)
        found = distances(reference, view.of(there.sample(samples, seed)), view.name, seed)
        scores = [(figure, value, {**settings, "images_seen": images}) for figure, value, settings in found]
        seconds = time.monotonic() - started
        rows += as_rows(scores, run.config.model, seed, samples, run.data.digest, seconds, "progress")
    return rows


def judge_error(judge: Run, test: ImageData) -> ResultRow:
    """Return the judge's own error on the test images."""
    assert test.labels is not None
    started = time.monotonic()
    wrong = opinion(judge.classifier, test.images).classes != torch.from_numpy(test.labels.copy())
    return result_row(
        "evaluation",
        "judge_error",
        "judge",
        judge.config.seed,
        float(wrong.double().mean()),
        len(test.images),
        {"features": feature_network(judge)},
        judge.data.digest,
        time.monotonic() - started,
    )


def reference_opinion(judge: Run, train: ImageData, count: int) -> Opinion:
    """Return the judge's opinion of the first `count` training images.

    Raises
    ------
    UserError
        If the judge is no classifier of this data.
    """
    if judge.data.digest != train.digest:
        raise UserError(f"{judge.folder} judges other data than {train.name}; train it on the same data")
    return opinion(judge.classifier, train.images[:count])


def features_seen_by(judge: Run) -> View:
    """Return a judge's features as what images are compared by."""
    return View(feature_network(judge), lambda images: opinion(judge.classifier, images).features)


def feature_network(judge: Run) -> str:
    """Name the judge by what it is and by the digest of its weights."""
    weights = judge.folder / "classifier.safetensors"
    return f"{judge.config.model} {FEATURES[judge.config.model]}, sha256 {sha256(weights)[:16]}"
