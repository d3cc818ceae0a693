"""Which JSON values are rows of results: asked of every file of rows before anything is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsulegan.errors import UserError
from capsulegan.files import read_json

NAMES = ("table", "figure", "model")
WHOLE = ("seed", "n", "images_seen", "labels", "unlabelled", "reference_images", "neighbours")
NUMBERS = ("value", "seconds", "low", "high", "spread", "tolerance", *WHOLE)
TEXTS = ("data_digest", "version", "verdict", "reason", "rule", "kernel", "features", "estimator", "note")
LARGEST = 1e100
"""A figure beyond it cannot be averaged in floats."""


def fault_of(row: Any) -> str | None:
    """Return what is wrong with a row, or None: names are text, figures are numbers or null."""
    if not isinstance(row, dict) or not all(name in row for name in (*NAMES, "seed", "value", "settings")):
        return f"must have {', '.join(NAMES)}, seed, value, settings"
    settings = row["settings"]
    if not isinstance(settings, dict):
        return "must have an object of settings"
    for where in (row, settings):
        for name, value in where.items():
            if name in NAMES and not isinstance(value, str):
                return f"must have text as its {name}"
            if name in TEXTS and not isinstance(value, str | None):
                return f"must have text or null as its {name}"
            if name in WHOLE and type(value) not in (int, type(None)):
                return f"must have a whole number or null as its {name}"
            if name in NUMBERS and not is_number_or_null(value):
                return f"must have a number or null as its {name}"
    return None


def is_number_or_null(value: Any) -> bool:
    """Return whether a value is null or a number that can be reckoned with."""
    return value is None or (type(value) in (int, float) and abs(value) < LARGEST)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of rows.

    Raises
    ------
    UserError
        If it cannot be read, or holds anything but rows.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of rows")
    for index, row in enumerate(rows):
        if fault := fault_of(row):
            raise UserError(f"{path}: row {index} {fault}")
    return rows
