"""A study folder that is asked for more: its settings stay, its grid of models and seeds grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from capsulegan.errors import UserError
from capsulegan.files import read_json
from capsulegan.study.configuration import StudyConfig
from capsulegan.study.plan import Cell
from capsulegan.training.configuration import CHANGEABLE

GROWING = CHANGEABLE - {"images"} | {"models", "seeds", "features", "workers"}
"""Settings in which a study may be run again: its grid may grow, and the machine may be another."""


def grown(config: StudyConfig, folder: Path) -> StudyConfig:
    """Return the study of a folder, with all models and seeds that it has been asked for so far."""
    path = folder / "study.json"
    if not path.exists():
        return config
    earlier = read_json(path)
    if not isinstance(earlier, dict):
        raise UserError(f"{path}: expected the settings of a study, got something else")
    document = config.to_json()
    changed = [
        f"{name}: {earlier.get(name)!r} -> {value!r}"
        for name, value in document.items()
        if name not in GROWING | (document.keys() - earlier.keys())  # settings of a later version
        and earlier.get(name) != (list(value) if isinstance(value, tuple) else value)
    ]
    if changed:
        raise UserError(
            f"{folder} holds a study with other settings ({'; '.join(changed)}); choose another --out"
        )
    models, seeds = earlier.get("models"), earlier.get("seeds")
    if not (of_type(models, str) and of_type(seeds, int)):
        raise UserError(f"{path}: expected lists of models and seeds, got {models!r} and {seeds!r}")
    return dataclasses.replace(
        config,
        models=tuple(dict.fromkeys([*models, *config.models])),
        seeds=tuple(dict.fromkeys([*seeds, *config.seeds])),
        features=config.features or earlier.get("features") is True,
        snapshot_images=config.snapshot_images or earlier.get("snapshot_images", 0),
    )


def runs_of(config: StudyConfig, folder: Path) -> list[str]:
    """Return the names of all runs that a study has been asked for so far, these ones last.

    They are not all models with all seeds, where it grew by some seeds of one model.

    Raises
    ------
    UserError
        If the folder's list of them is none.
    """
    path = folder / "study.json"
    earlier = read_json(path) if path.exists() else {"runs": []}
    runs = earlier.get("runs")
    if runs is None:  # of an earlier version
        runs = names_of(earlier["models"], earlier["seeds"])
    if not of_type(runs, str):
        raise UserError(f"{path}: expected a list of runs, got {runs!r}")
    return list(dict.fromkeys([*runs, *names_of(config.models, config.seeds)]))


def names_of(models: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Return the names of the runs of these models with these seeds."""
    return [Cell(model, seed).name for seed in seeds for model in models]


def commands_of(folder: Path, command: str) -> str:
    """Return the commands that have made a study so far, this one last, as a line for a shell."""
    earlier = str(read_json(folder / "study.json").get("command", ""))
    others = [each for each in earlier.split(" && ") if each != command]
    return " && ".join(filter(None, [*others, command]))


def of_type(values: Any, kind: type) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is a list of values of this type alone."""
    return isinstance(values, list) and all(type(value) is kind for value in values)
