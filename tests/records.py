"""The records under results/, and the tables of the documentation, as tests compare them."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text()


def record(name):
    return json.loads((ROOT / "results" / name).read_text())


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]
