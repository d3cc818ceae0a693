"""The commands of whole studies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from capsulegan import console
from capsulegan.commands.command import Command
from capsulegan.study.configuration import StudyConfig


@dataclass(frozen=True)
class Study(StudyConfig, Command):
    """Do the paper's whole experiment on one data set, and write a report."""

    data: Positional[str]
    """digits, mnist, cifar10, stacked-mnist, or the path of a folder of images or of an .npz."""
    out: Path | None = None
    """The study folder; runs/DATA if not given. A study that was stopped is gone on with."""

    def __call__(self) -> None:
        from capsulegan.report import tables_of, write_report
        from capsulegan.study.execute import execute

        config = StudyConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(StudyConfig)})
        folder = self.out or Path("runs") / Path(self.data).stem
        with console.progress_bars("") as progress:
            results = execute(config, folder, progress, console.command_line())
        page = write_report(folder)
        if self.json:
            console.print_json({**results, "report": str(page)})
            return
        for table in tables_of(results):
            console.print_table(table.title, list(table.columns), [list(row) for row in table.rows])
        for failure in results["failures"]:
            console.say(f"failed: {failure['stage']}: {failure['error']}")
        print(page)


@dataclass(frozen=True)
class Report(Command):
    """Write the page of a study anew."""

    study: Positional[Path]
    """A study folder."""

    def __call__(self) -> None:
        from capsulegan.report import write_report

        page = write_report(self.study)
        console.print_result(page, self.json, {"report": str(page)})
