import math
import warnings

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from capsulegan.capsules import CapsuleLayer, PrimaryCapsules, dynamic_routing, lengths, squash

# ---- one output capsule


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_with_one_output_the_closed_form_equals_routing(iterations):
    layer = CapsuleLayer(30, 8, 1, 16).double()
    capsules = torch.randn(4, 30, 8, dtype=torch.float64, requires_grad=True)
    predictions = torch.einsum("bid,idje->bije", capsules, layer.weight)
    closed, routed = layer(capsules), dynamic_routing(predictions, iterations)
    torch.testing.assert_close(closed, routed, rtol=0, atol=1e-12)
    probe = torch.randn_like(closed)
    for found, expected in zip(
        torch.autograd.grad((closed * probe).sum(), (capsules, layer.weight)),
        torch.autograd.grad((routed * probe).sum(), (capsules, layer.weight)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 3])
def test_routing_iterations_over_one_output_are_warned_of(iterations):
    with pytest.warns(
        UserWarning, match=f"{iterations} routing iterations with one output capsule do nothing"
    ):
        CapsuleLayer(4, 8, 1, 16, iterations=iterations)


@pytest.mark.parametrize(("outputs", "iterations"), [(1, None), (2, None), (2, 3), (10, 1)])
def test_nothing_is_warned_of_otherwise(outputs, iterations):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CapsuleLayer(4, 8, outputs, 16, iterations)


def test_the_closed_form_is_gradchecked():
    layer = CapsuleLayer(4, 3, 1, 2).double()
    assert gradcheck(layer, torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True))


# ---- several output capsules


@pytest.mark.parametrize(("iterations", "routed"), [(None, 3), (1, 1), (2, 2), (5, 5)])
def test_the_layer_routes_its_predictions(iterations, routed):
    layer = CapsuleLayer(7, 4, 3, 5, iterations).double()
    capsules = torch.randn(2, 7, 4, dtype=torch.float64)
    predictions = torch.zeros(2, 7, 3, 5, dtype=torch.float64)
    for i in range(7):
        for j in range(3):
            predictions[:, i, j] = capsules[:, i] @ layer.weight[i, :, j]  # u_hat = W_ij u_i
    torch.testing.assert_close(layer(capsules), dynamic_routing(predictions, routed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
def test_total_input_is_the_output_before_squash(outputs):
    layer = CapsuleLayer(7, 4, outputs, 5)
    capsules = torch.randn(2, 7, 4)
    total = layer.total_input(capsules)
    assert total.shape == (2, outputs, 5)
    assert torch.equal(squash(total), layer(capsules))


@pytest.mark.parametrize("outputs", [1, 2])
def test_zero_capsules_give_zero_and_finite_gradients(outputs):
    layer = CapsuleLayer(7, 4, outputs, 5)
    capsules = torch.zeros(2, 7, 4, requires_grad=True)
    layer(capsules).sum().backward()
    assert torch.equal(layer(capsules), torch.zeros(2, outputs, 5))
    assert capsules.grad.isfinite().all()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 7, 5), (2, 6, 4), (2, 28), (7, 4)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_capsules_of_a_wrong_shape_are_refused(shape, outputs):
    with pytest.raises(ValueError, match=r"'capsules'.*\(batch, 7, 4\). Got") as caught:
        CapsuleLayer(7, 4, outputs, 5)(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("iterations", [0, -3])
def test_fewer_than_one_iteration_is_refused(outputs, iterations):
    with pytest.raises(ValueError, match=f"'iterations'.*at least 1. Got {iterations} instead"):
        CapsuleLayer(7, 4, outputs, 5, iterations)


@pytest.mark.parametrize("outputs", [1, 3])
def test_autocast_to_bfloat16_stays_close_to_float32(outputs):
    primary, layer = PrimaryCapsules(4, 2, 8, kernel_size=3), CapsuleLayer(2 * 5 * 5, 8, outputs, 16)
    features = torch.randn(3, 4, 11, 11)
    exact = layer(primary(features))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(primary(features))
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.03)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_half_precision_layer_sums_without_overflow(outputs):
    layer = CapsuleLayer(50, 8, outputs, 16)
    capsules = torch.rand(2, 50, 8) / 3
    found = layer.half()(capsules.half())
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), layer.float()(capsules), rtol=0, atol=0.01)


# ---- primary capsules


def test_a_primary_capsule_is_made_of_channels_at_one_position():
    kinds, dim = 3, 4
    layer = PrimaryCapsules(2, kinds, dim, kernel_size=3, stride=2)
    features = torch.randn(2, 2, 9, 7)
    maps = layer.convolution(features)
    capsules = layer(features)
    height, width = maps.shape[2:]
    assert (height, width) == (4, 3)
    assert capsules.shape == (2, kinds * height * width, dim)
    for kind in range(kinds):
        for row in range(height):
            for column in range(width):
                s = maps[:, kind * dim : (kind + 1) * dim, row, column]
                index = (kind * height + row) * width + column
                torch.testing.assert_close(capsules[:, index], squash(s), rtol=0, atol=1e-7)


def test_a_primary_capsule_sees_one_patch_alone():
    layer = PrimaryCapsules(1, 2, 8, kernel_size=3, stride=3)
    features = torch.randn(1, 1, 9, 9)
    changed = features.clone()
    changed[0, 0, 0, 0] += 1
    moved = (layer(features) != layer(changed)).any(dim=2)[0]
    assert moved.nonzero().flatten().tolist() == [0, 9]  # the first position of each kind


def test_primary_capsules_have_the_lengths_of_squashed_vectors():
    found = lengths(PrimaryCapsules(3)(10 * torch.randn(1, 3, 20, 20)))
    assert found.shape == (1, 32 * 6 * 6)
    assert found.min() >= 0
    assert found.max() < 1


# ---- initial lengths


@pytest.mark.parametrize("channels", [1, 16, 256])
@pytest.mark.parametrize("dim", [4, 8, 16])
@pytest.mark.parametrize("kernel_size", [3, 5, 9])
def test_primary_capsules_start_with_lengths_near_one_half(channels, dim, kernel_size):
    torch.manual_seed(0)
    layer = PrimaryCapsules(channels, 16, dim, kernel_size)
    features = torch.randn(2, channels, 14, 14).relu() * math.sqrt(2)  # unit mean square
    with torch.no_grad():
        assert 0.2 < lengths(layer(features)).mean() < 0.8


def half_length_capsules(count, dim):
    return normalize(torch.randn(4, count, dim), dim=-1) / 2


SIZES = [(32, 4), (32, 16), (256, 8), (1152, 8), (6272, 4)]


@pytest.mark.parametrize(("in_capsules", "in_dim"), SIZES)
@pytest.mark.parametrize("outputs", [1, 2, 10, 100])
@pytest.mark.parametrize("out_dim", [8, 16])
def test_uniform_couplings_start_with_total_inputs_of_squared_length_one(
    in_capsules, in_dim, outputs, out_dim
):
    if in_capsules * outputs > 30_000:
        in_capsules //= 49
    torch.manual_seed(0)
    layer = CapsuleLayer(in_capsules, in_dim, outputs, out_dim, None if outputs == 1 else 1)
    with torch.no_grad():
        total = layer.total_input(half_length_capsules(in_capsules, in_dim))
    assert 0.4 < total.square().sum(dim=-1).mean() < 2


@pytest.mark.parametrize(("in_capsules", "in_dim"), SIZES)
@pytest.mark.parametrize(("outputs", "out_dim"), [(1, 16), (2, 16), (10, 8), (10, 16), (100, 8)])
def test_routed_capsules_start_with_lengths_from_which_they_can_learn(in_capsules, in_dim, outputs, out_dim):
    in_capsules = max(in_capsules, 2 * outputs)  # fewer cannot reach most of the outputs
    if in_capsules * outputs > 120_000:
        in_capsules //= 49
    torch.manual_seed(0)
    with torch.no_grad():
        v = CapsuleLayer(in_capsules, in_dim, outputs, out_dim)(half_length_capsules(in_capsules, in_dim))
    assert 0.3 < lengths(v).mean() < 0.7
