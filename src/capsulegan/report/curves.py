"""Figures against the images seen: losses and answers from the logs, scores of the generator's copies."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter

from capsulegan.report import words
from capsulegan.report.figures import INK, Drawing, colour_of, draw
from capsulegan.report.reading import RunFolder
from capsulegan.report.table import Row, chosen, distinct, measured
from capsulegan.training.recipes import BEST

EQUILIBRIUM: Final = {
    "gan": 0.5,
    "capsulegan-bce": 0.5,
    "gan-margin": 0.95 / 1.5,
    "capsulegan": 0.95 / 1.5,
}
MOST_POINTS: Final = 400


@dataclass(frozen=True)
class Panel:
    """Two lines of the log that belong on one axis; `share` says that they are from 0 to 1."""

    name: str
    title: str
    axis: str
    keys: dict[str, str]
    share: bool


PANELS: Final = (
    Panel(
        "losses",
        "losses",
        "loss",
        {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        False,
    ),
    Panel(
        "probabilities",
        "answers",
        "probability of real",
        {"real_probability": "to real images", "fake_probability": "to generated images"},
        True,
    ),
)


def training_curves(runs: Sequence[RunFolder], models: Sequence[str]) -> list[Drawing]:
    """Return each model's losses and probabilities against the images seen, one line a seed."""
    drawings: list[Drawing] = []
    for model in dict.fromkeys(run.model for run in runs):
        logs = [rows for run in runs if run.model == model and (rows := _plottable(run.log))]
        drawings += (
            _training_curve(panel, model, logs, colour_of(model, models))
            for panel in PANELS
            if any(_finite(row, key) for rows in logs for row in rows for key in panel.keys)
        )
    return drawings


def _training_curve(panel: Panel, model: str, logs: Sequence[list[Row]], colour: str) -> Drawing:
    title = f"{words.model_name(model)}: {panel.title}"
    level = EQUILIBRIUM.get(model.removesuffix(BEST)) if panel.share else None

    def plot(axes: Axes) -> None:
        for rows in reversed(logs):  # the first seed on top
            first = rows is logs[0]
            for (key, label), dashes in zip(panel.keys.items(), ("solid", (0, (4, 1.5))), strict=True):
                axes.plot(
                    [row["images"] for row in rows],
                    [row[key] if _finite(row, key) else math.nan for row in rows],
                    color=colour,
                    linestyle=dashes,
                    alpha=1 if first else 0.35,
                    label=label if first else None,
                )
        if panel.share:
            axes.set_ylim(-0.02, 1.02)
        if level is not None:
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.7)
        axes.set(title=title, xlabel="images seen", ylabel=panel.axis)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.figure.legend(loc="outside lower center", ncols=2, handlelength=2.4)

    caption = f"{title}, {words.count(len(logs), 'seed')}."
    if level is not None:
        caption += f" Dotted: {level:.3g}, the best answer where real and generated are equally likely."
    ends = (f"{label} {_last(logs[0], key)}" for key, label in panel.keys.items())
    description = f"{title}, against images seen. The first seed ends at: {', '.join(ends)}."
    name = f"training-{re.sub('[^A-Za-z0-9-]', '_', model)}-{panel.name}"
    return Drawing(name, draw(name, plot), caption, description)


def _plottable(log: Sequence[dict[str, Any]]) -> list[Row]:
    """Return at most `MOST_POINTS` rows of a log, evenly spaced, the last one included."""
    rows: list[Row] = [row for row in log if _finite(row, "images")]
    return rows[:: -max(1, math.ceil(len(rows) / MOST_POINTS))][::-1]


def _finite(row: Row, key: str) -> bool:
    return measured({"value": row.get(key)})


def _last(rows: Sequence[Row], key: str) -> str:
    values = [row[key] for row in rows if _finite(row, key)]
    return words.number(values[-1]) if values else "unknown"


def progress_curves(rows: Sequence[Row], models: Sequence[str]) -> list[Drawing]:
    """Return the Frechet distance of each model's generator against the images seen, one line a seed."""
    rows = [
        row
        for row in chosen(rows, table="progress", figure="frechet_distance")
        if measured(row) and row["value"] > 0 and _finite(row["settings"], "images_seen")
    ]
    if not rows:
        return []

    def plot(axes: Axes) -> None:
        for model in distinct(rows, "model"):
            for index, seed in enumerate(distinct(chosen(rows, model=model), "seed")):
                points = sorted(
                    (row["settings"]["images_seen"], row["value"])
                    for row in chosen(rows, model=model, seed=seed)
                )
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour_of(model, models),
                    alpha=0.35 if index else 1,
                    label=None if index else words.model_name(model),
                )
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="images seen", ylabel="Fréchet distance")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.figure.legend(loc="outside lower center", ncols=2)

    caption = "Fréchet distance on the judge's features as training went on, one line a seed."
    description = f"{caption} The table has figures of the same."
    return [Drawing("progress", draw("progress", plot), caption, description)]
