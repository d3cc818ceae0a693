"""What a training step costs in operations, whatever the machine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from capsulegan.training.build import (
    ImageShape,
    adversarial_model,
    build_classifier,
    build_discriminator,
    build_generator,
)
from capsulegan.training.classification import classification_step
from capsulegan.training.configuration import Config
from capsulegan.training.recipes import CLASSIFIERS
from capsulegan.training.step import AdversarialStep
from capsulegan.training.trainee import adam


def step_flops(config: Config, shape: ImageShape) -> int:
    """Return the floating-point operations of one step: its convolutions and matrix products.

    A multiplication and an addition are two. Counted by PyTorch while it makes the step; gradient penalties,
    which not every step has, are left out.
    """
    images = torch.zeros(config.batch_size, shape.channels, shape.size, shape.size)
    counter = FlopCounterMode(display=False)
    if config.model in CLASSIFIERS:
        classifier = build_classifier(config, shape)
        optimizer = adam(classifier, 0.0, 0.0, 0.0)
        classify = classification_step(classifier, classifier, optimizer, Tensor.backward)
        with counter:
            classify(images, torch.zeros(config.batch_size, dtype=torch.int64))
    else:
        generator, discriminator = build_generator(config, shape), build_discriminator(config, shape)
        step = AdversarialStep(
            generator,
            discriminator,
            adversarial_model(config.model).objective,
            adam(generator, 0.0, 0.0, 0.0),
            adam(discriminator, 0.0, 0.0, 0.0),
            Tensor.backward,
            penalty=lambda _: torch.zeros(()),
            watch=lambda _: {},
        )
        with counter:
            step(images, torch.zeros(config.batch_size, config.latent_dim))
    return int(counter.get_total_flops())
