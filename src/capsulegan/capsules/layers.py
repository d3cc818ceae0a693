"""Capsule layers: primary capsules by convolution, and capsules connected to all capsules below."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from capsulegan.capsules.convolution import Convolution
from capsulegan.capsules.functional import at_least_float32, lengths, routed_total_input, squash
from capsulegan.capsules.routing import route
from capsulegan.capsules.squashing import squashed, squashed_map

TYPICAL_SQUARED_LENGTH = 0.25
"""What initial weights assume of the capsules below: a length of one half."""


class PrimaryCapsules(nn.Module):
    """The first capsule layer: a convolution whose channels are cut into capsules, and squashed.

    A capsule's D components are D channels at ONE position of the feature map, so position and kind of
    an entity stay apart (Sabour et al. 2017, section 4).

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    kinds : int
        Kinds of capsules at each position (32 in Sabour's network).
    dim : int
        Components of a capsule (8).
    kernel_size, stride, padding : int
        Of the convolution (9, 2, 0).

    Notes
    -----
    Input (B, in_channels, H, W); output (B, kinds * H' * W', dim), with lengths in [0, 1). Initial
    weights give total inputs of squared length about 1 for feature maps of unit mean square, so that
    lengths start near one half whatever the sizes.
    """

    def __init__(
        self,
        in_channels: int,
        kinds: int = 32,
        dim: int = 8,
        kernel_size: int = 9,
        stride: int = 2,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.convolution = Convolution(in_channels, kinds * dim, kernel_size, stride, padding)
        fan_in = in_channels * kernel_size * kernel_size
        nn.init.normal_(self.convolution.weight, std=1 / math.sqrt(fan_in * dim))
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Return the capsules of a feature map: (B, C, H, W) -> (B, I, dim)."""
        return squashed_map(self.convolution(features), self.dim)


class CapsuleLayer(nn.Module):
    """Capsules that are each connected to all capsules below, coupled by routing.

    Parameters
    ----------
    in_capsules, in_dim : int
        Number I and dimension d of the capsules below.
    out_capsules, out_dim : int
        Number J and dimension D of this layer's capsules.
    iterations : int or None
        Routing iterations. None means 3, or none at all where there is one output capsule: couplings
        are a softmax over output capsules, and over one it is 1 whatever the agreement, so the layer is
        s = sum_i W_i u_i, one matrix product.

    Notes
    -----
    Input (B, I, d); output v (B, J, D) with lengths in [0, 1). Initial weights give lengths about one half
    for capsules below of length one half: routing divides each input's vote among J outputs at first, which
    the weights make up for, and then concentrates it, for which they are scaled by trial (fewer inputs than
    outputs cannot reach most of them). Couplings are constants to the gradient.
    Under autocast routing is done in float32, and a closed form as any other matrix product.

    Warns
    -----
    UserWarning
        If routing iterations are asked for with one output capsule: they would do nothing.
    """

    def __init__(
        self,
        in_capsules: int,
        in_dim: int,
        out_capsules: int,
        out_dim: int,
        iterations: int | None = None,
    ) -> None:
        super().__init__()
        if iterations is not None and iterations < 1:
            raise ValueError(
                f"The 'iterations' parameter of CapsuleLayer must be at least 1. Got {iterations} instead."
            )
        if out_capsules == 1 and iterations is not None:
            warnings.warn(
                f"{iterations} routing iterations with one output capsule do nothing: the couplings are a "
                "softmax over the output capsules, which is 1 over one of them. The closed form is used.",
                stacklevel=2,
            )
        self.iterations = 3 if iterations is None else iterations
        self.weight = nn.Parameter(torch.empty(in_capsules, in_dim, out_capsules, out_dim))
        votes = in_capsules * TYPICAL_SQUARED_LENGTH / out_capsules**2
        nn.init.normal_(self.weight, std=1 / math.sqrt(votes * out_dim))
        if out_capsules > 1 and self.iterations > 1 and not self.weight.is_meta:
            self.scale_by_trial()

    @torch.no_grad()
    def scale_by_trial(self) -> None:
        """Scale the weights so that random capsules of length one half give routed ones of that length.

        Couplings concentrate by agreement, the more so the more outputs there are, and no formula says how
        far; so the scale is found by bisection on four samples, like that of Mishkin and Matas (2016).
        """
        in_capsules, in_dim, _, _ = self.weight.shape
        directions = torch.randn(4, in_capsules, in_dim, device=self.weight.device, dtype=self.weight.dtype)
        capsules = squash(nn.functional.normalize(directions, dim=2))  # of length one half
        predictions = torch.einsum("bid,idje->bije", capsules, self.weight)
        low, high = 2.0**-6, 2.0
        for _ in range(8):
            middle = math.sqrt(low * high)
            routed = squash(routed_total_input(predictions * middle, self.iterations))
            if lengths(routed).mean() < 0.5:
                low = middle
            else:
                high = middle
        self.weight.mul_(math.sqrt(low * high))

    def forward(self, capsules: Tensor) -> Tensor:
        """Return the output capsules: (B, I, d) -> (B, J, D)."""
        return squashed(self.total_input(capsules))

    def total_input(self, capsules: Tensor) -> Tensor:
        """Return s, the output capsules before squash: (B, I, d) -> (B, J, D), at least float32."""
        in_capsules, in_dim, out_capsules, out_dim = self.weight.shape
        if capsules.shape[1:] != (in_capsules, in_dim):
            raise ValueError(
                f"The 'capsules' parameter of CapsuleLayer must have shape (batch, {in_capsules}, {in_dim}). "
                f"Got {tuple(capsules.shape)} instead."
            )
        if out_capsules == 1 or self.iterations == 1:  # couplings are 1 / J
            s = capsules.flatten(1) @ self.weight.flatten(2).flatten(0, 1)  # (B, J * D)
            s = at_least_float32(s).view(s.shape[0], out_capsules, out_dim)
            return s if out_capsules == 1 else s / out_capsules
        # literally where predictions are no larger than the weights, and in an exported graph, for all sizes
        if torch.compiler.is_exporting() or len(capsules) <= in_dim:
            predictions = torch.einsum("bid,idje->bije", capsules, self.weight)  # u_hat: (B, I, J, D)
            return routed_total_input(predictions, self.iterations)
        return route(at_least_float32(capsules), at_least_float32(self.weight), self.iterations)

    def extra_repr(self) -> str:
        """Describe the layer in one line for `print`."""
        in_capsules, in_dim, out_capsules, out_dim = self.weight.shape
        routing = "closed form" if out_capsules == 1 else f"{self.iterations} iterations"
        return f"{in_capsules} x {in_dim}-D -> {out_capsules} x {out_dim}-D, {routing}"
