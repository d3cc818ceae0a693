"""One step of training a classifier: of capsules by the margin loss, of residual blocks by cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from capsulegan.capsules import margin_loss
from capsulegan.networks import CapsNet, ResidualNetwork
from capsulegan.training.step import finite_buffers, update

M_PLUS = 0.97
"""Length that the true class is brought to; the others come below 1 - M_PLUS. Sabour et al. have 0.9, which
leaves the lengths of ordinary digits about 0.9, so that nothing could be said to be recognised by it."""
RECONSTRUCTION_WEIGHT = 0.0005
"""Of the squared error summed over an image's pixels, scaled to [0, 1] (Sabour et al., section 4.1)."""


@dataclass
class ClassificationStep:
    """A CapsNet and its optimizer: margin loss on the class lengths plus reconstruction of the image."""

    SCALARS: ClassVar = ("margin_loss", "reconstruction_error", "accuracy", "gradient_norm")

    network: nn.Module
    capsnet: CapsNet
    optimizer: Optimizer
    backward: Callable[[Tensor], Any]

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Update the network; return scalars, detached: images (B, C, H, W), labels (B,)."""
        with finite_buffers(self.network):
            lengths, capsules = self.network(images)
            targets = F.one_hot(labels, self.capsnet.classes).to(lengths.dtype)
            margin = margin_loss(lengths, targets, M_PLUS, 1 - M_PLUS)
            difference = (self.capsnet.reconstruct(capsules, labels) - images) / 2  # of pixels in [0, 1]
            reconstruction = difference.square().flatten(1).sum(dim=1).mean()
            loss = margin + RECONSTRUCTION_WEIGHT * reconstruction
            norm = update(self.network, self.optimizer, loss, self.backward)
        return {
            "margin_loss": margin.detach(),
            "reconstruction_error": reconstruction.detach(),
            "accuracy": (lengths.argmax(dim=1) == labels).float().mean(),
            "gradient_norm": norm,
        }


@dataclass
class RecognitionStep:
    """A residual network and its optimizer: cross-entropy.

    Labels are not smoothed: with a tenth of the target spread over all classes no answer would be surer than
    0.91, and nothing could be said to be recognised with a confidence of 0.9.
    """

    SCALARS: ClassVar = ("cross_entropy", "accuracy", "gradient_norm")

    network: nn.Module
    optimizer: Optimizer
    backward: Callable[[Tensor], Any]

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Update the network; return scalars, detached: images (B, C, H, W), labels (B,)."""
        with finite_buffers(self.network):
            logits, _ = self.network(images)
            loss = F.cross_entropy(logits, labels)
            norm = update(self.network, self.optimizer, loss, self.backward)
        return {
            "cross_entropy": loss.detach(),
            "accuracy": (logits.argmax(dim=1) == labels).float().mean(),
            "gradient_norm": norm,
        }


def classification_step(
    network: nn.Module,
    classifier: CapsNet | ResidualNetwork,
    optimizer: Optimizer,
    backward: Callable[[Tensor], Any],
) -> ClassificationStep | RecognitionStep:
    """Return the step of a classifier, which `network` may wrap."""
    if isinstance(classifier, CapsNet):
        return ClassificationStep(network, classifier, optimizer, backward)
    return RecognitionStep(network, optimizer, backward)
