"""What the discriminator and the generator minimise, from the logits of real and generated images.

Every discriminator returns logits whose sigmoid is the probability that an image is real (for a capsule
discriminator, its capsule's length), so every objective here works with every discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Objective(Protocol):
    """Two losses, each a scalar averaged over the batch, from logits of shape (B,)."""

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return what the discriminator minimises."""
        ...

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        """Return what the generator minimises."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Binary cross-entropy; the generator's loss is the non-saturating -ln D(G(z)).

    Source: Goodfellow et al., *Generative Adversarial Networks* (2014), section 3.
    """

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return -E ln D(x) - E ln(1 - D(G(z)))."""
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        """Return -E ln D(G(z))."""
        return F.softplus(-fake_logits).mean()


@dataclass(frozen=True)
class Margin:
    """The margin loss of Jaiswal et al. (2018), Eq. 2 and 3.

    The discriminator minimises E L_M(D(x), T=1) + E L_M(D(G(z)), T=0), the generator
    E L_M(D(G(z)), T=1). Where real and generated images have densities p and q, the optimal length is
    (m_plus p + down_weight m_minus q) / (p + down_weight q): at p = q that is 0.633, not 0.5.
    """

    m_plus: float = 0.9
    m_minus: float = 0.1
    down_weight: float = 0.5

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return E L_M(D(x), 1) + E L_M(D(G(z)), 0)."""
        excess = (fake_logits.sigmoid() - self.m_minus).clamp(min=0)
        return self._lack(real_logits) + self.down_weight * excess.square().mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        """Return E L_M(D(G(z)), 1)."""
        return self._lack(fake_logits)

    def _lack(self, logits: Tensor) -> Tensor:
        """Return E L_M(length, 1), of one capsule."""
        return (self.m_plus - logits.sigmoid()).clamp(min=0).square().mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return half the squared gradient of a discriminator on real images, averaged over the batch.

    Source: R1 of Mescheder et al. (2018), Eq. 9. Images (B, C, H, W) give logits (B,); the result is a scalar
    that can be differentiated.
    """
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(dim=1).mean()
