"""Checkpoints: everything that training needs to go on, in files that are whole or absent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from capsulegan.errors import UserError
from capsulegan.files import read_json, sha256, write_json
from capsulegan.tensors import read_tensors, write_tensors

KEPT = 2


def save_checkpoint(folder: Path, images: int, state: Mapping[str, Tensor]) -> None:
    """Write the state after `images` images; keep it and the one before, remove older ones.

    A checkpoint is a file of tensors and, written after it, a record that carries the file's digest. One
    without its record does not count.
    """
    weights = folder / f"{images:012d}.safetensors"
    write_tensors(weights, state, {"images": str(images)})
    write_json(weights.with_suffix(".json"), {"schema": 1, "images": images, "sha256": sha256(weights)})
    for record in sorted(folder.glob("*.json"))[:-KEPT]:
        record.unlink()
    kept = {record.stem for record in folder.glob("*.json")}
    for stray in [path for path in folder.glob("*.safetensors") if path.stem not in kept]:
        stray.unlink()


def load_checkpoint(folder: Path, expected: Mapping[str, Tensor]) -> tuple[int, dict[str, Tensor]] | None:
    """Return the newest sound checkpoint as (images, state), or None where there is none.

    A damaged one is named in a warning and the one before it is taken.

    Raises
    ------
    UserError
        If there are checkpoints and all of them are damaged.
    """
    records = sorted(folder.glob("*.json"), reverse=True)
    for record in records:
        weights = record.with_suffix(".safetensors")
        try:
            document = read_json(record)
            if not weights.is_file() or document.get("sha256") != sha256(weights):
                raise UserError(f"{weights} is damaged or missing")
            images = document.get("images")
            if type(images) is not int or images != int(record.stem):
                raise UserError(f"{record} is damaged")
            return images, read_tensors(weights, expected)
        except (OSError, AttributeError, ValueError) as error:
            warnings.warn(f"{error}; going on from the checkpoint before it", stacklevel=2)
    if records:
        raise UserError(f"{folder}: every checkpoint is damaged; train again into another --out")
    return None


def optimizer_state(name: str, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return Adam's step counts and moments as tensors named '<name>.<parameter index>.<kind>'."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[str, Tensor] = {}
    for index, parameter in enumerate(parameters):
        moments = optimizer.state[parameter]
        if not moments:  # as Adam itself begins, so that a checkpoint has one form at any step
            moments["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            moments["exp_avg"] = torch.zeros_like(parameter)
            moments["exp_avg_sq"] = torch.zeros_like(parameter)
        state |= {f"{name}.{index}.{kind}": moments[kind] for kind in ("step", "exp_avg", "exp_avg_sq")}
    return state
