"""Trains the runs of a study side by side, each in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from capsulegan.errors import UserError
from capsulegan.published import load
from capsulegan.study.configuration import StudyConfig
from capsulegan.study.plan import Cell
from capsulegan.training.configuration import Config
from capsulegan.training.environment import resolved
from capsulegan.training.interruption import Interrupted, Interruption
from capsulegan.training.log import read_log

Progress = Callable[[str, float, float], None]
"""Told the name of a task, how much of it is done, and how much there is."""

POLL_SECONDS = 0.5


@dataclass
class Worker:
    """A run in training."""

    cell: Cell
    config: Config
    folder: Path
    process: subprocess.Popen[str]
    errors: IO[str]

    @property
    def images_seen(self) -> int:
        """How far it is, by its log."""
        return max((row["images"] for row in read_log(self.folder / "log.jsonl")), default=0)

    def end(self) -> str | None:
        """Wait for the process to end; return None if all went well, else the last line that it wrote."""
        code = self.process.wait()
        assert self.process.stdin is not None
        with self.process.stdin, self.errors:
            self.errors.seek(0)
            lines = [line.strip() for line in self.errors if line.strip()]
        if code == 0:
            return None
        return lines[-1] if lines else f"ended with code {code}"


def train_cells(
    cells: Sequence[Cell], config: StudyConfig, study: Path, progress: Progress, stop: Interruption
) -> list[dict[str, str]]:
    """Train what is not trained yet; return the failures, as {'stage', 'error'}.

    Raises
    ------
    Interrupted
        If stopping was asked for; every run has saved what it had.
    """
    waiting = deque(cell for cell in cells if not finished(study / "runs" / cell.name, config, cell))
    if not waiting:
        return []
    cores = len(os.sched_getaffinity(0))
    side_by_side = min(config.workers or cores, len(waiting))
    threads = config.threads or max(1, cores // side_by_side)
    running: list[Worker] = []
    failures = []
    while waiting or running:
        while waiting and len(running) < side_by_side and not stop.requested:
            running.append(start(waiting.popleft(), config, study, threads))
        time.sleep(POLL_SECONDS)
        if stop.requested:
            for worker in running:
                worker.process.terminate()
            for worker in running:
                worker.end()
            raise Interrupted(f"stopped; the same command goes on with {study}")
        for worker in running:
            progress(f"train {worker.cell.name}", worker.images_seen, worker.config.images)
        for worker in [each for each in running if each.process.poll() is not None]:
            running.remove(worker)
            if error := worker.end():
                failures.append({"stage": f"train {worker.cell.name}", "error": error})
    return failures


def start(cell: Cell, config: StudyConfig, study: Path, threads: int) -> Worker:
    """Start the process that trains a run."""
    folder = study / "runs" / cell.name
    run = dataclasses.replace(wanted(cell, config, folder), threads=threads)
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when the process has ended
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "capsulegan.study.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(run.to_json()) + "\n")
    process.stdin.flush()
    return Worker(cell, run, folder, process, errors)


def wanted(cell: Cell, config: StudyConfig, folder: Path) -> Config:
    """Return how the study wants a run trained.

    Where precision is left to the machine, a run that another machine began goes on in that one's.
    """
    run = resolved(config.run(cell.model, cell.seed))
    if config.precision == "auto" and (folder / "config.json").exists():
        with contextlib.suppress(UserError):
            return dataclasses.replace(run, precision=load(folder).config.precision)
    return run


def finished(folder: Path, config: StudyConfig, cell: Cell) -> bool:
    """Return whether a run is trained as the study wants it."""
    if not (folder / "config.json").exists():
        return False
    try:
        run = load(folder)
    except UserError:
        return False
    return run.finished and not run.config.differences(wanted(cell, config, folder))
