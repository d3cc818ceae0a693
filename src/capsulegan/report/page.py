"""The page: one self-contained HTML file made from a study folder and nothing else."""

from __future__ import annotations

import base64
import json
import shlex
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsulegan.errors import UserError
from capsulegan.files import write_bytes, write_text
from capsulegan.report import paper, words
from capsulegan.report.reading import RunFolder, Study, read_study
from capsulegan.report.summary import models_of, summary_of
from capsulegan.report.tables import tables_of

HERE = Path(__file__).parent
KNOWN = ("battle", "classification", "evaluation", "progress", "training")
SECTIONS = {
    "images": "Images",
    "battle": "Battle",
    "classification": "Classification",
    "evaluation": "Distances and diversity",
    "training": "Training and its cost",
    "others": "Other figures",
    "missing": "Failures and gaps",
    "settings": "Settings and environment",
}


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page."""

    source: str
    width: int
    height: int
    caption: str
    description: str


@dataclass(frozen=True)
class Gallery:
    """One model's image grids: how the first seed developed (its last grid last), and other seeds."""

    model: str
    stages: list[Picture]
    other_seeds: list[Picture]
    command: str


def write_report(study: Path) -> Path:
    """Write `STUDY/report.html`, and its figures and each run's last grid in `STUDY/figures/`.

    The same folder gives the same bytes. Whatever is missing from it is named on the page.

    Parameters
    ----------
    study : Path
        A study folder, with at least its `results.json`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        If `results.json` is missing or invalid, if the folder cannot be written to, or if it has a page but
        the runs with the pictures for it are gone.
    """
    study = Path(study)
    content = read_study(study)
    page = study / "report.html"
    trained = any(row["table"] == "training" for row in content.results["rows"])
    if trained and not content.runs and page.exists():
        raise UserError(
            f"{study / 'runs'} is gone, so a new page would lack the pictures that {page} has; bring it "
            f"back, or remove the page to have one without"
        )
    context = _context(content)
    for kind in ("answers", "errors", "progress", "curves"):
        for drawing in context[kind]:
            write_text(study / "figures" / f"{drawing.name}.svg", drawing.file)
    for run in content.runs:
        if run.samples:
            write_bytes(study / "figures" / f"samples-{run.name}.png", run.samples[-1][1])
    write_text(page, _render(context))
    return page


def _render(context: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(context)


def _context(study: Study) -> dict[str, Any]:
    """Return everything that the template shows."""
    from capsulegan.report import curves, figures

    results, settings = study.results, study.settings
    rows, data = results["rows"], str(results["data"].get("name", ""))
    runs = [run for run in study.runs if run.model not in words.JUDGES]
    models = list(dict.fromkeys([*models_of(rows, settings), *(run.model for run in runs)]))
    tables = tables_of(results)
    others = [table for table in tables if table.name not in KNOWN]
    absent = {"others": not others, "missing": not (study.missing or results["failures"])}
    title = words.listed([words.model_name(model) for model in models])
    if not 0 < len(models) < 3:
        title = words.count(len(models), "adversarial network")
    return {
        "title": f"{title} on {words.data_name(data)}",
        "summary": summary_of(results, settings),
        "missing": study.missing,
        "failures": results["failures"],
        "galleries": [gallery for model in models if (gallery := _gallery(model, runs))],
        "tables": {name: [table for table in tables if table.name == name] for name in KNOWN},
        "others": others,
        "sections": {key: heading for key, heading in SECTIONS.items() if not absent.get(key)},
        "answers": [figures.best_answers()] if any(table.name == "battle" for table in tables) else [],
        "errors": figures.classification_errors(rows, data, models),
        "progress": curves.progress_curves(rows, models),
        "curves": curves.training_curves(runs, models),
        "events": [(run.name, row) for run in study.runs for row in run.log if row.get("event")],
        "colours": {words.model_name(model): figures.colour_of(model, models) for model in models},
        "study_command": str(results.get("command") or settings.get("command") or ""),
        "facts": {
            "Settings": _plain(settings),
            "Data": _plain(results["data"]),
            "Environment": _plain({"capsulegan": results.get("version"), **results["environment"]}),
        },
        "paper": paper,
    }


def _gallery(model: str, runs: Sequence[RunFolder]) -> Gallery | None:
    """Return the first, the middle and the last grid of a model's first seed, and other seeds' last."""
    runs = [run for run in runs if run.model == model and run.samples]
    if not runs:
        return None
    grids = runs[0].samples
    stages = [grids[index] for index in sorted({0, len(grids) // 2, len(grids) - 1})]
    command = f"capsulegan sample {shlex.quote(f'runs/{runs[0].name}')} --count 64"
    return Gallery(
        words.model_name(model),
        [_picture(runs[0], images, data) for images, data in stages],
        [_picture(run, *run.samples[-1]) for run in runs[1:]],
        command,
    )


def _picture(run: RunFolder, images: int, data: bytes) -> Picture:
    width, height = struct.unpack(">II", data[16:24])  # the size stands first in a PNG's header
    name = words.model_name(run.model)
    return Picture(
        f"data:image/png;base64,{base64.b64encode(data).decode()}",
        width,
        height,
        f"{images:,} images seen, seed {run.seed}",
        f"Grid of images generated by {name}, seed {run.seed}, after {images:,} training images.",
    )


def _plain(document: dict[str, Any]) -> dict[str, str]:
    """Return a document's entries as text."""
    return {
        str(key): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in document.items()
        if value is not None
    }
