"""Makes docs/results.md and the README's table from the studies under results/.

    python benchmarks/results_page.py

Every figure comes from a `results.json`; nothing is typed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from capsulegan.report import tables_of, to_markdown

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: begin (made by benchmarks/results_page.py) -->", "<!-- results: end -->"
STUDIES = ("mnist", "cifar10")
"""The studies whose tables the README shows."""
INTRODUCTION = """# Results

Made by `python benchmarks/results_page.py` from the files under `results/`. What each figure means stands
in [what is measured, and how](evaluation.md).
"""


IN_README = ("Generative Adversarial Metric", "Classification error", "Capsules or loss")
"""Beginnings of the titles of those tables: they answer the package's question in short."""


def main() -> None:
    page, readme = [INTRODUCTION], []
    for path in sorted((ROOT / "results").glob("*/results.json")):
        results = json.loads(path.read_text())
        name, facts = path.parent.name, results["environment"]
        page.append(f"## {name}\n")
        page.append(
            f"`{results['command']}`, version {results['version']}, {facts['date']}, {facts['cores']} cores "
            f"({facts['processor']}), torch {facts['torch']}.\n"
        )
        for picture in sorted((path.parent / "figures").glob("samples-*.png")):
            target = ROOT / "docs" / "figures" / f"{name}-{picture.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(picture, target)
            page.append(f"![{name}, {picture.stem}](figures/{target.name})")
        discussion = path.parent / "discussion.md"
        if discussion.exists():
            page.append("\n" + discussion.read_text().strip() + "\n")
        for table in tables_of(results):
            page.append("\n" + to_markdown(table).replace("\n#", "\n##") + "\n")
            if name in STUDIES and table.title.startswith(IN_README):
                readme.append(to_markdown(table))
    (ROOT / "docs" / "results.md").write_text("\n".join(page).strip() + "\n")
    path = ROOT / "README.md"
    block = f"{BEGIN}\n" + "\n\n".join(readme) + f"\n{END}"
    path.write_text(
        re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, path.read_text(), flags=re.S)
    )


if __name__ == "__main__":
    main()
