"""One step of adversarial training: the discriminator's half, then the generator's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from capsulegan.objectives import Objective
from capsulegan.training.augmentation import Augmentation


@dataclass
class AdversarialStep:
    """The two networks, what they minimise, and how they are updated (Jaiswal et al. 2018, Eq. 3).

    One batch of generated images serves both halves, as in the code of Radford et al. (2016): the
    discriminator learns from it without the generator's graph, then the generator learns from the
    updated discriminator's opinion of it.
    """

    SCALARS: ClassVar = (
        "discriminator_loss",
        "generator_loss",
        "real_probability",
        "fake_probability",
        "discriminator_gradient_norm",
        "generator_gradient_norm",
    )

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    backward: Callable[[Tensor], Any]
    penalty: Callable[[Tensor], Tensor]
    """The discriminator's gradient penalty on real images, for steps in which it is taken."""
    watch: Callable[[Tensor], dict[str, Tensor]]
    """Returns scalars of its own of the generated images."""
    shown: Callable[..., Tensor] = field(default_factory=Augmentation)
    """(images, *draws): what the discriminator is shown in place of images."""

    def __call__(
        self, real: Tensor, latents: Tensor, *draws: Tensor, r1_weight: float = 0.0
    ) -> dict[str, Tensor]:
        """Update both networks; return scalars, detached: real (B, C, H, W), latents (B, latent_dim).

        The draws are what `shown` leaves to chance; they are the same for real and generated images.
        """
        with finite_buffers(self.generator, self.discriminator):
            drawn = self.generator(latents)
            fake = self.shown(drawn, *draws)
            scalars = self.update_discriminator(self.shown(real, *draws), fake.detach(), r1_weight)
            return {**scalars, **self.update_generator(fake), **self.watch(drawn.detach())}

    def update_discriminator(self, real: Tensor, fake: Tensor, r1_weight: float = 0.0) -> dict[str, Tensor]:
        """Make the discriminator tell these real and generated images apart a little better."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = self.objective.discriminator_loss(real_logits, fake_logits)
        if r1_weight:
            loss = loss + r1_weight * self.penalty(real)
        norm = update(self.discriminator, self.discriminator_optimizer, loss, self.backward)
        return {
            "discriminator_loss": loss.detach(),
            "real_probability": real_logits.detach().sigmoid().mean(),
            "fake_probability": fake_logits.detach().sigmoid().mean(),
            "discriminator_gradient_norm": norm,
        }

    def update_generator(self, fake: Tensor) -> dict[str, Tensor]:
        """Make these generated images look a little more real to the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = self.objective.generator_loss(self.discriminator(fake))
        norm = update(self.generator, self.generator_optimizer, loss, self.backward)
        self.discriminator.requires_grad_(True)
        return {
            "generator_loss": loss.detach(),
            "generator_gradient_norm": norm,
        }


@contextlib.contextmanager
def finite_buffers(*networks: nn.Module) -> Iterator[None]:
    """Put back what a block left not finite in buffers (batch norm's running statistics).

    They are averages over all batches: one bad batch would stay in them for good.
    """
    buffers = [buffer for network in networks for buffer in network.buffers() if buffer.is_floating_point()]
    if not buffers:
        yield
        return
    before = torch.cat([buffer.flatten() for buffer in buffers])  # one tensor: a GPU takes as long for each
    yield
    after = torch.cat([buffer.flatten() for buffer in buffers])
    kept = torch.where(after.isfinite(), after, before)
    pieces = torch.split_with_sizes(kept, [buffer.numel() for buffer in buffers])
    torch._foreach_copy_(
        buffers, [each.view_as(buffer) for each, buffer in zip(pieces, buffers, strict=True)]
    )


def update(
    network: nn.Module, optimizer: Optimizer, loss: Tensor, backward: Callable[[Tensor], Any]
) -> Tensor:
    """Take one optimizer step and return the norm of the gradient.

    A gradient that is not finite is not applied: `found_inf` tells fused optimizers to leave weights
    and moments as they are, without the host having to wait for the answer.
    """
    optimizer.zero_grad()
    backward(loss)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
    optimizer.step()
    return norm
