"""The commands from data to a trained network, its images and its ONNX file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from capsulegan import console
from capsulegan.commands.command import AUTO, Command
from capsulegan.training.configuration import Config


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
class Train(Config, Command):
    """Train one model."""

    model: Positional[str]
    """gan, capsulegan, gan-margin, capsulegan-bce; the same by the best recipe found for such data, as
    capsulegan-best; or a classifier: capsnet or resnet."""
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
class Export(Command):
    """Write a run's network as an ONNX file, for runtimes without PyTorch."""

    run: Positional[str]
    """A run folder, a run that comes with the package, or a hub id."""
    out: Path
    """The file: FILE.onnx."""
    network: Literal["generator", "discriminator", "classifier"] | None = None
    """Which of the run's networks; the generator, or the classifier, if not given."""

    def __call__(self) -> None:
        from capsulegan.export import write_onnx
        from capsulegan.published import load

        facts = write_onnx(load(self.run), self.out, self.network)
        console.print_result(self.out, self.json, facts)
