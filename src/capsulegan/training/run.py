"""A run folder: what a finished training left, and how to use it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capsulegan.errors import UserError
from capsulegan.files import PARTIAL, read_json, write_json
from capsulegan.networks import Generator
from capsulegan.randomness import latents_for
from capsulegan.sizes import is_image_size
from capsulegan.tensors import load_weights, parameter_count, sent
from capsulegan.training.batches import unscaled
from capsulegan.training.build import (
    Classifier,
    ImageShape,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.configuration import Config
from capsulegan.training.log import read_log
from capsulegan.training.recipes import CLASSIFIERS

BUILDERS: dict[str, Callable[[Config, ImageShape], nn.Module]] = {
    "generator": build_generator,
    "discriminator": build_discriminator,
    "classifier": build_classifier,
}
LATENT_BLOCK = 1000
"""Latents drawn from one derived seed, and images drawn at once."""
MOST_BYTES = 2**33
"""Neither the latents nor the images that are drawn at one call may be larger."""


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
    """A finished run. Networks are loaded when first asked for, in evaluation mode, on `device`."""

    folder: Path
    config: Config
    data: DataFacts
    device: str = "cpu"
    snapshot: int | None = None
    """The generator is the copy kept after so many images; None: the one that training ended with."""

    @property
    def snapshots(self) -> list[int]:
        """After how many images copies of the generator were kept, ascending."""
        files = self.folder.glob("snapshots/*.safetensors")
        return sorted(int(path.stem) for path in files if path.stem.isdecimal())

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks that a run of its model leaves."""
        return ("classifier",) if self.config.model in CLASSIFIERS else ("generator", "discriminator")

    @property
    def finished(self) -> bool:
        """Whether training has come to its end and left the networks."""
        seen = max((row["images"] for row in read_log(self.folder / "log.jsonl")), default=0)
        whole = all((self.folder / f"{name}.safetensors").is_file() for name in self.networks)
        return whole and seen >= self.config.images

    @functools.cached_property
    def generator(self) -> Generator:
        """The trained generator (its moving average, where one was kept)."""
        network: Generator = self._load("generator")
        return network

    @functools.cached_property
    def discriminator(self) -> nn.Module:
        """The trained discriminator: images (B, C, H, W) in [-1, 1] -> logits (B,)."""
        network: nn.Module = self._load("discriminator")
        return network

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The trained classifier of a `capsnet` or `resnet` run."""
        network: Classifier = self._load("classifier")
        return network

    @property
    def parameter_counts(self) -> dict[str, int]:
        """How many numbers each network of the run learns, by the network's name."""
        return {name: parameter_count(self._shapes_of(name)) for name in self.networks}

    def latents(self, count: int, seed: int = 0) -> Tensor:
        """Draw latents for the generator: float32 (count, latent_dim). The first n are always the same.

        Raises
        ------
        UserError
            If `count` is below 1, or so large that latents or images would take over 8 GiB.
        """
        if count < 1:
            raise UserError(f"count must be at least 1, got {count}")
        pixels = self.data.channels * self.data.image_size**2
        most = MOST_BYTES // max(4 * self.config.latent_dim, pixels)
        if count > most:
            raise UserError(f"count must be at most {most} for images of this size, got {count}")
        blocks = range(-(-count // LATENT_BLOCK))
        parts = [latents_for(seed, "sample", block, LATENT_BLOCK, self.config.latent_dim) for block in blocks]
        return torch.cat(parts)[:count]

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Draw images: uint8 (count, H, W, C). The first n are the same whatever the count.

        Raises
        ------
        UserError
            If `count` is below 1 or too large, or the run has no generator.
        """
        batches = torch.split(self.latents(count, seed), LATENT_BLOCK)
        return np.concatenate([unscaled(self.generator(sent(each, self.device))) for each in batches])

    def _load(self, name: str) -> Any:
        if name not in self.networks:
            others = " and ".join(self.networks)
            raise UserError(f"{self.folder} has no {name}: a run of {self.config.model} has {others}")
        path = self.folder / f"{name}.safetensors"
        if name == "generator" and self.snapshot is not None:
            path = snapshot_file(self.folder, self.snapshot)
        if not path.exists():
            raise UserError(f"{self.folder} has no {name}: the run is not finished; --resume goes on with it")
        network = self._shapes_of(name)
        load_weights(network, path)
        return network.eval().to(self.device)

    def _shapes_of(self, name: str) -> nn.Module:
        """Return a network without memory: whatever sizes a description claims, this takes none."""
        try:
            with torch.device("meta"):
                return BUILDERS[name](self.config, self.data.shape)
        except (ValueError, RuntimeError) as error:  # no such network, or one that no machine can hold
            reason = " ".join(str(error).split())
            raise UserError(f"{self.folder} describes no {name} that can be: {reason}") from error


def snapshot_file(folder: Path, images: int) -> Path:
    """Return where the copy of a generator is kept that has seen so many images."""
    return folder / "snapshots" / f"{images:09d}.safetensors"


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
    document = read_json(path)
    facts = document.get("data") if isinstance(document, dict) else None
    if not isinstance(facts, dict) or not are_facts(facts):
        raise UserError(f"{path}: expected the facts of the data, got something else")
    return config, DataFacts(facts["digest"], facts["image_size"], facts["channels"], tuple(facts["classes"]))


def are_facts(facts: dict[str, Any]) -> bool:
    """Return whether an object holds what `DataFacts` does, of the right types and in range."""
    digest, size, channels, classes = map(facts.get, ("digest", "image_size", "channels", "classes"))
    return (
        isinstance(digest, str)
        and type(size) is int
        and is_image_size(size)
        and type(channels) is int
        and channels in (1, 3)
        and isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
    )


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
            with contextlib.suppress(OSError):  # what is none of ours stays
                stray.unlink()
        yield
