"""A convolution for wide filters in bf16, whose weight gradient is one matrix product.

On a CPU the weight gradient costs oneDNN as much as the forward pass and the input gradient together (9x9
filters over 256 maps in bf16); as a product of gathered patches it costs less than half of that.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

WIDE = 8192
"""Weights of a filter from which gathering patches pays (a 9x9 filter over 256 maps has 20,736). In trials at
1,600 weights both ways took as long, and in float32 gathering was slower at any size."""


class WideConvolution(nn.Conv2d):
    """As `torch.nn.Conv2d` with one stride, one padding and neither dilation nor groups, same results."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        gathers = input.device.type == "cpu" and input.dtype == torch.bfloat16 and weight[0].numel() >= WIDE
        if not gathers:
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        outputs: Tensor = Convolution.apply(input, weight, self.stride[0], int(self.padding[0]))  # type: ignore[no-untyped-call]
        return outputs if bias is None else outputs + bias[:, None, None]


class Convolution(torch.autograd.Function):
    """A convolution with its own backward, which is made of differentiable operations."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """(B, C, H, W), (O, C, k, k) -> (B, O, H', W')."""
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of the images and of the weight."""
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = conv2d_input(  # type: ignore[no-untyped-call]
                images.shape, weight, gradient, stride=ctx.stride, padding=ctx.padding
            )
        if ctx.needs_input_grad[1]:
            out_channels, channels, size, _ = weight.shape
            patches = gathered(images, size, ctx.stride, ctx.padding)  # (B * H' * W', k * k * C)
            by_place = gradient.permute(0, 2, 3, 1).reshape(-1, out_channels)  # (B * H' * W', O)
            of_weight = (by_place.t() @ patches).view(out_channels, size, size, channels).permute(0, 3, 1, 2)
        return of_images, of_weight, None, None


def gathered(images: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Return what each place of a filter sees: (B, C, H, W) -> (B * H' * W', size * size * C)."""
    last = F.pad(images, [padding] * 4).permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    windows = last.unfold(1, size, stride).unfold(2, size, stride)  # (B, H', W', C, size, size)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)
