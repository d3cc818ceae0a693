"""Where names become objects: the models, and the networks and objectives that they are made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from capsulegan.errors import unknown_name
from capsulegan.networks import (
    CapsNet,
    CapsuleDiscriminator,
    ConvDiscriminator,
    Generator,
    ResidualNetwork,
)
from capsulegan.networks.resnet import LEAST_WIDTH
from capsulegan.objectives import CrossEntropy, Margin, Objective
from capsulegan.randomness import seeded
from capsulegan.training.configuration import Config
from capsulegan.training.recipes import BEST


@dataclass(frozen=True)
class Model:
    """An adversarial model: which discriminator, trained by which objective."""

    discriminator: type[ConvDiscriminator] | type[CapsuleDiscriminator]
    objective: Objective


Classifier = CapsNet | ResidualNetwork
MODELS = {
    "gan": Model(ConvDiscriminator, CrossEntropy()),
    "capsulegan": Model(CapsuleDiscriminator, Margin()),
    "gan-margin": Model(ConvDiscriminator, Margin()),
    "capsulegan-bce": Model(CapsuleDiscriminator, CrossEntropy()),
}


@dataclass(frozen=True)
class ImageShape:
    """What networks need to know of the data."""

    size: int
    channels: int
    classes: int


def adversarial_model(name: str) -> Model:
    """Return the model of that name.

    Raises
    ------
    UserError
        If there is none.
    """
    if (plain := name.removesuffix(BEST)) not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[plain]


def build_generator(config: Config, shape: ImageShape) -> Generator:
    """Return the generator, with the same initial weights for every model of one seed."""
    with seeded(config.seed, "generator weights"):
        return Generator(shape.size, shape.channels, config.latent_dim, config.width)


def build_discriminator(config: Config, shape: ImageShape) -> nn.Module:
    """Return the discriminator of the configuration's model."""
    kind = adversarial_model(config.model).discriminator
    with seeded(config.seed, "discriminator weights"):
        if kind is CapsuleDiscriminator:
            network: nn.Module = CapsuleDiscriminator(
                shape.size,
                shape.channels,
                config.recipe.preset,
                batch_norm=config.recipe.batch_norm,
                head=config.head,
                iterations=config.routing_iterations,
            )
        else:
            network = ConvDiscriminator(shape.size, shape.channels, config.width)
        return spectrally_normalised(network) if config.recipe.spectral_norm else network


def build_classifier(config: Config, shape: ImageShape) -> Classifier:
    """Return the classifier of the configuration's model."""
    with seeded(config.seed, "classifier weights"):
        if config.model == "resnet":
            return ResidualNetwork(
                shape.size, shape.channels, shape.classes, max(config.width // 2, LEAST_WIDTH)
            )
        return CapsNet(
            shape.size, shape.channels, shape.classes, config.recipe.preset, config.routing_iterations
        )


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weights of all convolutions by their largest singular value (Miyato et al. 2018)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return network
