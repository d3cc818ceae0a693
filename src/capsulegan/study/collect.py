"""Collects what the stages of a study left into one document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capsulegan.data import ImageData
from capsulegan.errors import UserError
from capsulegan.evaluation.rows import ResultRow, result_row
from capsulegan.files import read_json
from capsulegan.published import load
from capsulegan.study.plan import Cell, Stage
from capsulegan.study.rows import read_rows
from capsulegan.training.cost import step_flops
from capsulegan.training.environment import environment, version
from capsulegan.training.log import read_log

SLOWEST = 0.05
"""Images a second below which a log row says 0.0."""


def collect(
    folder: Path,
    train: ImageData,
    test: ImageData,
    cells: Sequence[Cell],
    stages: Sequence[Stage],
    failures: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the results of a study: facts of the data and the machine, rows, and what failed."""
    rows: list[ResultRow] = []
    for cell in cells:
        rows += training_rows(folder / "runs" / cell.name, cell)
    for stage in stages:
        if stage.file(folder).exists():
            rows += read_rows(stage.file(folder))
    study = read_json(folder / "study.json")
    return {
        "schema": 1,
        "version": version(),
        "data": {
            "name": train.name,
            "digest": train.digest,
            "test_digest": test.digest,
            "train_images": len(train.images),
            "test_images": len(test.images),
            "image_shape": list(train.images.shape[1:]),
            "classes": list(train.classes),
            "skipped_files": len(train.skipped),
        },
        "command": study["command"],
        "environment": environment(),
        "rows": rows,
        "failures": failures,
    }


def training_rows(folder: Path, cell: Cell) -> list[ResultRow]:
    """Return what a run cost, and what its log ends with; nothing for a run that is not finished."""
    try:
        run = load(folder)
        if not run.finished:
            return []
        counts = run.parameter_counts
    except UserError:
        return []
    log = list(read_log(folder / "log.jsonl"))
    if not log:
        return []
    seconds, timed, before = 0.0, 0, 0
    for row in log:
        if (rate := row.get("images_per_second")) is not None:
            seconds += (row["images"] - before) / max(rate, SLOWEST)
            timed += row["images"] - before
        before = row["images"]
    rate = timed / seconds if timed else SLOWEST  # the last row has none if the run ends where it was stopped
    figures: dict[str, float] = {
        "images": before,
        "seconds": round(before / rate, 1),
        "images_per_second": round(rate, 1),
        "skipped_steps": sum(row.get("skipped_steps") or 0 for row in log),
        **{f"{name}_parameters": count for name, count in counts.items()},
        "step_gigaflops": round(step_flops(run.config, run.data.shape) / 1e9, 3),
    }
    settings = {
        "precision": run.config.precision,
        "threads": run.config.threads,
        "batch_size": run.config.batch_size,
        "events": sorted({row["event"] for row in log if "event" in row}),
    }
    return [
        result_row(
            "training", figure, cell.model, cell.seed, value, before, settings, run.data.digest, seconds
        )
        for figure, value in figures.items()
    ]
