"""What the explorer page asks about a run, answered in plain data that JSON can hold."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from capsulegan.data import ImageData, load_data
from capsulegan.data.pictures import UnreadableError, read_picture
from capsulegan.errors import UserError
from capsulegan.evaluation.metric import balanced_threshold
from capsulegan.networks import evidence_of
from capsulegan.pictures import png_of
from capsulegan.randomness import generator_for
from capsulegan.report import words
from capsulegan.tensors import sent
from capsulegan.training.batches import scaled, unscaled
from capsulegan.training.run import Run

Source = Literal["generated", "real"]
SOURCES = get_args(Source)
MOST_IMAGES = 1000
"""Images that are drawn or judged at one request."""


class Explorer:
    """A run to look at.

    Parameters
    ----------
    run : Run
        A finished run of a generator and a discriminator.

    Raises
    ------
    UserError
        If the run has neither, or one of them is not finished.

    Notes
    -----
    Images are drawn by seed and index: image i of a seed is the one that `Run.sample` returns there. A
    picture is a PNG as a data URL; a probability is the discriminator's that the image is real.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.discriminator = run.discriminator

    @functools.cached_property
    def real(self) -> ImageData:
        """The real test images; they are fetched if need be."""
        return load_data(self.run.config.data, "test", image_size=self.run.data.image_size)

    @functools.lru_cache(maxsize=4)  # noqa: B019 - an explorer lives as long as its process
    def drawn_by(self, snapshot: int | None) -> Run:
        """Return the run with the copy of the generator kept after so many images; None: the final one."""
        if snapshot is not None and snapshot not in self.run.snapshots:
            raise UserError(f"snapshot must be one of {self.run.snapshots}, got {snapshot}")
        return dataclasses.replace(self.run, snapshot=snapshot)

    def facts(self) -> dict[str, Any]:
        """Return what the run is."""
        config, data = self.run.config, self.run.data
        return {
            "model": words.model_name(config.model),
            "data": words.data_name(config.data),
            "image_size": data.image_size,
            "images_seen": config.images,
            "latent_dim": config.latent_dim,
            "parameters": self.run.parameter_counts,
            "snapshots": self.run.snapshots,
        }

    def images(self, source: Source, seed: int, count: int, snapshot: int | None) -> list[dict[str, Any]]:
        """Return images, each with its picture and probability.

        Raises
        ------
        UserError
            If there is no such snapshot, or the test images cannot be had.
        """
        return self._shown(self._batch(source, seed, slice(count), snapshot))

    def walk(
        self, seed: int, first: int, second: int, steps: int, snapshot: int | None
    ) -> list[dict[str, Any]]:
        """Return the images on the way from one of a seed's latents to another, both ends included."""
        run = self.drawn_by(snapshot)
        latents = run.latents(max(first, second) + 1, seed)
        between = great_circle(latents[first], latents[second], torch.linspace(0, 1, steps))
        return self._shown(draw(run, between))

    def look(self, source: Source, seed: int, index: int, snapshot: int | None) -> dict[str, Any]:
        """Return one image with the discriminator's answer place by place (`networks.evidence`)."""
        return self._looked_at(self._batch(source, seed, slice(index, index + 1), snapshot))

    def judge(self, picture: bytes) -> dict[str, Any]:
        """Return a picture of the user's, fitted to the run's images, as `look` does.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        data = self.run.data
        try:
            pixels = read_picture(io.BytesIO(picture), data.image_size, data.channels)
        except UnreadableError as error:
            raise UserError(f"the picture cannot be read: {error}") from error
        return self._looked_at(scaled(pixels[None]))

    def answers(self, count: int, seed: int) -> dict[str, Any]:
        """Return the probabilities of real test images and of generated ones, and the cut that errs alike."""
        real = self._probabilities(self._batch("real", seed, slice(count), None))
        generated = self._probabilities(self._batch("generated", seed, slice(count), None))
        return {
            "real": rounded(real),
            "generated": rounded(generated),
            "balanced_cut": balanced_threshold(real, generated),
        }

    def _batch(self, source: Source, seed: int, part: slice, snapshot: int | None) -> Tensor:
        """Return the images of a part of a seed's indices: (B, C, H, W) in [-1, 1]."""
        if source == "generated":
            run = self.drawn_by(snapshot)
            return draw(run, run.latents(part.stop, seed)[part])
        order = torch.randperm(len(self.real.images), generator=generator_for(seed, "explored images"))
        return scaled(self.real.images[order[part].numpy()])

    @torch.no_grad()
    def _probabilities(self, images: Tensor) -> Tensor:
        """Return the discriminator's answers, (B,)."""
        parts = [self.discriminator(sent(part, self.run.device)) for part in torch.split(images, 250)]
        return torch.cat(parts).sigmoid().float().cpu()

    def _shown(self, images: Tensor) -> list[dict[str, Any]]:
        probabilities = rounded(self._probabilities(images))
        pictures = [data_url(png_of(pixels)) for pixels in unscaled(images)]
        return [
            {"picture": picture, "probability": probability}
            for picture, probability in zip(pictures, probabilities, strict=True)
        ]

    def _looked_at(self, images: Tensor) -> dict[str, Any]:
        shown, found = self._shown(images)[0], evidence_of(self.discriminator, sent(images, self.run.device))
        if found is None:
            return {**shown, "evidence": None}
        return {
            **shown,
            "evidence": {
                "shares": [rounded(row) for row in found.shares[0]],
                "constant": round(found.constant, 4),
                "total": round(float(found.total[0]), 4),
            },
        }


@torch.no_grad()
def draw(run: Run, latents: Tensor) -> Tensor:
    """Return the images of latents (B, latent_dim), as 8-bit pictures have them: (B, C, H, W) in [-1, 1]."""
    return scaled(unscaled(run.generator(sent(latents, run.device))))


def great_circle(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Return the latents so far on the way from one to another: (S, latent_dim) for S shares in [0, 1].

    Spherical interpolation (Shoemake 1985): in many dimensions normal latents lie near a sphere, and a
    straight line would lead through its inside, which no generator has seen.
    """
    cosine = torch.dot(first, second) / (first.norm() * second.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-4:  # the same direction, or opposite ones: any way is as good
        return torch.lerp(first, second, shares[:, None])
    angles = torch.stack([1 - shares, shares], dim=1) * angle  # (S, 2)
    return torch.matmul(angles.sin() / angle.sin(), torch.stack([first, second]))


def rounded(values: Tensor) -> list[float]:
    """Return numbers that take little room in JSON."""
    return [round(float(value), 4) for value in values]


def data_url(png: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
