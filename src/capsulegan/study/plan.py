"""What a study has to do: its stages, in order, each with the file that it leaves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capsulegan.study.configuration import StudyConfig


@dataclass(frozen=True)
class Cell:
    """One training run of the grid."""

    model: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder under `runs/`."""
        return f"{self.model}-s{self.seed}"


@dataclass(frozen=True)
class Stage:
    """One piece of evaluation. Its rows are written to `stages/<name>.json` when it is done."""

    name: str
    kind: str
    """One of `KINDS` in `study/execute.py`."""
    cells: tuple[Cell, ...] = ()
    """The runs that it needs."""
    seed: int = 0

    def file(self, study: Path) -> Path:
        """Return where its rows stand."""
        return study / "stages" / f"{self.name}.json"


def training_cells(config: StudyConfig, judge: Cell | None) -> list[Cell]:
    """Return the runs to train: the judge, if there is one to be trained, and every model with every seed."""
    cells = [Cell(model, seed) for seed in config.seeds for model in config.models]
    return [judge, *cells] if judge else cells


def evaluation_stages(config: StudyConfig, labelled: bool) -> list[Stage]:
    """Return what is to be evaluated when the runs are trained."""
    stages = []
    for seed in config.seeds:
        cells = tuple(Cell(model, seed) for model in config.models)
        stages += [
            Stage(f"battle-{first.name}-{second.name}", "battle", (first, second), seed)
            for first, second in itertools.combinations(cells, 2)
        ]
    if not labelled:
        return stages
    stages.append(Stage("evaluate-real", "real", (), config.seeds[0]))
    views = ("", "-features") if config.features else ("",)
    for seed in config.seeds:
        stages += [Stage(f"controls{view}-s{seed}", f"controls{view}", (), seed) for view in views]
        for model in config.models:
            cell = Cell(model, seed)
            stages.append(Stage(f"evaluate-{cell.name}", "evaluate", (cell,), seed))
            if config.snapshot_images:
                stages.append(Stage(f"progress-{cell.name}", "progress", (cell,), seed))
            for view in views:
                stages.append(Stage(f"classify{view}-{cell.name}", f"classify{view}", (cell,), seed))
    return stages


def described(cells: Sequence[Cell], stages: Sequence[Stage]) -> str:
    """Return the plan in one line."""
    kinds: dict[str, int] = {}
    for stage in stages:
        kinds[stage.kind] = kinds.get(stage.kind, 0) + 1
    parts = [f"{len(cells)} runs to train", *(f"{count} x {kind}" for kind, count in kinds.items())]
    return ", ".join(parts)
