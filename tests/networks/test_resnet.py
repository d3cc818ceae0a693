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
    assert said.features.shape == (3, 64)
    torch.testing.assert_close(said.confidences.sum(dim=1), torch.ones(3))
    assert torch.equal(said.confidences.argmax(dim=1), said.logits.argmax(dim=1))
    torch.testing.assert_close(network.last(said.features), said.logits)


def test_a_block_whose_convolutions_are_zero_changes_nothing():
    block = ResidualBlock(4).eval()
    torch.nn.init.zeros_(block.residual[3].weight)
    maps = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(maps), maps)
    assert not torch.equal(ResidualBlock(4).eval()(maps), maps)


def test_the_parameters_are_those_of_its_layers():
    def layer(inputs, outputs):
        return 9 * inputs * outputs + 2 * outputs

    ways = ((3, 8), (8, 16), (16, 16), (16, 16), (16, 32), (32, 64), (64, 64), (64, 64))
    expected = sum(layer(*way) for way in ways) + 64 * 10 + 10
    assert parameter_count(ResidualNetwork(32, width=8)) == expected


def test_a_width_that_crashes_is_refused():
    with pytest.raises(ValueError, match=r"'width' parameter must be at least 8\. Got 4 instead"):
        ResidualNetwork(8, width=4)


@pytest.mark.parametrize("classes", [1, 0])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ValueError, match=f"'classes' parameter must be at least 2. Got {classes} instead"):
        ResidualNetwork(8, classes=classes)
