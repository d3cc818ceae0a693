"""The command line: what each command takes, and which function does it. Wiring only."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

from capsulegan import console
from capsulegan.errors import UserError
from capsulegan.evaluation.settings import Kernel, SpreadingSettings
from capsulegan.study.configuration import StudyConfig
from capsulegan.training.configuration import Config

AUTO = "auto"  # runs compute on a GPU where there is one
Part = Literal["layers", "networks", "steps", "choices", "heads", "profile", "growth"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of every command."""

    json: bool = False
    """Print the result as one JSON document on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


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
class Train(Config, Command):
    """Train one model."""

    model: Positional[str]
    """gan, capsulegan, gan-margin, capsulegan-bce; the same by the best recipe found, as capsulegan-best; or
    a classifier: capsnet or resnet."""
    data: str
    """digits, mnist, cifar10, stacked-mnist, or the path of a folder of images or of an .npz."""
    out: Path | None = None
    """The run folder; runs/MODEL-DATA-sSEED if not given."""
    resume: bool = False
    """Go on with the run in that folder."""

    def __call__(self) -> None:
        from capsulegan.training.loop import train

        config = Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)})
        with console.progress_bars("images") as progress:

            def show(images: int, total: int, row: object) -> None:
                progress(f"train {self.model}", images, total)

            run = train(config, self.out, resume=self.resume, progress=show)
        console.print_result(run.folder, self.json, {"run": str(run.folder), "config": run.config.to_json()})


@dataclass(frozen=True)
class Sample(Command):
    """Draw images from a run's generator."""

    run: Positional[str]
    """A run folder, a run that comes with the package, or a hub id."""
    count: int = 64
    """Images to draw."""
    seed: int = 0
    """Of the latents. The first n images are the same whatever the count."""
    out: Path = Path("samples.png")
    """A grid as .png, or all images as .npz with `images` (N, H, W, C) uint8."""

    def __call__(self) -> None:
        from capsulegan.pictures import write_images
        from capsulegan.published import load

        write_images(self.out, load(self.run, AUTO).sample(self.count, self.seed))
        facts = {"file": str(self.out), "count": self.count, "seed": self.seed}
        console.print_result(self.out, self.json, facts)


@dataclass(frozen=True)
class Battle(Command):
    """Let runs fight: the Generative Adversarial Metric; more than two make a tournament."""

    runs: Positional[tuple[str, ...]]
    """Run folders, or hub ids. The first of a pair is the numerator of both ratios."""
    data: str | None = None
    """The real images; those of the first run if not given."""
    samples: int = 10_000
    """Images that each generator draws."""
    seed: int = 0
    """Of the latents."""
    batch_norm: Literal["running", "batch"] = "running"
    """Discriminators judge by the statistics of training, or by those of the images judged together."""
    tolerance: float = 0.1
    """How far r_test may be from 1 for there to be a verdict."""

    def __call__(self) -> None:
        from capsulegan.data import load_data
        from capsulegan.evaluation.battle import tournament
        from capsulegan.published import load

        runs = [load(run, AUTO) for run in self.runs]
        if len(runs) < 2:
            raise UserError(f"a battle needs two runs or more, got {len(runs)}")
        data, size = self.data or runs[0].config.data, runs[0].data.image_size
        train, test = (load_data(data, split, image_size=size) for split in ("train", "test"))
        rows = tournament(
            runs, train, test, samples=self.samples, seed=self.seed,
            batch_norm=self.batch_norm, tolerance=self.tolerance,
        )  # fmt: skip
        shown = ("rule", "low", "high", "verdict")
        console.print_rows("Generative Adversarial Metric", rows, shown, self.json)
        for row in rows:
            if row["figure"] == "r_samples" and not self.json:
                rule, verdict, reason = (row["settings"][name] for name in ("rule", "verdict", "reason"))
                print(f"{row['model']}, {rule} rule: {verdict}, since {reason}")


@dataclass(frozen=True)
class Classify(Command):
    """Classify real test images by label spreading, a run's images being the unlabelled ones."""

    run: Positional[str]
    """A run folder, a run that comes with the package, or a hub id."""
    labels: tuple[int, ...] = ()
    """Numbers of labelled images; none: 100, 1,000 and 10,000, as far as the data has them."""
    unlabelled: int = 50_000
    """Images to draw."""
    seed: int = 0
    """Of the labelled images and of the latents."""
    kernel: Kernel = "knn"
    """How neighbours are weighed: 1 each; exp(-gamma d^2); or that beside the local scale of distances."""
    neighbours: int = 7
    """Neighbours that a point is joined to, itself among them."""
    gamma: float = 0.1
    """Of the radial kernels, for pixels in [0, 1]."""
    alpha: float = 0.2
    """Share of its label that a point takes from its neighbours."""
    choose: bool = False
    """Spread a second time with settings chosen by the error on held-out training images."""
    features: bool = False
    """Compare images by the features of a judge, this package's or one beside the run, not by pixels."""
    no_controls: bool = False
    """Leave out the controls: labelled images alone, noise, real images."""

    def __call__(self) -> None:
        from capsulegan.data import load_data
        from capsulegan.evaluation.classification import classify_controls, classify_generated, prepare_exam
        from capsulegan.evaluation.scores import features_seen_by
        from capsulegan.published import judge_of, load

        run = load(self.run, AUTO)
        view = features_seen_by(judge_of(run)) if self.features else None
        settings = SpreadingSettings(self.kernel, self.neighbours, self.gamma, self.alpha)
        size = run.data.image_size
        train, test = (load_data(run.config.data, split, image_size=size) for split in ("train", "test"))
        exam = prepare_exam(train, test, self.labels, self.seed, settings, self.choose, view)
        rows = classify_generated(exam, run, self.unlabelled)
        if not self.no_controls:
            rows += classify_controls(exam, self.unlabelled)
        shown = ("labels", "unlabelled", "kernel", "neighbours", "gamma", "alpha", "low", "high")
        console.print_rows("Label spreading, test error", rows, shown, self.json)


@dataclass(frozen=True)
class Evaluate(Command):
    """Score a run's images on the features of a judge: distances, class diversity."""

    run: Positional[str]
    """A run folder, a run that comes with the package, or a hub id."""
    judge: str | None = None
    """A classifier of the same data (none: this package's, or one beside the run), or `inception`."""
    samples: int = 10_000
    """Images to draw."""
    seed: int = 0
    """Of the latents."""
    over_training: bool = False
    """Score the copies of the generator too that `--snapshot-images` kept."""

    def __call__(self) -> None:
        from capsulegan.evaluation.inception import inception_view
        from capsulegan.evaluation.scores import evaluate_run
        from capsulegan.files import write_json
        from capsulegan.published import WEIGHTS, judge_of, load

        run = load(self.run, AUTO)
        judge = inception_view(run.device) if self.judge == "inception" else judge_of(run, self.judge)
        rows = evaluate_run(run, judge, self.samples, self.seed, self.over_training)
        if run.folder.parent != WEIGHTS:
            write_json(run.folder / "metrics.json", rows)
        shown = ("images_seen", "features") if self.over_training else ("features",)
        console.print_rows("Scores on the judge's features", rows, shown, self.json)


@dataclass(frozen=True)
class Report(Command):
    """Write the page of a study anew."""

    study: Positional[Path]
    """A study folder."""

    def __call__(self) -> None:
        from capsulegan.report import write_report

        page = write_report(self.study)
        console.print_result(page, self.json, {"report": str(page)})


@dataclass(frozen=True)
class Data(Command):
    """Fetch and check a data set."""

    data: Positional[str]
    """digits, mnist, cifar10, stacked-mnist, or the path of a folder of images or of an .npz."""

    def __call__(self) -> None:
        from capsulegan.data import fetch

        summary = fetch(self.data)
        facts = [[name, str(value)] for name, value in summary.items()]
        console.print_json(summary) if self.json else console.print_table(self.data, ["", ""], facts)


@dataclass(frozen=True)
class Bench(Command):
    """Measure what the parts cost on this machine, beside plain references and the machine's limit."""

    parts: Positional[tuple[Part, ...]] = ()
    """What to measure; none: layers, networks and steps, in about two minutes."""
    threads: int = 1
    """CPU threads; with one, CPU time is measured, else wall time."""

    def __call__(self) -> None:
        from capsulegan.bench.run import run, show

        document = run(self.parts, self.threads)
        console.print_json(document) if self.json else show(document)


COMMANDS: dict[str, Callable[..., Any]] = {
    command.__name__.lower(): command
    for command in (Study, Train, Sample, Battle, Classify, Evaluate, Report, Data, Bench)
}


def parse(arguments: Sequence[str] | None = None) -> Any:
    """Return the command that the arguments ask for, an instance of one of `COMMANDS`."""
    return console.parsed(
        lambda: tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="capsulegan",
            description="Generative adversarial networks with a capsule-network discriminator.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 training failed, 2 the user's mistake, 130 interrupted."""
    with console.while_somebody_reads():
        command = parse(arguments)
        sys.exit(console.exit_code(command, command.debug))


if __name__ == "__main__":
    main()
