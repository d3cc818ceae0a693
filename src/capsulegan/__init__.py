"""Generative adversarial networks with a capsule-network discriminator.

The names below are imported when they are first used, so that `import capsulegan` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsulegan.published import load as load
    from capsulegan.training.configuration import Config as Config
    from capsulegan.training.loop import train as train
    from capsulegan.training.run import Run as Run

__all__ = ["Config", "Run", "load", "train"]

_HOMES = {
    "Config": "capsulegan.training.configuration",
    "Run": "capsulegan.training.run",
    "load": "capsulegan.published",
    "train": "capsulegan.training.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'capsulegan' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
