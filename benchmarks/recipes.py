"""Tries training recipes and scores what each generator draws, never looking at the test set.

    python benchmarks/recipes.py --judge RUN [--data mnist] [--out results/recipes.json] [--images 200000]
                                 [--seed 0] [--models gan capsulegan] [--trials plain "r1 1" ...]
                                 [--labels 100 1000 10000] [--training-images 2000]

Every model gets every trial, with the same images of training. A network sees all training images, or the
first so many, but the last 10,000, which are the validation images: the kernel distance on the judge's
features is to them, and label spreading (20,000 generated images unlabelled; so many of the others labelled;
by nearest neighbours, a radial and a locally scaled kernel) is scored on 2,000 of them, unless `--labels`
names no numbers: on CIFAR-10 it takes half as long as training. Each is scored twice: the generator as it is,
and the moving average of its weights over a half-life of 20,000 images. Trials that stand in `--out` already
are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from capsulegan import load
from capsulegan.allocator import keep_freed_memory
from capsulegan.data import ImageData, load_data
from capsulegan.data.images import make_image_data
from capsulegan.evaluation.label_spreading import Spreader
from capsulegan.evaluation.manifold import manifold
from capsulegan.evaluation.scores import (
    CONFIDENCE,
    Opinion,
    class_entropy,
    class_shares,
    feature_network,
    frechet_distance,
    kernel_distance,
    opinion,
)
from capsulegan.evaluation.settings import SpreadingSettings
from capsulegan.files import write_json
from capsulegan.networks import CapsNet, Generator, ResidualNetwork
from capsulegan.randomness import latents_for
from capsulegan.tensors import device_of, sent
from capsulegan.training.batches import unscaled
from capsulegan.training.build import ImageShape
from capsulegan.training.configuration import Config
from capsulegan.training.environment import environment, resolved, resolved_device
from capsulegan.training.trainee import build_trainee

TRIALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "discriminator 4e-4": {"discriminator_learning_rate": 4e-4},
    "discriminator 1e-4": {"discriminator_learning_rate": 1e-4},
    "both 4e-4": {"discriminator_learning_rate": 4e-4, "generator_learning_rate": 4e-4},
    "beta1 0": {"beta1": 0.0},
    "r1 0.01": {"r1_weight": 0.01},
    "r1 0.1": {"r1_weight": 0.1},
    "r1 1": {"r1_weight": 1.0},
    "r1 10": {"r1_weight": 10.0},
    "r1 1, both 4e-4": {
        "r1_weight": 1.0,
        "discriminator_learning_rate": 4e-4,
        "generator_learning_rate": 4e-4,
    },
    "r1 1, discriminator 4e-4": {"r1_weight": 1.0, "discriminator_learning_rate": 4e-4},
    "r1 1, beta1 0": {"r1_weight": 1.0, "beta1": 0.0},
    "r1 1, spectral norm": {"r1_weight": 1.0, "spectral_norm": True},
    "r1 1, decay": {"r1_weight": 1.0, "learning_rate_half_life": 75_000},
    "r1 1, batch norm": {"r1_weight": 1.0, "batch_norm": True},
    "r1 1, deep": {"r1_weight": 1.0, "preset": "deep"},
    "spectral norm": {"spectral_norm": True},
    "spectral norm, 4e-4": {"spectral_norm": True, "discriminator_learning_rate": 4e-4},
    "batch norm": {"batch_norm": True},
    "deep": {"preset": "deep"},
    "decay": {"learning_rate_half_life": 75_000},
    "batch 32": {"batch_size": 32},
    "float32": {"precision": "32"},
}
TRIALS["r1 1, both 4e-4, batch norm"] = BEST = {**TRIALS["r1 1, both 4e-4"], "batch_norm": True}
"""Batch norm means nothing to the convolutional discriminator, which always has it."""
TRIALS |= {
    "best, beta1 0": {**BEST, "beta1": 0.0},
    "best, beta2 0.99": {**BEST, "beta2": 0.99},
    "best, both 8e-4": {**BEST, "discriminator_learning_rate": 8e-4, "generator_learning_rate": 8e-4},
    "best, both 16e-4": {**BEST, "discriminator_learning_rate": 16e-4, "generator_learning_rate": 16e-4},
    "best, both 8e-4, spectral norm": {
        **BEST,
        "discriminator_learning_rate": 8e-4,
        "generator_learning_rate": 8e-4,
        "spectral_norm": True,
    },
    "best, r1 0.3": {**BEST, "r1_weight": 0.3},
    "best, instance noise 0.3": {**BEST, "instance_noise": 0.3},
    "best, spectral norm": {**BEST, "spectral_norm": True},
    "best, decay": {**BEST, "learning_rate_half_life": 40_000},
    "best, batch 32": {**BEST, "batch_size": 32},
    "best, deep": {**BEST, "preset": "deep"},
    "best, ten hidden capsules": {**BEST, "head": "hidden"},
    "best, ten hidden capsules, 1 iteration": {**BEST, "head": "hidden", "routing_iterations": 1},
    "best, two capsules": {**BEST, "head": "two"},
    "best, attention": {**BEST, "head": "attention"},
}
ON_CIFAR10 = {**TRIALS["r1 0.1"], "learning_rate_half_life": 1_500_000}
TRIALS |= {
    "r1 0.1, halved every 500,000": {**ON_CIFAR10, "learning_rate_half_life": 500_000},
    "r1 0.1, halved every 1,500,000": ON_CIFAR10,
    "the same, mirror": {**ON_CIFAR10, "augmentation": "mirror"},
    "the same, mirror,translation": {**ON_CIFAR10, "augmentation": "mirror,translation"},
    "the same, mirror,color,translation,cutout": {
        **ON_CIFAR10,
        "augmentation": "mirror,color,translation,cutout",
    },
    "the same, both 4e-4": {**ON_CIFAR10, **TRIALS["both 4e-4"]},
    "the same, both 4e-4, mirror,translation": {
        **ON_CIFAR10,
        **TRIALS["both 4e-4"],
        "augmentation": "mirror,translation",
    },
    "the same, both 1e-4": {
        **ON_CIFAR10,
        "discriminator_learning_rate": 1e-4,
        "generator_learning_rate": 1e-4,
    },
    "the same, discriminator 4e-4": {**ON_CIFAR10, **TRIALS["discriminator 4e-4"]},
}
""""The same" as R1 of weight 0.1, with step sizes halved every 1,500,000 images."""
CAPSULES_ALONE = (
    *[name for name, settings in TRIALS.items() if "head" in settings],
    "batch norm",
    "deep",
    "r1 1, batch norm",
    "r1 1, both 4e-4, batch norm",
    "r1 1, deep",
    "best, deep",
)
HALF_LIFE = 20_000
VALIDATION = 10_000
QUERIES, UNLABELLED = 2_000, 20_000
KERNELS = {
    "knn": SpreadingSettings(),
    "radial": SpreadingSettings("rbf", 15, 0.1),
    "local": SpreadingSettings("local", 50, 3.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--data", choices=["mnist", "cifar10"], default="mnist")
    parser.add_argument("--out", type=Path, default=Path("results/recipes.json"))
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["gan", "capsulegan"])
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--training-images", type=int)
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), choices=list(TRIALS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    whole = load_data(arguments.data, "train")
    assert whole.labels is not None
    cut = len(whole.images) - VALIDATION
    shown = min(cut, arguments.training_images or cut)
    train = make_image_data(whole.name, whole.images[:shown], whole.labels[:shown], whole.classes)
    run = load(arguments.judge, resolved_device("auto"))
    judge, features = run.classifier, feature_network(run)
    reference = opinion(judge, whole.images[cut:])
    for trial in arguments.trials:
        for model in arguments.models:
            if trial in CAPSULES_ALONE and not model.startswith("capsulegan"):
                continue
            key = {
                "model": model,
                "trial": trial,
                "seed": arguments.seed,
                "images": arguments.images,
                "judge": features,
                "training_images": arguments.training_images,
            }
            if any({"training_images": None, **row}.items() >= key.items() for row in rows_of(arguments.out)):
                continue
            settings = {"average_half_life": HALF_LIFE, "threads": 1, **TRIALS[trial]}
            config = resolved(
                Config(model, whole.name, arguments.seed, images=arguments.images, **settings)  # type: ignore[arg-type]
            )
            began = time.monotonic()
            generators = trained(config, train)
            seconds = round(time.monotonic() - began)
            scores = {
                kind: scored(each, config, judge, reference, whole, arguments.labels)
                for kind, each in generators.items()
            }
            facts = {"precision": config.precision, "seconds": seconds, "date": date.today().isoformat()}
            row = {**key, "settings": TRIALS[trial], **facts}
            print(json.dumps(row | scores), flush=True)
            document = {"environment": environment(), "rows": [*rows_of(arguments.out), row | scores]}
            write_json(arguments.out, document)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the trials that stand in a file."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def trained(config: Config, train: ImageData) -> dict[str, Generator]:
    """Train a recipe; return its generator as it is, and averaged, in evaluation mode."""
    precision: Any = "bf16-mixed" if config.precision == "bf16" else "32-true"
    fabric = Fabric(accelerator=config.device, devices=1, precision=precision)
    shape = ImageShape(*train.images.shape[2:], len(train.classes))
    trainee = build_trainee(config, train, shape, fabric)
    for step in range(-(-config.images // config.batch_size)):
        trainee.advance(step)
    found = {"as it is": trainee.networks["generator"], "averaged": trainee.networks["average"]}
    return {kind: network.eval() for kind, network in found.items()}  # type: ignore[misc]


@torch.no_grad()
def scored(
    generator: Generator,
    config: Config,
    judge: CapsNet | ResidualNetwork,
    reference: Opinion,
    whole: ImageData,
    labels: list[int],
) -> dict[str, float]:
    """Score a generator against the validation images, and by label spreading with so many labels."""
    latents = [
        latents_for(0, "sample", block, 1000, config.latent_dim) for block in range(UNLABELLED // 1000)
    ]
    pixels = np.concatenate([unscaled(generator(sent(block, device_of(generator)))) for block in latents])
    said = opinion(judge, pixels[:VALIDATION])
    shape = manifold(reference.features, said.features)
    scores = {
        "kernel_distance": kernel_distance(reference.features, said.features, 0)[0],
        "frechet_distance": frechet_distance(reference.features, said.features),
        "recognised": float((said.confidences.max(dim=1).values >= CONFIDENCE).double().mean()),
        "class_entropy": class_entropy(class_shares(said.classes, judge.classes)),
        **shape._asdict(),
    }
    if labels:
        scores |= errors_of_spreading(pixels, whole, labels, config.seed)
    return {figure: round(value, 6) for figure, value in scores.items()}


def errors_of_spreading(
    unlabelled: np.ndarray, whole: ImageData, labels: list[int], seed: int
) -> dict[str, float]:
    """Return the error on validation images by number of labels and kernel."""
    cut = len(whole.images) - VALIDATION
    assert whole.labels is not None
    spreader = Spreader(unlabelled, whole.images[cut : cut + QUERIES])
    order = torch.randperm(cut, generator=torch.Generator().manual_seed(seed)).numpy()
    errors = {}
    for count in labels:
        known = (whole.images[order[:count]], whole.labels[order[:count]])
        for kernel, settings in KERNELS.items():
            found = spreader.error(*known, whole.labels[cut : cut + QUERIES], settings)
            errors[f"label spreading, {kernel}, n={count}"] = found.error.value
    return errors


if __name__ == "__main__":
    main()
