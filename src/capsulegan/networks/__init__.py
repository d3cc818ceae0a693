"""Networks. They compute: no losses, no optimizers, no files."""

from capsulegan.networks.capsnet import CapsNet
from capsulegan.networks.discriminators import CapsuleDiscriminator, ConvDiscriminator
from capsulegan.networks.evidence import Evidence, evidence_of
from capsulegan.networks.generator import Generator
from capsulegan.networks.resnet import ResidualNetwork

__all__ = [
    "CapsNet",
    "CapsuleDiscriminator",
    "ConvDiscriminator",
    "Evidence",
    "Generator",
    "ResidualNetwork",
    "evidence_of",
]
