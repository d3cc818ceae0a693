"""From the rows of a study's results to its tables."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from capsulegan.report import words
from capsulegan.report.battle import ACCURACIES, RATIOS, battle_tables
from capsulegan.report.classification import classification_tables
from capsulegan.report.comparisons import comparisons
from capsulegan.report.table import (
    NOT_MEASURABLE,
    Row,
    Table,
    by_seed,
    cell,
    chosen,
    distinct,
    grouped,
    measured,
    notes,
    seeds_cell,
)

MOST_MOMENTS = 6
KNOWN = {
    "battle": (*RATIOS, *ACCURACIES),
    "classification": ("label_spreading_error",),
    "evaluation": None,  # any figure becomes a column
    "progress": None,
    "training": None,
}


def tables_of(results: Mapping[str, Any]) -> list[Table]:
    """Return every row of a study's results in some table, the paper's figures beside ours.

    Parameters
    ----------
    results : mapping
        The document `results.json`: its "data" and its "rows".

    Returns
    -------
    list of Table
        Battle, classification, evaluation, training; then one table for each kind that is not known.
    """
    rows: list[Row] = results["rows"]
    data = str(results.get("data", {}).get("name", ""))
    runs = first_runs(rows)
    tables = [
        *battle_tables(rows, data, runs),
        *classification_tables(rows, data, runs),
        *_evaluation(chosen(rows, table="evaluation"), runs),
        *_progress(chosen(rows, table="progress"), runs),
        *_training(chosen(rows, table="training"), data),
    ]
    for name in dict.fromkeys(row["table"] for row in rows):
        figures = KNOWN.get(name, ())
        if others := [
            row for row in chosen(rows, table=name) if figures is not None and row["figure"] not in figures
        ]:
            tables.append(_generic(name, others, str(results.get("command", ""))))
    return tables


def first_runs(rows: Sequence[Row]) -> list[str]:
    """Return one run folder for each model, quoted for a shell, as examples in commands."""
    runs: dict[str, str] = {}
    for row in rows:
        for model in str(row["model"]).split(":"):
            if model not in words.CONTROLS | words.JUDGES and row["seed"] is not None:
                runs.setdefault(model, shlex.quote(f"runs/{model}-s{row['seed']}"))
    return list(runs.values())


def _grid(
    name: str, title: str, caption: str, command: str, rows: Sequence[Row], names: Mapping[str, str]
) -> list[Table]:
    """Return models by figures, and the paired differences of the same."""
    models = words.in_order(row["model"] for row in rows)
    groups = grouped(rows, "figure", "estimator")
    estimators = Counter(figure for figure, _ in groups)
    columns = {
        words.figure_name(figure) + (f" ({estimator})" if estimators[figure] > 1 else ""): own
        for (figure, estimator), own in groups.items()
    }
    lines = []
    for model in models:
        cells = [chosen(own, model=model) for own in columns.values()]
        lines.append((names.get(model) or words.model_name(model), *map(cell, cells), seeds_cell(cells)))
    values = {
        column: {m: by_seed(chosen(own, model=m)) for m in models if m not in words.CONTROLS | words.JUDGES}
        for column, own in columns.items()
    }
    table = Table(name, title, caption + notes(rows), ("model", *columns, "seeds"), tuple(lines), command)
    return [table, *comparisons(name, title[0].lower() + title[1:], command, values)]


def _evaluation(rows: Sequence[Row], runs: Sequence[str]) -> list[Table]:
    """Return one table for each feature network: figures of different networks do not compare."""
    tables = []
    for (features,), all_rows in grouped(rows, "features").items():
        own = [row for row in all_rows if row["figure"] != "judge_error"]
        if not own:
            continue
        sizes = " or ".join(f"{n:,}" for n in distinct(own, "n"))
        caption = (
            f"Measured on {sizes} images; arrows point to better." if sizes else "Arrows point to better."
        )
        if features:
            caption += f" Features: {features}."
        if error := by_seed(chosen(all_rows, figure="judge_error")):
            shares = ", ".join(words.number(value, 4) for value in error.values())
            caption += f" The judge that they come from errs on {shares} of the test images."
        if estimators := distinct(own, "estimator"):
            caption += f" Estimators: {', '.join(map(str, estimators))}."
        command = " ".join(["capsulegan evaluate", *runs[:1]])
        names = {"real": "real test images (floor)"}
        tables += _grid("evaluation", "Evaluation scores", caption, command, own, names)
    return tables


def _progress(rows: Sequence[Row], runs: Sequence[str]) -> list[Table]:
    """Return for each feature network how scores went with training, at a few of its moments."""
    tables = []
    for (features,), own in grouped(rows, "features").items():
        figures = distinct(own, "figure")
        lines = []
        for model in words.in_order(row["model"] for row in own):
            seen = distinct(chosen(own, model=model), "images_seen")
            moments = sorted(images for images in seen if isinstance(images, int | float))
            for images in moments[:: -max(1, -(-len(moments) // MOST_MOMENTS))][::-1]:
                there = chosen(own, model=model, images_seen=images)
                cells = [chosen(there, figure=figure) for figure in figures]
                lines.append(
                    (words.model_name(model), words.number(images), *map(cell, cells), seeds_cell(cells))
                )
        caption = "Scores of the generator as it was trained; arrows point to better."
        if features:
            caption += f" Features: {features}."
        columns = ("model", "images seen", *map(words.figure_name, figures), "seeds")
        command = " ".join(["capsulegan evaluate", *runs[:1], "--over-training"])
        title = "Scores over training"
        tables.append(Table("progress", title, caption + notes(own), columns, tuple(lines), command))
    return tables


def _training(rows: Sequence[Row], data: str) -> list[Table]:
    """Return what training cost; its comparisons are no finding, so there are no tables of them."""
    trained = [row["model"] for row in rows if row["model"] not in words.JUDGES] or ["MODEL"]
    command = f"capsulegan train {shlex.quote(trained[0])} --data {shlex.quote(data)}"
    caption = "G is the generator, D the discriminator. With two or more seeds: mean ± 95 % interval."
    return _grid("training", "What training cost", caption, command, rows, {})[:1] if rows else []


def _generic(name: str, rows: Sequence[Row], command: str) -> Table:
    """Return rows of a kind that this report does not know, one a line."""
    lines = tuple(
        (
            words.figure_name(row["figure"]),
            words.CONTROLS.get(row["model"]) or words.model_name(row["model"]),
            "" if row["seed"] is None else str(row["seed"]),
            words.number(row["value"]) if measured(row) else NOT_MEASURABLE,
            "" if row.get("n") is None else f"{row['n']:,}",
            ", ".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in row["settings"].items()),
        )
        for row in rows
    )
    title = f"{name[:1].upper()}{name[1:].replace('_', ' ')}, {'other ' if name in KNOWN else ''}figures"
    return Table(
        name,
        title,
        "One figure a line.",
        ("figure", "model", "seed", "value", "n", "settings"),
        lines,
        command,
    )
