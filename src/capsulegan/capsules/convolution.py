"""A convolution whose gradients are matrix products wherever that is faster on a CPU.

oneDNN is slow at some. With 9x9 filters over 256 maps in bf16 the weight gradient takes as long as the
forward pass and the input gradient together, as a product of gathered patches less than half of that. In
float32, with an image of one channel, products take a quarter of its time; with three, the input gradient
half.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

WIDE = 8192
"""Weights of a filter from which gathering patches pays in bf16 (a 9x9 filter over 256 maps has 20,736). In
trials at 1,600 weights both ways took as long, and in float32 gathering many channels was always slower."""
FEW = 3
"""Input channels up to which the input gradient in float32 is faster as a product; the weight gradient is
with one channel alone."""


class Convolution(nn.Conv2d):
    """As `torch.nn.Conv2d` with one stride, one padding and neither dilation nor groups, same results."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        products = faster_as_products(input, weight)
        if not any(products):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        outputs: Tensor = ConvolutionByProducts.apply(  # type: ignore[no-untyped-call]
            input, weight, bias, self.stride[0], int(self.padding[0]), products
        )
        return outputs


def faster_as_products(images: Tensor, weight: Tensor) -> tuple[bool, bool]:
    """Say whether the gradients of the images and of the weight are to be products, for these tensors.

    Never in a compiled graph: torch.compile has choices of its own.
    """
    if images.device.type != "cpu" or torch.compiler.is_compiling():
        return False, False
    channels = weight.shape[1]
    if images.dtype == torch.float32:
        return channels <= FEW, channels == 1
    return False, images.dtype == torch.bfloat16 and weight[0].numel() >= WIDE


class ConvolutionByProducts(torch.autograd.Function):
    """A convolution with its own backward, which is made of differentiable operations."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: int,
        products: tuple[bool, bool],
    ) -> Tensor:
        """(B, C, H, W), (O, C, k, k), (O,) -> (B, O, H', W')."""
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding, ctx.products = stride, padding, products
        return F.conv2d(images, weight, bias, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the images, of the weight and of the bias."""
        images, weight = ctx.saved_tensors
        of_images = of_weight = of_bias = None
        way: Any
        if ctx.needs_input_grad[0]:
            way = images_gradient if ctx.products[0] else conv2d_input
            of_images = way(images.shape, weight, gradient, stride=ctx.stride, padding=ctx.padding)
        if ctx.needs_input_grad[1]:
            way = weight_gradient if ctx.products[1] else conv2d_weight
            of_weight = way(images, weight.shape, gradient, stride=ctx.stride, padding=ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight, of_bias, None, None, None


def images_gradient(shape: torch.Size, weight: Tensor, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """Return the gradient of images (B, C, H, W), from that of the outputs (B, O, H', W')."""
    patches = weight.flatten(1).t() @ gradient.flatten(2)  # (B, C * k * k, H' * W')
    return F.fold(patches, shape[2:], weight.shape[2:], stride=stride, padding=padding)


def weight_gradient(images: Tensor, shape: torch.Size, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """Return the gradient of the weight (O, C, k, k), from that of the outputs (B, O, H', W')."""
    out_channels, channels, size, _ = shape
    patches = gathered(images, size, stride, padding)  # (B * H' * W', k * k * C)
    by_place = gradient.permute(0, 2, 3, 1).reshape(-1, out_channels)  # (B * H' * W', O)
    return (by_place.t() @ patches).view(out_channels, size, size, channels).permute(0, 3, 1, 2)


def gathered(images: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Return what each place of a filter sees: (B, C, H, W) -> (B * H' * W', size * size * C)."""
    last = F.pad(images, [padding] * 4).permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    windows = last.unfold(1, size, stride).unfold(2, size, stride)  # (B, H', W', C, size, size)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)
