import pytest
import torch

from capsulegan.networks import ResidualNetwork
from capsulegan.networks.resnet import ResidualBlock
from capsulegan.tensors import parameter_count


@pytest.mark.parametrize(("size", "channels", "classes"), [(8, 1, 2), (28, 1, 10), (32, 3, 10), (64, 3, 5)])
def test_it_gives_probabilities_and_features(size, channels, classes):
    network = ResidualNetwork(size, channels, classes, width=8)
    said = network(torch.rand(3, channels, size, size) * 2 - 1)
    assert said.logits.shape == said.confidences.shape == (3, classes)
    assert said.features.shape == (3, 32)
    torch.testing.assert_close(said.confidences.sum(dim=1), torch.ones(3))
    assert torch.equal(said.confidences.argmax(dim=1), said.logits.argmax(dim=1))
    torch.testing.assert_close(network.last(said.features), said.logits)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2), (4, 8, 1)])
def test_a_block_whose_convolutions_are_zero_is_its_shortcut(inputs, outputs, stride):
    block = ResidualBlock(inputs, outputs, stride).eval()
    torch.nn.init.zeros_(block.residual[3].weight)
    maps = torch.rand(2, inputs, 6, 6)
    assert block(maps).shape == (2, outputs, 6 // stride, 6 // stride)
    assert torch.equal(block(maps), block.shortcut(maps).relu())
    if inputs == outputs:
        assert torch.equal(block(maps), maps)


def test_the_parameters_are_those_of_its_layers():
    first = 27 * 8 + 16
    same = 2 * (9 * 8 * 8 + 16)
    second = 9 * 8 * 16 + 9 * 16 * 16 + 2 * 32 + 8 * 16 + 32
    third = 9 * 16 * 32 + 9 * 32 * 32 + 2 * 64 + 16 * 32 + 64
    assert parameter_count(ResidualNetwork(32, width=8)) == first + same + second + third + 32 * 10 + 10
    deeper = parameter_count(ResidualNetwork(32, width=8, blocks=2))
    more = sum(2 * (9 * width * width + 2 * width) for width in (8, 16, 32))
    assert deeper == parameter_count(ResidualNetwork(32, width=8)) + more


def test_a_width_that_crashes_is_refused():
    with pytest.raises(ValueError, match=r"'width' parameter must be at least 8\. Got 4 instead"):
        ResidualNetwork(8, width=4)


@pytest.mark.parametrize("classes", [1, 0])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ValueError, match=f"'classes' parameter must be at least 2. Got {classes} instead"):
        ResidualNetwork(8, classes=classes)
