"""What a loop trains: networks, optimizers and a step, put together from a configuration."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from capsulegan.data import ImageData
from capsulegan.errors import UserError
from capsulegan.networks import ResidualNetwork
from capsulegan.objectives import r1_penalty
from capsulegan.randomness import latents_for
from capsulegan.tensors import device_of, sent
from capsulegan.training.augmentation import Augmentation
from capsulegan.training.average import update_average
from capsulegan.training.batches import Batches, unscaled, varied
from capsulegan.training.build import (
    ImageShape,
    adversarial_model,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.capture import CapturedStep
from capsulegan.training.checkpoint import optimizer_state
from capsulegan.training.classification import classification_step
from capsulegan.training.configuration import Config
from capsulegan.training.diversity import Diversity
from capsulegan.training.recipes import CLASSIFIERS, policies_of
from capsulegan.training.step import AdversarialStep

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Network = TypeVar("Network", bound=nn.Module)
GRID_IMAGES = 64
R1_EVERY = 16
"""Steps from one gradient penalty to the next, which counts as many times (Karras et al. 2020)."""


MOST_RESIDENT = 2**33
"""Bytes of images that are kept in a GPU's memory; more are sent batch by batch."""


@dataclass
class Trainee:
    """Networks in training, as the loop sees them."""

    networks: dict[str, nn.Module]
    """By name, all that a checkpoint keeps."""
    optimizers: dict[str, Optimizer]
    advance: Callable[[int], dict[str, Tensor]]
    """Takes step number n (from 0) and returns its scalars."""
    scalars: tuple[str, ...]
    """The names of these scalars."""
    results: dict[str, nn.Module]
    """By file name, the networks that are left when training is done."""
    draw: Callable[[], np.ndarray] | None = None
    """Draws the sample grid's images, uint8 (N, H, W, C)."""

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that training changes, by name; they are views, not copies."""
        state: dict[str, Tensor] = {}
        for name, network in self.networks.items():
            state |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            state |= optimizer_state(f"{name}_optimizer", optimizer)
        return state


def build_trainee(config: Config, data: ImageData, shape: ImageShape, fabric: Fabric) -> Trainee:
    """Return what the configuration asks to train, on the fabric's device."""
    resident = fabric.device.type == "cuda" and data.images.nbytes <= MOST_RESIDENT
    batches = Batches(data, config.batch_size, config.seed, fabric.device if resident else None)
    if config.model in CLASSIFIERS:
        return classifier_trainee(config, batches, shape, fabric)
    return adversarial_trainee(config, batches, shape, fabric)


def adversarial_trainee(config: Config, batches: Batches, shape: ImageShape, fabric: Fabric) -> Trainee:
    """Return a generator and a discriminator to be trained against each other."""
    recipe = config.recipe
    device = fabric.device
    generator = placed(build_generator(config, shape), device)
    discriminator = placed(build_discriminator(config, shape), device)
    average = copy.deepcopy(generator).requires_grad_(False) if recipe.average_half_life else None
    drawn = generator if average is None else average
    diversity = Diversity(batches.data, device)
    augmentation = Augmentation(policies_of(recipe.augmentation), recipe.instance_noise)
    step = AdversarialStep(
        fabric.setup_module(generator),
        fabric.setup_module(discriminator),
        adversarial_model(config.model).objective,
        adam(generator, recipe.generator_learning_rate, recipe.beta1, config.beta2),
        adam(discriminator, recipe.discriminator_learning_rate, recipe.beta1, config.beta2),
        fabric.backward,
        functools.partial(r1_penalty, discriminator),  # outside the fabric: in float32
        diversity,
        augmentation,
    )

    def step_and_average(*inputs: Tensor, r1_weight: float) -> dict[str, Tensor]:
        scalars = step(*inputs, r1_weight=r1_weight)
        if average is not None:
            update_average(average, generator, config.batch_size, recipe.average_half_life)
        return scalars

    take_step = CapturedStep(step_and_average) if device.type == "cuda" else step_and_average

    def advance(number: int) -> dict[str, Tensor]:
        real = sent(batches.images(number), device)
        latents = latents_for(config.seed, "training latents", number, config.batch_size, config.latent_dim)
        scheduled(step.generator_optimizer, recipe.generator_learning_rate, number, config)
        scheduled(step.discriminator_optimizer, recipe.discriminator_learning_rate, number, config)
        draws = augmentation.draws(real.shape, config.seed, number)
        r1_weight = R1_EVERY * recipe.r1_weight if number % R1_EVERY == 0 else 0.0
        return take_step(real, *(sent(each, device) for each in (latents, *draws)), r1_weight=r1_weight)

    @torch.no_grad()
    def draw() -> np.ndarray:
        latents = latents_for(config.seed, "grid", 0, GRID_IMAGES, config.latent_dim)
        drawn.eval()
        images = unscaled(drawn(latents.to(device)))
        drawn.train()
        return images

    networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
    return Trainee(
        networks=networks if average is None else {**networks, "average": average},
        optimizers={
            "generator": step.generator_optimizer,
            "discriminator": step.discriminator_optimizer,
        },
        advance=advance,
        scalars=AdversarialStep.SCALARS + diversity.names,
        results={"generator": drawn, "discriminator": discriminator},
        draw=draw,
    )


def placed(network: Network, device: torch.device) -> Network:
    """Move a network to a device, its filters as channels-last where that computes faster.

    It does on a GPU, and for residual networks on a CPU too; others gain nothing there.
    Batches have that layout already: images are stored (N, H, W, C).
    """
    network = network.to(device)
    if device.type == "cuda" or isinstance(network, ResidualNetwork):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def classifier_trainee(config: Config, batches: Batches, shape: ImageShape, fabric: Fabric) -> Trainee:
    """Return a classifier to be trained on labelled images."""
    if batches.data.labels is None or shape.classes < 2:
        raise UserError(
            f"data must have labels of two classes or more to train a classifier, {config.data} has not"
        )
    classifier = placed(build_classifier(config, shape), fabric.device)
    optimizer = adam(
        classifier, config.classifier_learning_rate, 0.9, config.beta2, config.classifier_weight_decay
    )
    step = classification_step(fabric.setup_module(classifier), classifier, optimizer, fabric.backward)
    take_step = recorded(step) if fabric.device.type == "cuda" else step

    def advance(number: int) -> dict[str, Tensor]:
        scheduled(optimizer, config.classifier_learning_rate, number, config)
        images = varied(batches.images(number), config.model, config.seed, number)
        return take_step(sent(images, fabric.device), sent(batches.labels(number), fabric.device))

    return Trainee(
        networks={"classifier": classifier},
        optimizers={"classifier": optimizer},
        advance=advance,
        scalars=step.SCALARS,
        results={"classifier": classifier},
    )


def recorded(step: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Return a classifier's step as one that a GPU replays; there is no penalty in it."""
    return CapturedStep(lambda images, labels, r1_weight: step(images, labels))


def scheduled(optimizer: Optimizer, learning_rate: float, number: int, config: Config) -> None:
    """Set the step size that the configuration has for this step."""
    if half_life := config.recipe.learning_rate_half_life:
        learning_rate *= 0.5 ** (number * config.batch_size / half_life)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate


def adam(
    network: nn.Module, learning_rate: float, beta1: float, beta2: float, weight_decay: float = 0.0
) -> Adam:
    """Return the optimizer of all models, in its fused form; on a GPU, one that a CUDA graph may hold.

    Weights decay apart from the gradient (Loshchilov and Hutter, *Decoupled Weight Decay*, 2019).
    """
    device = device_of(network)
    graphed = device.type == "cuda"
    rate = torch.tensor(learning_rate, device=device) if graphed else learning_rate
    return AdamW(
        network.parameters(),
        lr=rate,
        betas=(beta1, beta2),
        weight_decay=weight_decay,
        fused=True,
        capturable=graphed,
    )
