"""The settings of a study. Imports no torch, so that the command line starts quickly."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from capsulegan.errors import UserError, unknown_name
from capsulegan.evaluation.settings import FEWEST_SAMPLES, Kernel, SpreadingSettings
from capsulegan.training.configuration import Config, TrainingSettings, default_images
from capsulegan.training.recipes import CLASSIFIERS, MODELS, judge_for

MOST = {"judge_images": 10**12, "samples": 10**7, "unlabelled": 10**7, "workers": 4096}


@dataclass(frozen=True)
class StudyConfig(TrainingSettings):
    """The whole experiment of the paper on one data set: every model with every seed, then all tests."""

    data: str
    """digits, mnist, cifar10, stacked-mnist, or the path of a folder of images or of an .npz."""
    models: tuple[str, ...] = ("gan", "capsulegan")
    """What to compare; the first of a pair is the numerator of the metric (Eq. 4 and 5)."""
    seeds: tuple[int, ...] = (0,)
    """One run of every model for each."""
    judge_images: int = 0
    """Training images for a classifier that judges samples. 0: the judge that comes with the package for
    this data, or where there is none, one trained on as many images as `images`, but 300,000 at most."""
    samples: int = 10_000
    """Images that each generator draws for battles and scores."""
    unlabelled: int = 0
    """Unlabelled images in label spreading; 0: 50,000 as in the paper, or 5,000 for the digits."""
    labels: tuple[int, ...] = ()
    """Numbers of labelled images; none: 100, 1,000 and 10,000, as far as the data has them."""
    kernel: Kernel = "knn"
    """How label spreading weighs neighbours: knn, rbf or local."""
    neighbours: int = 7
    """Neighbours that a point is joined to in label spreading."""
    gamma: float = 0.1
    """Of the radial kernels, for pixels in [0, 1]."""
    alpha: float = 0.2
    """Share of its label that a point takes from its neighbours."""
    choose: bool = False
    """Spread labels a second time with settings of least error on held-out training images, chosen for each
    model and number."""
    features: bool = False
    """Spread labels once more over the judge's features instead of pixels, in tables of their own."""
    workers: int = 0
    """Runs trained side by side, each with its share of the cores; 0: as many as there are cores or runs."""

    def __post_init__(self) -> None:
        """Validate every value, once.

        Raises
        ------
        UserError
            If a value is out of its range.
        """
        super().__post_init__()
        for name in self.models:
            if name in CLASSIFIERS or name not in MODELS:
                raise unknown_name("model", name, [known for known in MODELS if known not in CLASSIFIERS])
        for field, values in (("models", self.models), ("seeds", self.seeds)):
            if not values or len(set(values)) != len(values):
                raise UserError(f"{field} must be one or more, each once, got {list(values)}")
        for field in ("judge_images", "unlabelled", "workers"):
            if getattr(self, field) < 0:
                raise UserError(f"{field} must be 0 or more, got {getattr(self, field)}")
        if self.samples < FEWEST_SAMPLES:
            raise UserError(f"samples must be at least {FEWEST_SAMPLES}, got {self.samples}")
        for field, most in MOST.items():
            if getattr(self, field) > most:
                raise UserError(f"{field} must be at most {most}, got {getattr(self, field)}")
        if self.labels and min(self.labels) < 1:
            raise UserError(f"labels must be 1 or more, got {min(self.labels)}")
        _ = self.spreading
        for seed in self.seeds:
            self.run(self.models[0], seed)

    @property
    def spreading(self) -> SpreadingSettings:
        """How labels spread."""
        return SpreadingSettings(self.kernel, self.neighbours, self.gamma, self.alpha)

    @property
    def judge(self) -> str:
        """The classifier that judges, where none comes with the package."""
        return judge_for(self.data)

    def filled_in(self) -> StudyConfig:
        """Return the study with the numbers that were left to the data."""
        digits = self.data == "digits"
        images = self.images or default_images(self.data)
        return dataclasses.replace(
            self,
            images=images,
            unlabelled=self.unlabelled or (5_000 if digits else 50_000),
        )

    def run(self, model: str, seed: int) -> Config:
        """Return the configuration of one run."""
        settings = self.training_settings()
        if model == self.judge:
            most = 64_000 if self.data == "digits" else 300_000
            settings["images"] = self.judge_images or min(self.filled_in().images, most)
        return Config(model, self.data, seed, **settings)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return {"schema": 1, **dataclasses.asdict(self)}
