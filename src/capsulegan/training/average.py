"""A moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, images: int, half_life: int) -> None:
    """Move the average towards the network's weights, and take over its buffers.

    Parameters
    ----------
    average, network : Module
        Of one class and size.
    images : int
        Images seen since the last update.
    half_life : int
        Images after which what was averaged in weighs half.
    """
    decay = 0.5 ** (images / half_life)
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
