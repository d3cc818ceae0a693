import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from capsulegan.capsules import PrimaryCapsules
from capsulegan.capsules.convolution import (
    WIDE,
    Convolution,
    ConvolutionByProducts,
    faster_as_products,
    gathered,
)

SHAPES = [(2, 3, 7, 4, 3, 2, 1), (1, 2, 6, 3, 5, 1, 0), (3, 1, 9, 2, 9, 2, 4), (2, 4, 8, 5, 3, 3, 2)]


def tensors(shape, dtype=torch.float64):
    count, channels, size, out_channels, kernel, stride, padding = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, size, size, dtype=dtype, generator=generator, requires_grad=True)
    weight = torch.randn(out_channels, channels, kernel, kernel, dtype=dtype, generator=generator)
    bias = torch.randn(out_channels, dtype=dtype, generator=generator)
    return (images, weight.requires_grad_(), bias.requires_grad_()), stride, padding


@pytest.mark.parametrize("shape", SHAPES)
def test_the_patches_times_the_weights_are_the_convolution(shape):
    (images, weight, _), stride, padding = tensors(shape)
    patches = gathered(images, weight.shape[2], stride, padding)
    product = patches @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    expected = F.conv2d(images, weight, stride=stride, padding=padding)
    torch.testing.assert_close(product, expected.permute(0, 2, 3, 1).flatten(0, 2))


@pytest.mark.parametrize("products", list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_are_those_of_the_convolution(shape, products):
    inputs, stride, padding = tensors(shape)
    ours = ConvolutionByProducts.apply(*inputs, stride, padding, products)
    theirs = F.conv2d(*inputs, stride=stride, padding=padding)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    for mine, reference in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("products", list(itertools.product([True, False], repeat=2)))
def test_first_and_second_derivatives_are_right(products):
    inputs, stride, padding = tensors(SHAPES[0])

    def convolve(images, weight, bias):
        return ConvolutionByProducts.apply(images, weight, bias, stride, padding, products)

    assert gradcheck(convolve, inputs)
    assert gradgradcheck(convolve, inputs)


@pytest.mark.parametrize(
    ("channels", "dtype", "products"),
    [
        (1, torch.float32, (True, True)),
        (3, torch.float32, (True, False)),
        (4, torch.float32, (False, False)),
        (128, torch.float32, (False, False)),
        (1, torch.bfloat16, (False, False)),
        (16, torch.bfloat16, (False, False)),
        (128, torch.bfloat16, (False, True)),
        (1, torch.float64, (False, False)),
    ],
)
def test_products_are_taken_where_they_are_faster(channels, dtype, products):
    images, weight = torch.zeros(1, channels, 9, 9, dtype=dtype), torch.zeros(2, channels, 9, 9, dtype=dtype)
    assert faster_as_products(images, weight) == products


def pair(channels, dtype=torch.float32):
    torch.manual_seed(0)
    ours = Convolution(channels, 16, 9, stride=2, padding=1).to(dtype)
    theirs = nn.Conv2d(channels, 16, 9, stride=2, padding=1).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(4, channels, 12, 12, dtype=dtype)


def used_products(outputs):
    names, waiting = set(), [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(type(node).__name__)
            waiting += [before for before, _ in node.next_functions]
    return "ConvolutionByProductsBackward" in names


def test_wide_filters_in_bf16_gather_and_agree_with_the_plain_convolution():
    ours, theirs, images = pair(128)
    assert ours.weight[0].numel() >= WIDE
    with torch.autocast("cpu", torch.bfloat16):
        mine, reference = ours(images), theirs(images)
    assert used_products(mine)
    assert mine.dtype == reference.dtype == torch.bfloat16
    torch.testing.assert_close(mine, reference, rtol=0.01, atol=0.01)
    mine.float().square().sum().backward()
    reference.float().square().sum().backward()
    for name, parameter in theirs.named_parameters():
        difference = (ours.get_parameter(name).grad - parameter.grad).norm() / parameter.grad.norm()
        assert difference < 0.01, name


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradients_of_few_channels_in_float32_agree_with_the_plain_convolution(channels):
    ours, theirs, images = pair(channels)
    gradients = []
    for layer in (ours, theirs):
        seen = images.clone().requires_grad_()
        outputs = layer(seen)
        assert used_products(outputs) == (layer is ours)
        gradients.append(torch.autograd.grad(outputs.square().sum(), [seen, *layer.parameters()]))
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "autocast"), [(128, False), (16, True)])
def test_other_filters_take_the_plain_way(channels, autocast):
    ours, theirs, images = pair(channels)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        mine, reference = ours(images), theirs(images)
    assert not used_products(mine)
    assert torch.equal(mine, reference)


def test_sabours_primary_capsules_gather():
    primary = PrimaryCapsules(256, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert used_products(primary(torch.randn(2, 256, 12, 12)))
