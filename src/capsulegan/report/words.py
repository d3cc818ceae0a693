"""The names that a reader sees, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from capsulegan.training.recipes import BEST

MINUS: Final = "\N{MINUS SIGN}"
MODELS: Final = {
    "gan": "GAN",
    "capsulegan": "CapsuleGAN",
    "gan-margin": "GAN (margin loss)",
    "capsulegan-bce": "CapsuleGAN (cross-entropy)",
}
JUDGES: Final = {"capsnet": "CapsNet (judge)", "resnet": "residual network (judge)", "judge": "judge"}
CONTROLS: Final = {
    "labelled-only": "labelled images alone (1-nearest neighbour)",
    "noise": "noise as unlabelled (control)",
    "real": "real images as unlabelled (ceiling)",
}
DATA: Final = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits",
    "stacked-mnist": "Stacked MNIST",
}
FIGURES: Final = {
    "frechet_distance": "Fréchet distance\N{NO-BREAK SPACE}↓",
    "kernel_distance": "kernel distance\N{NO-BREAK SPACE}↓",
    "class_entropy": "class entropy, nats\N{NO-BREAK SPACE}↑",
    "recognised_share": "recognised share\N{NO-BREAK SPACE}↑",
    "precision": "precision\N{NO-BREAK SPACE}↑",
    "recall": "recall\N{NO-BREAK SPACE}↑",
    "density": "density\N{NO-BREAK SPACE}↑",
    "coverage": "coverage\N{NO-BREAK SPACE}↑",
    "seconds": "training, s",
    "images": "images seen",
    "generator_parameters": "parameters of G",
    "discriminator_parameters": "parameters of D",
    "step_gigaflops": "GFLOP a step",
    "images_per_second": "images / s",
    "discriminator_loss": "last loss of D",
    "generator_loss": "last loss of G",
}


def model_name(model: str) -> str:
    """Return a model's name for readers; of a pair "a:b", both."""
    return " : ".join(map(part_name, model.split(":")))


def part_name(model: str) -> str:
    """Return the name of a model alone: "CapsuleGAN (best recipe)"."""
    plain = model.removesuffix(BEST)
    name = (MODELS | JUDGES).get(plain, plain)
    if plain == model:
        return name
    return f"{name[:-1]}, best recipe)" if name.endswith(")") else f"{name} (best recipe)"


def data_name(data: str) -> str:
    """Return the data's name for readers."""
    return DATA.get(data, data) or "unnamed data"


def figure_name(figure: str) -> str:
    """Return a figure's column title, with its unit and an arrow towards better."""
    return FIGURES.get(figure, figure.replace("_", " "))


def in_order(models: Iterable[str]) -> list[str]:
    """Return each model once, in the order of appearance, and the controls after them."""
    controls = list(CONTROLS)
    return sorted(dict.fromkeys(models), key=lambda m: controls.index(m) + 1 if m in controls else 0)


def decimals_of(value: float, digits: int) -> int:
    """Return the decimals that show a value to so many significant digits."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def number(value: float, decimals: int | None = None) -> str:
    """Return a number for readers: whole numbers whole, others to four significant digits."""
    if decimals is None and 0 < abs(value) < 1e-6:
        return f"{value:.3g}".replace("-", MINUS, value < 0)
    if decimals is None:
        decimals = 0 if value == int(value) else decimals_of(value, 4)
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if text.strip("-0.") else text.lstrip("-")


def p_value(value: float) -> str:
    """Return a p-value for readers, to two digits: "0.034", "< 0.0001"."""
    return "< 0.0001" if value < 1e-4 else number(value, decimals_of(value, 2))


def labelled(n: int) -> str:
    """Return "n = 1,000", which no line end may part."""
    return f"n = {n:,}".replace(" ", "\N{NO-BREAK SPACE}")


def count(size: int, singular: str, plural: str | None = None) -> str:
    """Return "1 seed", "3 seeds"."""
    return f"{size:,} {singular if size == 1 else plural or singular + 's'}"


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
