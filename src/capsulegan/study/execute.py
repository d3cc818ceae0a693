"""Executes a study stage by stage. What is done is not done again; what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from capsulegan.data import ImageData, load_data
from capsulegan.errors import UserError
from capsulegan.evaluation.battle import tournament
from capsulegan.evaluation.classification import (
    Exam,
    View,
    classify_controls,
    classify_generated,
    prepare_exam,
)
from capsulegan.evaluation.rows import ResultRow
from capsulegan.evaluation.scores import (
    Opinion,
    features_seen_by,
    judge_error,
    judge_images,
    reference_opinion,
    scores_over_training,
)
from capsulegan.files import write_json
from capsulegan.published import load, published_judge
from capsulegan.study.collect import collect
from capsulegan.study.configuration import StudyConfig
from capsulegan.study.growth import commands_of, grown, runs_of
from capsulegan.study.plan import Cell, Stage, evaluation_stages, training_cells
from capsulegan.study.rows import read_rows
from capsulegan.study.training import Progress, train_cells
from capsulegan.training.interruption import Interrupted, Interruption, interruption
from capsulegan.training.run import Run, locked


def execute(config: StudyConfig, folder: Path, progress: Progress, command: str = "") -> dict[str, Any]:
    """Train, evaluate and collect; return the document that `results.json` then holds.

    What is asked for is trained and evaluated, and collected together with what earlier calls have left in
    the folder, so a study may grow by some models or seeds at a time.

    Parameters
    ----------
    config : StudyConfig
    folder : Path
        The study folder. One that was stopped is gone on with; a finished one costs nothing.
    progress : callable
        Told the name of the task, how much of it is done, and how much there is.
    command : str
        What the user typed, for the record.

    Raises
    ------
    UserError
        If the data cannot be had, or the folder holds a study with other settings.
    Interrupted
        If Ctrl-C or SIGTERM came; the same call goes on from there.
    """
    config = config.filled_in()
    whole = grown(config, folder)
    in_order = tuple(model for model in whole.models if model in config.models)
    config = dataclasses.replace(config, models=in_order)  # pairs are named by it
    bench = Bench(whole, folder)
    labelled = len(bench.train.classes) > 1
    if labelled and config.labels:
        bench.exam(config.seeds[0])  # numbers of labels that the data has not are told of before training
    judge = bench.judge_cell if labelled and not bench.published_judge else None
    with locked(folder), interruption() as stop:
        commands = command if whole == config else commands_of(folder, command)
        asked = {"runs": runs_of(config, folder), "command": commands}
        write_json(folder / "study.json", {**whole.to_json(), **asked})
        failures = train_cells(training_cells(config, judge), config, folder, progress, stop)
        failures += evaluate(evaluation_stages(config, labelled), bench, progress, stop)
        cells, stages = training_cells(whole, judge), evaluation_stages(whole, labelled)
        results = collect(folder, bench.train, bench.test, cells, stages, failures)
        write_json(folder / "results.json", results)
    return results


@dataclass
class Bench:
    """What the stages of a study work on, loaded when first needed."""

    config: StudyConfig
    folder: Path

    @cached_property
    def train(self) -> ImageData:
        """The training images."""
        return load_data(
            self.config.data, "train", image_size=self.config.image_size, strict=self.config.strict
        )

    @cached_property
    def test(self) -> ImageData:
        """The test images."""
        return load_data(
            self.config.data, "test", image_size=self.config.image_size, strict=self.config.strict
        )

    @cached_property
    def reference(self) -> Opinion:
        """The judge's opinion of training images."""
        return reference_opinion(self.judge, self.train, self.config.samples)

    @cached_property
    def published_judge(self) -> Run | None:
        """The judge that comes with the package for this data, unless another was asked for."""
        return None if self.config.judge_images else published_judge(self.train.digest, self.config.device)

    @property
    def judge_cell(self) -> Cell:
        """The judge that the study trains where none comes with the package."""
        return Cell(self.config.judge, self.config.seeds[0])

    @cached_property
    def judge(self) -> Run:
        """The classifier whose features the scores are on."""
        return self.published_judge or self.run(self.judge_cell)

    @cached_property
    def view(self) -> View:
        """The judge's features as what images are compared by."""
        return features_seen_by(self.judge)

    def run(self, cell: Cell) -> Run:
        """Return a run of the study."""
        return load(self.folder / "runs" / cell.name, self.config.device)

    def exam(self, seed: int, by_features: bool = False) -> Exam:
        """Return the semi-supervised classification of one seed, by pixels or by the judge's features."""
        config, view = self.config, self.view if by_features else None
        return prepare_exam(self.train, self.test, config.labels, seed, config.spreading, config.choose, view)


def battle(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Let the two runs fight."""
    runs = [bench.run(cell) for cell in stage.cells]
    return tournament(runs, bench.train, bench.test, samples=bench.config.samples, seed=stage.seed)


def exam_of(stage: Stage, bench: Bench) -> Exam:
    """Return the exam of a stage."""
    return bench.exam(stage.seed, by_features=stage.kind.endswith("-features"))


def classify(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Spread labels over a run's images."""
    return classify_generated(exam_of(stage, bench), bench.run(stage.cells[0]), bench.config.unlabelled)


def controls(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Spread labels over noise and over real images."""
    return classify_controls(exam_of(stage, bench), bench.config.unlabelled)


def score(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Let the judge score a run's images."""
    run = bench.run(stage.cells[0])
    images = run.sample(bench.config.samples, stage.seed)
    return judge_images(images, bench.judge, bench.reference, run.config.model, stage.seed)


def score_progress(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Let the judge score what a run's generator drew as it was trained."""
    run = bench.run(stage.cells[0])
    return scores_over_training(run, bench.view, bench.reference.features, bench.config.samples, stage.seed)


def score_real(stage: Stage, bench: Bench) -> list[ResultRow]:
    """Let the judge score real test images, and score the judge."""
    images = bench.test.images[: bench.config.samples]
    rows = judge_images(images, bench.judge, bench.reference, "real", stage.seed)
    return [*rows, judge_error(bench.judge, bench.test)]


KINDS: dict[str, Callable[[Stage, Bench], list[ResultRow]]] = {
    "battle": battle,
    "classify": classify,
    "classify-features": classify,
    "controls": controls,
    "controls-features": controls,
    "evaluate": score,
    "progress": score_progress,
    "real": score_real,
}


def is_done(file: Path) -> bool:
    """Return whether a stage has left its rows; damaged ones are made again."""
    try:
        return bool(read_rows(file))
    except UserError:
        return False


def evaluate(
    stages: Sequence[Stage], bench: Bench, progress: Progress, stop: Interruption
) -> list[dict[str, str]]:
    """Run the stages whose file is not there yet; return the failures, as {'stage', 'error'}."""
    failures = []
    for stage in stages:
        if is_done(stage.file(bench.folder)):
            continue
        if stop.requested:
            raise Interrupted(f"stopped; the same command goes on with {bench.folder}")
        progress(stage.name, 0, 1)
        try:
            write_json(stage.file(bench.folder), KINDS[stage.kind](stage, bench))
        except (UserError, ValueError, RuntimeError, MemoryError) as error:
            failures.append({"stage": stage.name, "error": " ".join(str(error).split())})
        progress(stage.name, 1, 1)
    return failures
