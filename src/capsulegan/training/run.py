"""A run folder: what a finished training left, and how to use it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from capsulegan.errors import UserError
from capsulegan.files import PARTIAL, read_json, write_json
from capsulegan.networks import CapsNet, Generator
from capsulegan.randomness import latents_for
from capsulegan.tensors import load_weights
from capsulegan.training.batches import unscaled
from capsulegan.training.build import (
    CLASSIFIERS,
    ImageShape,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.configuration import Config
from capsulegan.training.log import read_log

Network = TypeVar("Network", bound=nn.Module)

LATENT_BLOCK = 1000
"""Latents drawn from one derived seed, and images drawn at once."""


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a run remembers of its data: enough to rebuild the networks and to recognise the data."""

    digest: str
    image_size: int
    channels: int
    classes: tuple[str, ...]

    @property
    def shape(self) -> ImageShape:
        """What the networks need."""
        return ImageShape(self.image_size, self.channels, len(self.classes))


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run. Networks are loaded when first asked for, in evaluation mode, on the CPU."""

    folder: Path
    config: Config
    data: DataFacts

    @property
    def finished(self) -> bool:
        """Whether training has come to its end and left the networks."""
        names = ("classifier",) if self.config.model in CLASSIFIERS else ("generator", "discriminator")
        seen = max((row["images"] for row in read_log(self.folder / "log.jsonl")), default=0)
        whole = all((self.folder / f"{name}.safetensors").is_file() for name in names)
        return whole and seen >= self.config.images

    @functools.cached_property
    def generator(self) -> Generator:
        """The trained generator (its moving average, where one was kept)."""
        return self._load(build_generator(self.config, self.data.shape), "generator")

    @functools.cached_property
    def discriminator(self) -> nn.Module:
        """The trained discriminator: images (B, C, H, W) in [-1, 1] -> logits (B,)."""
        return self._load(build_discriminator(self.config, self.data.shape), "discriminator")

    @functools.cached_property
    def classifier(self) -> CapsNet:
        """The trained classifier of a `capsnet` run."""
        return self._load(build_classifier(self.config, self.data.shape), "classifier")

    def latents(self, count: int, seed: int = 0) -> Tensor:
        """Draw latents for the generator: float32 (count, latent_dim). The first n are always the same.

        Raises
        ------
        UserError
            If `count` is below 1.
        """
        if count < 1:
            raise UserError(f"count must be at least 1, got {count}")
        blocks = range(-(-count // LATENT_BLOCK))
        parts = [latents_for(seed, "sample", block, LATENT_BLOCK, self.config.latent_dim) for block in blocks]
        return torch.cat(parts)[:count]

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Draw images: uint8 (count, H, W, C). The first n are the same whatever the count.

        Raises
        ------
        UserError
            If `count` is below 1, or the run has no generator.
        """
        batches = torch.split(self.latents(count, seed), LATENT_BLOCK)
        return np.concatenate([unscaled(self.generator(latents)) for latents in batches])

    def _load(self, network: Network, name: str) -> Network:
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            kind = "is a classifier" if self.config.model in CLASSIFIERS else "is not finished"
            raise UserError(f"{self.folder} has no {name}: the run {kind} (model {self.config.model})")
        load_weights(network, path)
        return network.eval()


def write_description(folder: Path, config: Config, data: DataFacts, environment: dict[str, Any]) -> None:
    """Write `config.json` and `environment.json`."""
    write_json(folder / "environment.json", {**environment, "data": dataclasses.asdict(data)})
    write_json(folder / "config.json", config.to_json())


def read_description(folder: Path) -> tuple[Config, DataFacts]:
    """Return what `write_description` wrote.

    Raises
    ------
    UserError
        If a file is missing or not what it should be.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no run folder: it has no config.json; `capsulegan train` makes one")
    config = Config.from_json(read_json(folder / "config.json"), str(folder / "config.json"))
    path = folder / "environment.json"
    try:
        facts = read_json(path)["data"]
        data = DataFacts(
            str(facts["digest"]),
            int(facts["image_size"]),
            int(facts["channels"]),
            tuple(map(str, facts["classes"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: expected the facts of the data, got something else ({error})") from error
    return config, data


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder alone; the kernel lets go of it when this process ends, however it ends.

    Raises
    ------
    UserError
        If another process holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is in use by another process; wait for it or choose another --out"
            ) from None
        for stray in [*folder.glob(PARTIAL), *folder.glob(f"*/{PARTIAL}")]:  # of a holder that was killed
            stray.unlink()
        yield
