"""The recipes that models are trained by: plain ones, and the best that were found. Imports no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from capsulegan.errors import UserError, unknown_name

Preset = Literal["small", "capsnet", "deep"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that each model has values for, as `TrainingSettings` explains them. Here the plain ones."""

    preset: Preset = "small"
    batch_norm: bool = False
    spectral_norm: bool = False
    r1_weight: float = 0.0
    instance_noise: float = 0.0
    augmentation: str = "none"
    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    beta1: float = 0.5
    learning_rate_half_life: int = 0
    average_half_life: int = 0


SETTINGS = tuple(field.name for field in dataclasses.fields(Recipe))
"""The names of a recipe's settings."""
POLICIES = ("mirror", "color", "translation", "cutout")
"""Ways of changing images before the discriminator is shown them (`capsulegan.training.augmentation`)."""
ADVERSARIAL = ("gan", "capsulegan", "gan-margin", "capsulegan-bce")
BEST = "-best"
"""Ends the name of a model that is trained by the best recipe found for it."""
CLASSIFIERS = ("capsnet", "resnet")
MODELS = (*ADVERSARIAL, *(name + BEST for name in ADVERSARIAL), *CLASSIFIERS)
"""All that can be trained."""
JUDGES = {"cifar10": "resnet"}
"""The classifiers that judge images of some data; CapsNet judges all others."""
ON_MNIST = Recipe(r1_weight=1.0, learning_rate_half_life=500_000, average_half_life=20_000)
ON_CIFAR10 = Recipe(
    r1_weight=0.1,
    generator_learning_rate=4e-4,
    discriminator_learning_rate=4e-4,
    learning_rate_half_life=1_500_000,
    average_half_life=20_000,
)
BEST_RECIPES = {
    "mnist": {
        "gan": dataclasses.replace(ON_MNIST, generator_learning_rate=8e-4, discriminator_learning_rate=8e-4),
        "capsulegan": dataclasses.replace(
            ON_MNIST, generator_learning_rate=4e-4, discriminator_learning_rate=4e-4, batch_norm=True
        ),
    },
    "cifar10": {"gan": ON_CIFAR10, "capsulegan": ON_CIFAR10},
}
"""By data and discriminator, found by `benchmarks/recipes.py`; docs/experiments.md has what was tried.
The convolutional one always has batch norm. A model with the other loss takes its discriminator's."""
DIGITS = ("digits", "mnist", "stacked-mnist")
"""The data that take MNIST's recipes; all other images take those of CIFAR-10."""


def policies_of(augmentation: str) -> tuple[str, ...]:
    """Return the policies of an augmentation, as 'mirror,translation', or none of 'none'.

    Raises
    ------
    UserError
        If there is no such policy, or one stands twice.
    """
    if augmentation == "none":
        return ()
    policies = tuple(augmentation.split(","))
    for policy in policies:
        if policy not in POLICIES:
            raise unknown_name("augmentation", policy, ("none", *POLICIES))
    if len(set(policies)) < len(policies):
        raise UserError(f"augmentation must name each policy once, got {augmentation!r}")
    return policies


def judge_for(data: str) -> str:
    """Return the classifier that judges images of this data."""
    return JUDGES.get(data, "capsnet")


def recipe_of(model: str, data: str) -> Recipe:
    """Return how a model is trained on some data where nothing else is said.

    Raises
    ------
    UserError
        If there is no such model.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if model in CLASSIFIERS:
        return Recipe(preset="deep")
    if model.endswith(BEST):
        return BEST_RECIPES["mnist" if data in DIGITS else "cifar10"][model.split("-")[0]]
    return Recipe()
