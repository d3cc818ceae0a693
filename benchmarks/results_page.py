"""Makes docs/results.md and the README's table from the studies under results/.

    python benchmarks/results_page.py

Every figure comes from a `results.json`; nothing is typed.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

from capsulegan.report import Table, tables_of, to_markdown
from capsulegan.report.words import data_name

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: begin (made by benchmarks/results_page.py) -->", "<!-- results: end -->"
STUDIES = ("mnist", "cifar10")
"""The studies whose tables the README shows."""
INTRODUCTION = """# Results

Made by `python benchmarks/results_page.py` from the files under `results/`. What each figure means stands
in [what is measured, and how](evaluation.md).
"""

IN_README = (
    "Generative Adversarial Metric",
    "Classification error, k-nearest",
    "Classification error, settings",
    "Capsules or loss, evaluation scores",
)
"""Beginnings of the titles of those tables: they answer the package's question in short."""


def main() -> None:
    for path in studies():
        for picture in pictures_of(path.parent):
            target = ROOT / "docs" / "figures" / f"{path.parent.name}-{picture.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(picture, target)
    (ROOT / "docs" / "results.md").write_text(page())
    readme = ROOT / "README.md"
    block = f"{BEGIN}\n{tables_for_readme()}\n{END}"
    readme.write_text(
        re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, readme.read_text(), flags=re.S)
    )


def page() -> str:
    """Return docs/results.md: each study's command, grids, discussion and tables."""
    parts = [INTRODUCTION]
    for path in studies():
        results = json.loads(path.read_text())
        name, facts = path.parent.name, results["environment"]
        parts.append(f"## {name}\n")
        parts.append(
            f"`{results['command']}`, version {results['version']}, {facts['date']}, {facts['cores']} cores "
            f"({facts['processor']}), torch {facts['torch']}{trained_on(path.parent)}.\n"
        )
        parts += [
            f"![{name}, {picture.stem}](figures/{name}-{picture.name})"
            for picture in pictures_of(path.parent)
        ]
        discussion = path.parent / "discussion.md"
        if discussion.exists():
            parts.append("\n" + discussion.read_text().strip() + "\n")
        parts += ["\n" + to_markdown(table) + "\n" for table in tables_of(results)]
    return "\n".join(parts).strip() + "\n"


def trained_on(study: Path) -> str:
    """Return on which GPUs runs of a study were trained, if any were."""
    environments = [json.loads(path.read_text()) for path in sorted(study.glob("runs/*/environment.json"))]
    gpus = [facts["gpu"] for facts in environments if "gpu" in facts]
    return "".join(
        f"; {gpus.count(gpu)} of {len(environments)} runs were trained on one {gpu}"
        for gpu in dict.fromkeys(gpus)
    )


def tables_for_readme() -> str:
    """Return the tables of `IN_README`, of the paper's data sets."""
    parts = []
    for name in STUDIES:
        path = ROOT / "results" / name / "results.json"
        tables = tables_of(json.loads(path.read_text())) if path.exists() else []
        shown = [to_markdown(in_short(table)) for table in tables if table.title.startswith(IN_README)]
        parts += [f"### {data_name(name)}\n", *(f"#{table}" for table in shown)] if shown else []
    return "\n".join(parts)


def studies() -> list[Path]:
    return sorted((ROOT / "results").glob("*/results.json"))


def pictures_of(study: Path) -> list[Path]:
    return sorted((study / "figures").glob("samples-*.png"))


def in_short(table: Table) -> Table:
    """Return the rows of most seeds alone; of battles the first pair, which is the paper's."""
    if table.name == "battle":
        rows = [row for row in table.rows if row[0] == table.rows[0][0]]
    else:
        seeds = [int(row[-1].split()[0]) for row in table.rows]  # of "3 seeds"
        rows = [row for row, count in zip(table.rows, seeds, strict=True) if count == max(seeds)]
    return dataclasses.replace(table, rows=tuple(rows))


if __name__ == "__main__":
    main()
