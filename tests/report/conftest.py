"""A study folder as a study leaves it, with made-up figures and real handwritten digits."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

ERRORS = {"gan": (0.483, 0.224, 0.065), "capsulegan": (0.405, 0.193, 0.0649)}
CONTROLS = {
    "labelled-only": (0.2677, 0.1195, 0.0513),
    "noise": (0.2983, 0.1302, 0.0561),
    "real": (0.1289, 0.0519, 0.0374),
}
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TEST_DIGEST = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730"
FEATURES = "lenet-mnist 4f1d2c9b"
MakeStudy = Callable[..., Path]


class Rows(list[dict[str, Any]]):
    """Rows of results; `put` adds one."""

    def put(
        self, table: str, figure: str, model: str, seed: int | None, value: Any, n: int, **settings: Any
    ) -> None:
        row = {"table": table, "figure": figure, "model": model, "seed": seed, "value": value, "n": n}
        digest = TEST_DIGEST if table in ("battle", "classification") else DIGEST
        self.append(row | {"settings": settings, "data_digest": digest, "version": "0.1.0", "seconds": 12.5})


def make_rows(models: Sequence[str], seeds: Sequence[int], kernels: Sequence[str] = ("knn",)) -> Rows:
    rows, chance = Rows(), random.Random(0)
    for seed in seeds:
        for kernel in kernels:
            spreading = {"kernel": kernel, "neighbours": 7, "gamma": None, "alpha": 0.2}
            if kernel == "rbf":
                spreading |= {"neighbours": None, "gamma": 0.3}
            for index, labels in enumerate((100, 1000, 10000)):
                for model in (*models, "noise", "real"):
                    base = (ERRORS | CONTROLS).get(model, (0.44, 0.21, 0.064))[index]
                    error = base + chance.gauss(0, 0.006)
                    around = {"low": error - 0.009, "high": error + 0.009}
                    settings = spreading | around | {"labels": labels, "unlabelled": 50000}
                    rows.put("classification", "label_spreading_error", model, seed, error, 10000, **settings)
        for index, labels in enumerate((100, 1000, 10000)):
            alone = CONTROLS["labelled-only"][index]
            settings = {"kernel": None, "labels": labels, "unlabelled": 0}
            rows.put(
                "classification",
                "label_spreading_error",
                "labelled-only",
                seed,
                alone,
                10000,
                **settings,
            )
        for first, second in [(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]:
            for rule, ratio in (("paper", 0.81), ("balanced", 0.97)):
                r = ratio + chance.gauss(0, 0.01)
                verdict = "second wins" if rule == "paper" else "tie"
                place = "below" if rule == "paper" else "around"
                settings = {
                    "first": first, "second": second, "rule": rule, "low": r - 0.02, "high": r + 0.02,
                    "tolerance": 0.05, "batch_norm": "running", "verdict": verdict,
                    "reason": f"r_test is within 0.05 of 1 and the interval of r_samples is {place} 1",
                }  # fmt: skip
                pair = f"{first}:{second}"
                rows.put("battle", "r_samples", pair, seed, r, 10000, **settings)
                rows.put(
                    "battle",
                    "r_test",
                    pair,
                    seed,
                    1.004,
                    10000,
                    **(settings | {"low": 0.99, "high": 1.02}),
                )
                for figure, value in (
                    ("first_real_accuracy", 0.932), ("second_real_accuracy", 0.928),
                    ("first_on_second_accuracy", 0.731), ("second_on_first_accuracy", 0.902),
                ):  # fmt: skip
                    around = settings | {"low": value - 0.006, "high": value + 0.006}
                    rows.put("battle", figure, pair, seed, value, 10000, **around)
        for model in models:
            shift = 4.1 if model == "gan" else 0
            for figure, value, extra in (
                ("frechet_distance", 12.31 + shift, {"estimator": "Fréchet, 10,000 against 10,000"}),
                (
                    "kernel_distance",
                    0.0123 + shift / 1000,
                    {"estimator": "unbiased, cubic", "spread": 0.0004},
                ),
                ("class_entropy", 2.287, {}),
                ("recognised_share", 0.914, {}),
            ):
                value *= 1 + chance.gauss(0, 0.01)
                rows.put("evaluation", figure, model, seed, value, 10000, features=FEATURES, **extra)
            for figure, value in (
                ("seconds", 903.4), ("images", 600000), ("images_per_second", 664.1),
                ("generator_parameters", 1_068_545), ("discriminator_parameters", 663_296),
                ("discriminator_loss", 0.412),
            ):  # fmt: skip
                rows.put("training", figure, model, seed, value, 1)
    rows.put("evaluation", "judge_error", "judge", 0, 0.0071, 10000, features=FEATURES)
    rows.put("training", "classifier_parameters", "capsnet", 0, 8_215_568, 1)
    real = {"features": FEATURES, "estimator": "Fréchet, 10,000 against 10,000"}
    rows.put("evaluation", "frechet_distance", "real", None, 0.42, 10000, **real)
    return rows


def digit_grid(noise: float, generator: np.random.Generator) -> Image.Image:
    """Return an 8 x 8 grid of handwritten digits of 28 x 28 pixels under so much noise."""
    digits = load_digits().images[generator.integers(0, 1797, 64)] * 255 / 16
    images = np.stack([np.pad(np.kron(digit, np.ones((3, 3))), 2) for digit in digits])
    images = images * (1 - noise) + generator.uniform(0, 255, images.shape) * noise
    grid = images.reshape(8, 8, 28, 28).swapaxes(1, 2).reshape(224, 224)
    return Image.fromarray(grid.clip(0, 255).astype(np.uint8))


def write_run(folder: Path, model: str, seed: int, images: int = 600000) -> None:
    chance, generator = random.Random(f"{model}{seed}"), np.random.default_rng(seed)
    (folder / "samples").mkdir(parents=True)
    config = {
        "schema": 1,
        "model": model,
        "data": "mnist",
        "seed": seed,
        "images": images,
        "batch_size": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for seen, noise in ((64_000, 0.8), (300_800, 0.35), (images, 0.08)):
        digit_grid(noise, generator).save(folder / "samples" / f"{seen:09}.png")
    level = 0.633 if model in ("capsulegan", "gan-margin") else 0.5
    with (folder / "log.jsonl").open("w") as file:
        for seen in range(6_400, images + 1, 6_400):
            gap = 0.25 + 0.1 * math.exp(-seen / 80_000) + chance.gauss(0, 0.02)
            row = {
                "step": seen // 64, "images": seen, "images_per_second": 660 + chance.gauss(0, 5),
                "discriminator_loss": 0.5 + 0.4 * math.exp(-seen / 90_000) + chance.gauss(0, 0.03),
                "generator_loss": 1.8 - math.exp(-seen / 60_000) + chance.gauss(0, 0.08),
                "real_probability": level + gap, "fake_probability": level - gap,
                "discriminator_gradient_norm": 1.2, "generator_gradient_norm": 0.4,
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")


def write_study(
    folder: Path,
    models: Sequence[str] = ("gan", "capsulegan"),
    seeds: Sequence[int] = (0,),
    data: str = "mnist",
    rows: list[dict[str, Any]] | None = None,
    **results: Any,
) -> Path:
    command = f"capsulegan study {data} --models {' '.join(models)} --seeds {' '.join(map(str, seeds))}"
    study = {
        "data": data,
        "models": list(models),
        "seeds": list(seeds),
        "command": command,
        "images": 600000,
    }
    for model in models:
        for seed in seeds:
            write_run(folder / "runs" / f"{model}-s{seed}", model, seed)
    judge = folder / "runs" / "capsnet-s0"
    judge.mkdir()
    (judge / "config.json").write_text(json.dumps({"model": "capsnet", "seed": 0}))
    (judge / "log.jsonl").write_text('{"step": 100, "images": 6400, "margin_loss": 0.2}\n')
    (folder / "study.json").write_text(json.dumps(study | {"labels": [100, 1000, 10000], "batch_size": 64}))
    document = {
        "schema": 1,
        "version": "0.1.0",
        "data": {
            "name": data, "digest": DIGEST, "test_digest": TEST_DIGEST,
            "train_images": 60000, "test_images": 10000,
            "image_shape": [28, 28, 1], "classes": [str(digit) for digit in range(10)],
        },
        "command": command,
        "environment": {
            "processor": "AMD EPYC", "cores": 2, "torch": "2.13.0", "python": "3.11.9",
            "date": "2026-01-31",
        },
        "rows": make_rows(models, seeds) if rows is None else rows,
        "failures": [],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(document | results))
    return folder


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Write a study folder; its options are those of `write_study`."""

    def make(**options: Any) -> Path:
        folder = tmp_path / f"study-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return write_study(folder, **options)

    return make
