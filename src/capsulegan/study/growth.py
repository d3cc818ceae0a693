"""A study folder that is asked for more: its settings stay, its grid of models and seeds grows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeGuard

from capsulegan.errors import UserError
from capsulegan.files import read_json
from capsulegan.study.configuration import StudyConfig
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


def commands_of(folder: Path, command: str) -> str:
    """Return the commands that have made a study so far, this one last, as a line for a shell."""
    earlier = str(read_json(folder / "study.json").get("command", ""))
    others = [each for each in earlier.split(" && ") if each != command]
    return " && ".join(filter(None, [*others, command]))


def of_type(values: Any, kind: type) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is a list of values of this type alone."""
    return isinstance(values, list) and all(type(value) is kind for value in values)
