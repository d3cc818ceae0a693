"""Puts a finished run into the package, in half precision, with a model card.

    python benchmarks/publish.py STUDY NAME --model MODEL      of a study's seeds the median one
    python benchmarks/publish.py RUN NAME --command "capsulegan train ..."

The median seed is that of the median kernel distance, the lower one of two in the middle. The card's judged
scores are measured here, on the weights that are published; its errors of label spreading are the study's.
Run it from a checkout: it writes to src/capsulegan/weights/NAME.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from capsulegan import load
from capsulegan.data import load_data
from capsulegan.evaluation.scores import evaluate_run, judge_error, judge_images, reference_opinion
from capsulegan.files import write_text
from capsulegan.published import published_judge
from capsulegan.training.recipes import CLASSIFIERS
from capsulegan.training.run import Run
from record import halve

WEIGHTS = Path(__file__).resolve().parent.parent / "src" / "capsulegan" / "weights"
SAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("name")
    parser.add_argument("--model", help="which of a study's models")
    parser.add_argument("--command", help="the command that trained it, for the card")
    arguments = parser.parse_args()
    source, errors, command = arguments.source, "", arguments.command
    if arguments.model:
        results = json.loads((source / "results.json").read_text())
        seed, seeds = median_seed(results["rows"], arguments.model)
        errors = (
            f"\nOf {seeds} seeds of the study this one has the median kernel distance.\n" if seeds > 1 else ""
        )
        errors += spreading_errors(results["rows"], arguments.model, seed)
        source, command = source / "runs" / f"{arguments.model}-s{seed}", command or results["command"]
    folder = WEIGHTS / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "environment.json"):
        shutil.copy(source / name, folder / name)
    for path in source.glob("*.safetensors"):
        halve(path, folder / path.name)
    run = load(folder)
    write_text(folder / "README.md", card(run, arguments.name, command) + errors)


def median_seed(rows: list[dict[str, Any]], model: str) -> tuple[int, int]:
    """Return the seed whose kernel distance is the median of a model's, and how many there are."""
    distances = sorted(
        (row["value"], row["seed"])
        for row in rows
        if (row["table"], row["figure"], row["model"]) == ("evaluation", "kernel_distance", model)
    )
    return int(distances[(len(distances) - 1) // 2][1]), len(distances)


def spreading_errors(rows: list[dict[str, Any]], model: str, seed: int) -> str:
    """Return the run's errors of label spreading as a part of the card."""
    lines = [
        f"| {row['settings']['labels']:,} | {kernel_of(row['settings'])} | {row['value']:.4f} |"
        for row in rows
        if (row["figure"], row["model"], row["seed"]) == ("label_spreading_error", model, seed)
        and "features" not in row["settings"]
    ]
    head = (
        "\nErrors on the test images when labels spread over 50,000 of its images:\n\n"
        "| labelled images | kernel | error |\n|---|---|---|\n"
    )
    return head + "\n".join(lines) + "\n"


def kernel_of(settings: dict[str, Any]) -> str:
    """Return a kernel in words."""
    gamma = f", gamma {settings['gamma']}" if "gamma" in settings else ""
    chosen = ", chosen on held-out training images" if settings["chosen"] else ""
    return (
        f"{settings['kernel']}, {settings['neighbours']} neighbours{gamma}, alpha {settings['alpha']}{chosen}"
    )


def card(run: Run, name: str, command: str) -> str:
    """Return the model card."""
    counts = ", ".join(f"{part} {count:,}" for part, count in run.parameter_counts.items())
    return f"""# {name}

| | |
|---|---|
| model | `{run.config.model}`, {run.data.image_size} x {run.data.image_size} pixels, {counts} parameters |
| data | `{run.config.data}`, training images, sha256 {run.data.digest[:16]} |
| trained by | `{command}` |
| images seen | {run.config.images:,}, seed {run.config.seed}, {run.config.precision} |
| weights | safetensors, float16 |

{judge_scores(run) if run.config.model in CLASSIFIERS else sample_scores(run)}
"""


def judge_scores(run: Run) -> str:
    """Return what a judge is worth."""
    train, test = (load_data(run.config.data, split) for split in ("train", "test"))
    error = judge_error(run, test)
    rows = judge_images(test.images, run, reference_opinion(run, train, SAMPLES), "real", 0)
    recognised = next(row for row in rows if row["figure"] == "recognised_share")
    return f"""Error on the {error["n"]:,} test images: **{error["value"]:.2%}**. It recognises
{recognised["value"]:.2%} of them with a confidence of 0.9 or more.

It is the default judge of `capsulegan evaluate` and `capsulegan study` for this data. Limits: it has seen
whole, centred, upright images of this data only; what it says of other images means nothing, and a distance
on its features sees what tells classes apart better than how fine details are drawn."""


def sample_scores(run: Run) -> str:
    """Return the scores of a generator's images."""
    judge = published_judge(run.data.digest)
    assert judge is not None
    rows = "\n".join(
        f"| {row['figure'].replace('_', ' ')} | {row['value']:.4g} |"
        for row in evaluate_run(run, judge, SAMPLES)
    )
    return f"""Scores of {SAMPLES:,} images (`capsulegan evaluate {run.folder.name}`), on the features of
`{judge.folder.name}`:

| score | |
|---|---|
{rows}

Limits: it draws images like those that it has seen and nothing else, without a say in the class; the
discriminator is that of the end of training, and judges images of its own generator, not of others."""


if __name__ == "__main__":
    main()
