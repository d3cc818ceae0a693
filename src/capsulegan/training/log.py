"""The log of a run: rows of means in log.jsonl, the same as TensorBoard events."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from capsulegan.files import write_text

Row = dict[str, Any]

MOST_IMAGES = 10**13
"""More than a run can be configured to see."""


class Meter:
    """Means of scalars over the steps since the last row, without a wait for the device.

    Values that are not finite are left out and counted.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names = names
        self.state = {
            "meter.sums": torch.zeros(len(names), device=device),
            "meter.counts": torch.zeros(len(names), device=device),
            "meter.steps": torch.zeros((), device=device),
        }

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one step's scalars."""
        stacked = torch.stack([values[name].float() for name in self.names])
        finite = stacked.isfinite()
        self.state["meter.sums"] += torch.where(finite, stacked, torch.zeros_like(stacked))
        self.state["meter.counts"] += finite
        self.state["meter.steps"] += 1

    def row(self) -> Row:
        """Return the means, None where no step was finite, with the number of skipped steps; begin anew."""
        steps = int(self.state["meter.steps"].item())
        counts = self.state["meter.counts"].tolist()
        sums = self.state["meter.sums"].tolist()
        means = (total / count if count else None for total, count in zip(sums, counts, strict=True))
        row: Row = dict(zip(self.names, means, strict=True))
        row["skipped_steps"] = steps - int(min(counts))
        for tensor in self.state.values():
            tensor.zero_()
        return row


class Log:
    """Rows appended to `RUN/log.jsonl` and `RUN/tensorboard/`.

    Parameters
    ----------
    folder : Path
        The run folder.
    after : int
        Images seen at the checkpoint that the run goes on from: later rows, and a line torn by a crash,
        are dropped.
    """

    def __init__(self, folder: Path, after: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "log.jsonl"
        self.rows = [row for row in read_log(path) if row["images"] <= after]
        write_text(path, "".join(map(to_line, self.rows)))
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(folder / "tensorboard", purge_step=after + 1)

    def append(self, row: Row) -> None:
        """Add one row; `row["images"]` is its place on the axis."""
        self.rows.append(row)
        self._file.write(to_line(row))
        self._file.flush()
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("images", "step"):
                self._events.add_scalar(name, value, row["images"])

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._events.close()


def to_line(row: Row) -> str:
    """Return a row as one line of JSON; what is not finite becomes null."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


def read_log(path: Path) -> Iterator[Row]:
    """Yield the whole rows of a log.jsonl; a line that is torn or no row ends it."""
    if not path.is_file():
        return
    seen = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not line.endswith("\n") or not is_row(row) or row["images"] <= seen:
            return
        seen = row["images"]
        yield row


def is_row(row: Any) -> bool:
    """Return whether a JSON value is a row: finite numbers or null by name, and perhaps an event."""
    if not isinstance(row, dict) or type(row.get("images")) is not int or row["images"] > MOST_IMAGES:
        return False
    numbers = [value for name, value in row.items() if name != "event" and value is not None]
    return isinstance(row.get("event", ""), str) and all(map(is_finite_number, numbers))


def is_finite_number(value: Any) -> bool:
    """Return whether a JSON value is a number that a float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
