"""Evaluation: battles, semi-supervised classification, and scores on a judge's features."""

from typing import TYPE_CHECKING

from capsulegan.lazy import importer

if TYPE_CHECKING:
    from capsulegan.evaluation.label_spreading import SpreadingError as SpreadingError
    from capsulegan.evaluation.label_spreading import label_spreading_error as label_spreading_error
    from capsulegan.evaluation.metric import Battle as Battle
    from capsulegan.evaluation.metric import balanced_threshold as balanced_threshold
    from capsulegan.evaluation.metric import (
        generative_adversarial_metric as generative_adversarial_metric,
    )
    from capsulegan.evaluation.settings import SpreadingSettings as SpreadingSettings

__all__ = [
    "Battle",
    "SpreadingError",
    "SpreadingSettings",
    "balanced_threshold",
    "generative_adversarial_metric",
    "label_spreading_error",
]

__getattr__ = importer(
    __name__,
    {
        "Battle": "capsulegan.evaluation.metric",
        "SpreadingError": "capsulegan.evaluation.label_spreading",
        "SpreadingSettings": "capsulegan.evaluation.settings",
        "balanced_threshold": "capsulegan.evaluation.metric",
        "generative_adversarial_metric": "capsulegan.evaluation.metric",
        "label_spreading_error": "capsulegan.evaluation.label_spreading",
    },
)
