"""Whether a machine can hold what a configuration asks it to train."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from capsulegan.errors import UserError
from capsulegan.networks import CapsNet, CapsuleDiscriminator
from capsulegan.tensors import parameter_count
from capsulegan.training.build import (
    ImageShape,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.configuration import Config
from capsulegan.training.recipes import CLASSIFIERS

COPIES = 4
"""Of each weight: itself, its gradient, and Adam's two moments."""
BYTES = 4
"""Of a float32."""


def check_memory(config: Config, shape: ImageShape) -> None:
    """Refuse networks or batches that the machine cannot hold, before anything is allocated.

    Raises
    ------
    UserError
        If a lower bound of what training needs is more than there is.
    """
    needed, available = least_bytes(config, shape), machine_bytes(config.device)
    if needed > available:
        raise UserError(
            f"this training needs at least {needed / 2**30:,.1f} GiB of memory, and the machine has "
            f"{available / 2**30:,.1f}; lower width, batch_size, latent_dim or image_size"
        )


def least_bytes(config: Config, shape: ImageShape) -> int:
    """Return a lower bound of the bytes that a step needs: weights with Adam's state, and layers' outputs.

    Networks on the meta device take no memory, whatever their size.
    """
    with torch.device("meta"):
        images = torch.empty(config.batch_size, shape.channels, shape.size, shape.size)
        if config.model in CLASSIFIERS:
            classifier = build_classifier(config, shape)
            weights = parameter_count(classifier)
            outputs = output_count(classifier, images)
        else:
            generator, discriminator = build_generator(config, shape), build_discriminator(config, shape)
            weights = parameter_count(generator) + parameter_count(discriminator)
            latents = torch.empty(config.batch_size, config.latent_dim)
            outputs = output_count(generator, latents) + output_count(discriminator, images)
    return BYTES * (COPIES * weights + outputs)


def output_count(network: nn.Module, batch: Tensor) -> int:
    """Return how many numbers the convolutions and linear layers of a network give for a batch."""
    counts: list[int] = []

    def count(_: nn.Module, __: object, output: Tensor) -> None:
        counts.append(output.numel())

    if isinstance(network, CapsNet | CapsuleDiscriminator):  # routing does not run on the meta device
        network = nn.Sequential(network.trunk, network.primary)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(batch)
    return sum(counts)


def machine_bytes(device: str) -> int:
    """Return the memory of a device, used or not."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
