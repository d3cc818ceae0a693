import pytest
import torch
from torch.nn.functional import one_hot

from capsulegan.networks import CapsNet
from capsulegan.tensors import parameter_count


@pytest.mark.parametrize(("size", "channels", "classes"), [(8, 1, 2), (12, 3, 10), (28, 1, 47)])
def test_every_class_has_a_16_dimensional_capsule_and_its_length(size, channels, classes):
    found = CapsNet(size, channels, classes)(torch.rand(3, channels, size, size) * 2 - 1)
    assert found.capsules.shape == (3, classes, 16)
    assert found.lengths.shape == (3, classes)
    torch.testing.assert_close(found.lengths, found.capsules.norm(dim=2))
    assert found.lengths.max() < 1


def test_a_reconstruction_is_an_image_in_range():
    network = CapsNet(12, channels=3, classes=4)
    drawn = network.reconstruct(1e4 * torch.randn(5, 4, 16), torch.tensor([0, 1, 2, 3, 0]))
    assert drawn.shape == (5, 3, 12, 12)
    assert drawn.abs().max() <= 1


def test_a_reconstruction_depends_on_the_given_class_alone():
    network = CapsNet(8, classes=4)
    labels = torch.tensor([2, 0])
    capsules = torch.randn(2, 4, 16, requires_grad=True)
    drawn = network.reconstruct(capsules, labels)
    drawn.square().sum().backward()
    used = capsules.grad.abs().amax(dim=2) > 0
    assert torch.equal(used, one_hot(labels, 4).bool())
    others = torch.where(used[:, :, None], capsules, torch.randn(2, 4, 16))
    assert torch.equal(network.reconstruct(others, labels), drawn)


def test_class_capsules_can_be_reconstructed_as_any_class():
    network = CapsNet(8, classes=3)
    capsules = torch.randn(1, 3, 16).expand(3, -1, -1)
    first, second, third = network.reconstruct(capsules, torch.arange(3))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_the_capsnet_preset_has_the_parameters_of_its_layers():
    convolution = 256 * (9 * 9 * 1) + 256
    primary = (32 * 8) * (9 * 9 * 256) + 32 * 8
    capsules = 32 * 7 * 7  # padded by one pixel, 20 x 20 gives 7 x 7 positions
    classes = capsules * 8 * 10 * 16
    decoder = (160 * 512 + 512) + (512 * 1024 + 1024) + (1024 * 784 + 784)
    network = CapsNet(28, preset="capsnet")
    assert parameter_count(network) == convolution + primary + classes + decoder == 8_748_048


def test_the_deep_preset_has_the_parameters_of_its_layers():
    first = 32 * (5 * 5 * 1) + 32
    further = 64 * (3 * 3 * 32) + 64 + 64 * (3 * 3 * 64) + 64
    norms = 2 * (32 + 64 + 64)
    primary = (16 * 8) * (5 * 5 * 64) + 16 * 8
    classes = (16 * 7 * 7) * 8 * 10 * 16  # 28 pixels become 14, then 7 positions
    decoder = (160 * 512 + 512) + (512 * 1024 + 1024) + (1024 * 784 + 784)
    network = CapsNet(28)
    assert parameter_count(network) == first + further + norms + primary + classes + decoder == 2_676_368


@pytest.mark.parametrize("iterations", [1, 4])
def test_the_number_of_routing_iterations_reaches_the_last_layer(iterations):
    assert CapsNet(8, iterations=iterations).last.iterations == iterations


@pytest.mark.parametrize("classes", [1, 0])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ValueError, match=f"'classes' parameter must be at least 2. Got {classes} instead"):
        CapsNet(8, classes=classes)
