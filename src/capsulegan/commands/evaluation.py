"""The commands that judge runs: battles, label spreading, scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from capsulegan import console
from capsulegan.commands.command import AUTO, Command
from capsulegan.errors import UserError
from capsulegan.evaluation.settings import Kernel, SpreadingSettings


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
