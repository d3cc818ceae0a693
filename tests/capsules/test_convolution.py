import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from capsulegan.capsules import PrimaryCapsules
from capsulegan.capsules.convolution import WIDE, Convolution, WideConvolution, gathered

SHAPES = [(2, 3, 7, 4, 3, 2, 1), (1, 2, 6, 3, 5, 1, 0), (3, 1, 9, 2, 9, 2, 4), (2, 4, 8, 5, 3, 3, 2)]


def tensors(shape, dtype=torch.float64):
    count, channels, size, out_channels, kernel, stride, padding = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, size, size, dtype=dtype, generator=generator, requires_grad=True)
    weight = torch.randn(out_channels, channels, kernel, kernel, dtype=dtype, generator=generator)
    return images, weight.requires_grad_(), stride, padding


@pytest.mark.parametrize("shape", SHAPES)
def test_the_patches_times_the_weights_are_the_convolution(shape):
    images, weight, stride, padding = tensors(shape)
    patches = gathered(images, weight.shape[2], stride, padding)
    product = patches @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    expected = F.conv2d(images, weight, stride=stride, padding=padding)
    torch.testing.assert_close(product, expected.permute(0, 2, 3, 1).flatten(0, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_are_those_of_the_convolution(shape):
    images, weight, stride, padding = tensors(shape)
    ours, theirs = (
        convolve(images, weight)
        for convolve in (
            lambda x, w: Convolution.apply(x, w, stride, padding),
            lambda x, w: F.conv2d(x, w, stride=stride, padding=padding),
        )
    )
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    for mine, reference in zip(
        torch.autograd.grad(ours, (images, weight), upstream),
        torch.autograd.grad(theirs, (images, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


def test_first_and_second_derivatives_are_right():
    images, weight, stride, padding = tensors(SHAPES[0])
    assert gradcheck(lambda x, w: Convolution.apply(x, w, stride, padding), (images, weight))
    assert gradgradcheck(lambda x, w: Convolution.apply(x, w, stride, padding), (images, weight))


def wide(channels=128, dtype=torch.float32):
    torch.manual_seed(0)
    ours = WideConvolution(channels, 16, 9, stride=2, padding=1).to(dtype)
    theirs = nn.Conv2d(channels, 16, 9, stride=2, padding=1).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(4, channels, 12, 12, dtype=dtype)


def used_gathering(outputs):
    names, waiting = set(), [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(type(node).__name__)
            waiting += [before for before, _ in node.next_functions]
    return "ConvolutionBackward" in names


def test_wide_filters_in_bf16_gather_and_agree_with_the_plain_convolution():
    ours, theirs, images = wide()
    assert ours.weight[0].numel() >= WIDE
    with torch.autocast("cpu", torch.bfloat16):
        mine, reference = ours(images), theirs(images)
    assert used_gathering(mine)
    assert mine.dtype == reference.dtype == torch.bfloat16
    torch.testing.assert_close(mine, reference, rtol=0.01, atol=0.01)
    mine.float().square().sum().backward()
    reference.float().square().sum().backward()
    for name, parameter in theirs.named_parameters():
        difference = (ours.get_parameter(name).grad - parameter.grad).norm() / parameter.grad.norm()
        assert difference < 0.01, name


@pytest.mark.parametrize(("channels", "autocast"), [(128, False), (16, True)])
def test_float32_and_narrow_filters_take_the_plain_way(channels, autocast):
    ours, theirs, images = wide(channels)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        mine, reference = ours(images), theirs(images)
    assert not used_gathering(mine)
    assert torch.equal(mine, reference)


def test_sabours_primary_capsules_gather():
    primary = PrimaryCapsules(256, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert used_gathering(primary(torch.randn(2, 256, 12, 12)))
