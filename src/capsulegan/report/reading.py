"""What a study folder holds; what is missing or torn in it is named, not fatal."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsulegan.errors import UserError
from capsulegan.files import read_json
from capsulegan.report import words
from capsulegan.study.rows import fault_of

PNG_HEADER_BYTES = 33
"""The signature and the first block, which holds the size."""


@dataclass(frozen=True)
class RunFolder:
    """One run: `name` is its folder's name; `samples` are (images seen, PNG bytes), ascending."""

    name: str
    model: str
    seed: int
    config: dict[str, Any]
    log: list[dict[str, Any]]
    samples: list[tuple[int, bytes]]
    missing: list[str]


@dataclass(frozen=True)
class Study:
    """A study's settings, results and runs, and what should be there and is not."""

    settings: dict[str, Any]
    results: dict[str, Any]
    runs: list[RunFolder]
    missing: list[str]


def read_study(study: Path) -> Study:
    """Read a study folder.

    Raises
    ------
    UserError
        If its `results.json` is missing or not one of schema 1.
    """
    study = Path(study)
    results = _results(study / "results.json")
    missing: list[str] = []
    settings = _document(study / "study.json", missing)
    for key, kind in (("models", str), ("seeds", int), ("runs", str)):
        if key in settings:
            named = settings[key] if isinstance(settings[key], list) else []
            settings[key] = [each for each in named if type(each) is kind]
    models: list[str] = settings.get("models", [])
    folders = sorted((study / "runs").glob("*-s*")) if (study / "runs").is_dir() else []
    named = {folder.name: match for folder in folders if (match := re.fullmatch(r"(.+)-s(\d+)", folder.name))}
    grid = [f"{model}-s{seed}" for seed in settings.get("seeds", []) for model in models]
    missing += [f"{name} left no folder" for name in settings.get("runs", grid) if name not in named]
    runs = [_run(study / "runs" / name, match[1], int(match[2])) for name, match in named.items()]
    runs.sort(
        key=lambda run: (
            models.index(run.model) if run.model in models else len(models),
            run.model,
            run.seed,
        )
    )
    digests = {str(value) for key, value in results["data"].items() if key.endswith("digest")}
    if strangers := sum(digests.isdisjoint({row.get("data_digest")}) for row in results["rows"] if digests):
        missing.append(
            f"{words.count(strangers, 'figure')} measured on other data than the rest (another digest)"
        )
    missing += [f"{run.name}: {text}" for run in runs for text in run.missing]
    return Study(settings, results, runs, missing)


def _results(path: Path) -> dict[str, Any]:
    """Return the results with every part that the report reads present and of its type."""
    results = read_json(path)
    if not isinstance(results, dict) or results.get("schema") != 1:
        raise UserError(f"cannot read {path}: expected the results of a study, schema 1")
    parts = {"data": dict, "environment": dict, "rows": list, "failures": list}
    for key, kind in parts.items():
        if not isinstance(results.setdefault(key, kind()), kind):
            raise UserError(f"cannot read {path}: {key!r} must be a {kind.__name__}")
    for index, row in enumerate(results["rows"]):
        if fault := fault_of(row):
            raise UserError(f"cannot read {path}: row {index} {fault}")
    results["failures"] = [
        {key: str(failure.get(key, "unknown")) for key in ("stage", "error")}
        if isinstance(failure, dict)
        else {"stage": "a stage", "error": str(failure)}
        for failure in results["failures"]
    ]
    return results


def _document(path: Path, missing: list[str]) -> dict[str, Any]:
    with contextlib.suppress(UserError):
        if isinstance(document := read_json(path), dict):
            return document
    missing.append(f"no readable {path.name}")
    return {}


def _run(folder: Path, model: str, seed: int) -> RunFolder:
    missing: list[str] = []
    config = _document(folder / "config.json", missing)
    log = list(_log(folder / "log.jsonl", missing))
    samples = [
        (int(path.stem), data)
        for path in sorted((folder / "samples").glob("*.png"))
        if path.stem.isdecimal() and (data := _png(path))
    ]
    if not samples and model not in words.JUDGES:
        missing.append("no sample images")
    return RunFolder(folder.name, model, seed, config, log, samples, missing)


def _png(path: Path) -> bytes | None:
    """Return a PNG file's bytes; None if it cannot be read or is cut off within its first block."""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > PNG_HEADER_BYTES:
            return data
    return None


def _log(path: Path, missing: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log; the last line of an interrupted run may be torn."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    torn = 0
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
        else:
            torn += 1
    if not lines:
        missing.append(f"no {path.name}, so no training curves")
    if torn:
        missing.append(f"{torn} unreadable line{'s' * (torn > 1)} in {path.name}")
