"""Generative adversarial networks with a capsule-network discriminator."""

from typing import TYPE_CHECKING

from capsulegan.lazy import importer

if TYPE_CHECKING:
    from capsulegan.published import load as load
    from capsulegan.training.configuration import Config as Config
    from capsulegan.training.loop import train as train
    from capsulegan.training.run import Run as Run

__all__ = ["Config", "Run", "load", "train"]

__getattr__ = importer(
    __name__,
    {
        "Config": "capsulegan.training.configuration",
        "Run": "capsulegan.training.run",
        "load": "capsulegan.published",
        "train": "capsulegan.training.loop",
    },
)
