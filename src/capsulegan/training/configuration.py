"""The settings of a training run. Imports no torch, so that the command line starts quickly."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from capsulegan.errors import UserError, unknown_name
from capsulegan.sizes import SIZES, is_image_size
from capsulegan.training.recipes import MODELS, SETTINGS, Preset, Recipe, policies_of, recipe_of

CHANGEABLE = frozenset(
    {
        "images",
        "log_images",
        "sample_images",
        "snapshot_images",
        "checkpoint_minutes",
        "device",
        "threads",
        "deterministic",
        "on_collapse",
    }
)
"""Settings that a resumed run may change: duration, how often to report, and where to compute."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train, whatever the model. Durations are in images, so they hold at any batch size.

    None stands for the model's own value (`capsulegan.training.recipes`).
    """

    images: int = 0
    """How many training images to show in all; 0: 600,000 (10 epochs of MNIST), or 128,000 of the digits."""
    batch_size: int = 64
    """Images a step."""
    image_size: int | None = None
    """Pixels; a multiple of 4 from 8 to 128. None: the size that the data has."""
    strict: bool = False
    """Stop at the first image file that cannot be read, instead of skipping it."""
    latent_dim: int = 100
    """Length of the generator's latent vectors."""
    width: int = 64
    """Channels of the largest maps in the generator and in the convolutional discriminator; the resnet
    classifier has half as many, and 8 at least."""
    preset: Preset | None = None
    """Layers below the last capsules: one convolution and few parameters, as Sabour et al. (2017), or three
    convolutions with batch norm. Small for a discriminator and deep for the classifier, if not given."""
    head: Literal["one", "hidden", "two", "attention"] = "one"
    """Above the primary capsules of a discriminator: one capsule, as in the paper; ten routed ones below it;
    two routed ones, real and generated; or one with couplings by a softmax over inputs."""
    routing_iterations: int = 3
    """Of layers that route: the classifier's last, and those of the heads."""
    batch_norm: bool | None = None
    """Batch norm after the convolutions below the capsule discriminator's primary capsules."""
    spectral_norm: bool | None = None
    """Divide the weights of the discriminator's convolutions by their largest singular value."""
    r1_weight: float | None = None
    """Weight of half the squared gradient of the discriminator on real images, taken every 16 steps."""
    instance_noise: float | None = None
    """Standard deviation of Gaussian noise on all images that the discriminator is shown (-1 to 1)."""
    augmentation: str | None = None
    """How images are changed by chance before the discriminator is shown them, real and generated alike: some
    of mirror, color, translation and cutout, with commas between them, or none."""
    generator_learning_rate: float | None = None
    """Adam's step size for the generator; 2e-4 in the plain recipes."""
    discriminator_learning_rate: float | None = None
    """Adam's step size for the discriminator; 2e-4 in the plain recipes."""
    classifier_learning_rate: float = 1e-3
    """Adam's step size for classifiers."""
    classifier_weight_decay: float = 0.0
    """Share of a classifier's weights that each step takes away, times the step size (AdamW)."""
    beta1: float | None = None
    """Adam's decay of the gradient's mean: 0.5 in the plain recipes; always 0.9 for classifiers."""
    beta2: float = 0.999
    """Adam's decay of the gradient's mean square."""
    learning_rate_half_life: int | None = None
    """Images after which all step sizes are halved; 0 keeps them as they are."""
    average_half_life: int | None = None
    """Half-life, in images, of a moving average of the generator's weights; 0 keeps none."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Of convolutions and matrix products. auto: bf16 where the processor computes in it, else 32."""
    threads: int = 0
    """CPU threads; 0 takes one for each core. Results are bit-identical only at equal threads."""
    device: str = "auto"
    """auto, cpu or cuda."""
    deterministic: bool = False
    """On a GPU, take only algorithms that give the same bits each time; slower. A CPU always does."""
    log_images: int = 6_400
    """Images between two rows of log.jsonl."""
    sample_images: int = 64_000
    """Images between two sample grids."""
    snapshot_images: int = 0
    """Images between two copies of the generator, by which its scores are followed; 0 keeps none."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""
    on_collapse: Literal["continue", "stop"] = "continue"
    """What to do when the discriminator has won for good or the generator draws one image only."""

    def __post_init__(self) -> None:
        """Validate every value, once.

        Raises
        ------
        UserError
            If a value is out of its range.
        """
        for field in dataclasses.fields(self):
            check_value(field, getattr(self, field.name))
        if self.augmentation is not None:
            policies_of(self.augmentation)

    def training_settings(self) -> dict[str, Any]:
        """Return the settings of this class alone, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainingSettings)}


@dataclass(frozen=True)
class Config(TrainingSettings):
    """One training run: what to train, on what data, and how."""

    model: str
    """What to train: gan, capsulegan, gan-margin or capsulegan-bce; the same by the best recipe found for
    such data, as capsulegan-best; or a classifier: capsnet or resnet."""
    data: str
    """digits, mnist, cifar10, stacked-mnist, or the path of a folder of images or of an .npz."""
    seed: int = 0
    """Everything random is a function of this, of its purpose, and of the step."""

    @property
    def recipe(self) -> Recipe:
        """The settings that differ from model to model: what is given here, else the model's own."""
        given = {name: getattr(self, name) for name in SETTINGS if getattr(self, name) is not None}
        return dataclasses.replace(recipe_of(self.model, self.data), **given)

    @classmethod
    def from_json(cls, document: Any, source: str) -> Config:
        """Return the configuration in a JSON document that `source` names in errors.

        Raises
        ------
        UserError
            If the document is no object, or has a setting that is missing, unknown or out of range.
        """
        if not isinstance(document, dict):
            raise UserError(f"{source}: expected an object of settings, got {type(document).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(document) - known - {"schema"}):
            raise UserError(
                f"{source}: unknown setting {unknown[0]!r}; it is of another version of the package"
            )
        given = dataclasses.asdict(Recipe()) | document  # an earlier version did without what it had not
        try:
            return cls(**{name: given[name] for name in given if name != "schema"})
        except (TypeError, UserError) as error:
            raise UserError(f"{source}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return {"schema": 1, **dataclasses.asdict(self)}

    def differences(self, other: Config) -> list[str]:
        """Describe the settings that differ and may not change in a resumed run: 'seed: 0 -> 1'."""
        return [
            f"{field.name}: {getattr(self, field.name)!r} -> {getattr(other, field.name)!r}"
            for field in dataclasses.fields(self)
            if field.name not in CHANGEABLE and getattr(self, field.name) != getattr(other, field.name)
        ]


def default_images(data: str) -> int:
    """Return how many images a run shows if nothing is said: 10 epochs of MNIST, or 89 of the digits."""
    return 128_000 if data == "digits" else 600_000


RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "images": (0, 10**12),
    "batch_size": (2, 2**16),
    "latent_dim": (1, 2**14),
    "width": (1, 2**12),
    "generator_learning_rate": (1e-12, 10.0),
    "discriminator_learning_rate": (1e-12, 10.0),
    "classifier_learning_rate": (1e-12, 10.0),
    "classifier_weight_decay": (0.0, 10.0),
    "beta1": (0.0, 0.999999),
    "beta2": (0.0, 0.999999),
    "learning_rate_half_life": (0, 10**12),
    "average_half_life": (0, 10**12),
    "r1_weight": (0.0, 10**6),
    "instance_noise": (0.0, 100.0),
    "routing_iterations": (1, 100),
    "threads": (0, 4096),
    "log_images": (1, 10**12),
    "sample_images": (1, 10**12),
    "snapshot_images": (0, 10**12),
    "checkpoint_minutes": (0.0, 10**6),
}
CHOICES = {
    "model": MODELS,
    "preset": get_args(Preset),
    "head": ("one", "hidden", "two", "attention"),
    "precision": ("auto", "32", "bf16"),
    "device": ("auto", "cpu", "cuda"),
    "on_collapse": ("continue", "stop"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
}


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise UserError if a value is not of its field's type or range (JSON and Python callers give any)."""
    declared, name = str(field.type), field.name
    bare = declared.removesuffix(" | None")
    if value is None and bare != declared:
        return
    expected = TYPES.get(bare, (str,) if bare.startswith(("Literal", "Preset")) else (object,))
    if expected != (object,) and type(value) not in expected:  # a bool is no int here
        raise UserError(f"{name} must be of type {bare}, got {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise unknown_name(name, value, CHOICES[name])
    if name in RANGES:
        low, high = RANGES[name]
        if not low <= value <= high:
            raise UserError(f"{name} must be between {low} and {high}, got {value}")
    if name == "image_size" and not is_image_size(value):
        raise UserError(f"image_size must be {SIZES}, got {value}")
