"""The layer that keeps no predictions against the literal procedure on predictions."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.autograd import gradcheck, gradgradcheck

from capsulegan.capsules import CapsuleLayer, layers, lengths, margin_loss, routing
from capsulegan.capsules.functional import routed_total_input
from capsulegan.networks import CapsNet

SHAPES = [(9, 1, 1, 2, 1), (5, 7, 4, 3, 5), (64, 33, 8, 10, 16), (3, 40, 2, 2, 7)]  # B, I, d, J, D


def literal(capsules, weight, iterations=3):
    return routed_total_input(torch.einsum("bid,idje->bije", capsules, weight), iterations)


def drawn(shape, dtype=torch.float64):
    batch, inputs, dim, outputs, out_dim = shape
    capsules = torch.randn(batch, inputs, dim, dtype=dtype) / 2
    weight = torch.randn(inputs, dim, outputs, out_dim, dtype=dtype) / 2
    return (
        capsules.requires_grad_(),
        weight.requires_grad_(),
        torch.randn(batch, outputs, out_dim, dtype=dtype),
    )


def with_gradients(function, capsules, weight, probe, iterations=3):
    s = function(capsules, weight, iterations)
    return s, *torch.autograd.grad(s, (capsules, weight), probe)


def assert_equal(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.fixture(params=[1, 300, 2**19])
def block(request, monkeypatch):
    """Blocks of one input, of a few with a shorter one at the end, and of all."""
    monkeypatch.setattr(routing, "CACHED_NUMBERS", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("iterations", [2, 3, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_procedure(shape, iterations):
    given = drawn(shape)
    found = with_gradients(routing.route, *given, iterations)
    assert_equal(found, with_gradients(literal, *given, iterations), 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_as_exact(shape):
    given = drawn(shape, torch.float32)
    assert_equal(with_gradients(routing.route, *given), with_gradients(literal, *given), 1e-5)


def test_tensors_may_lie_in_memory_in_any_order():
    capsules, weight, probe = drawn((9, 7, 4, 3, 5))
    turned = [
        capsules.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_(),
        weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_(),
        probe.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    ]
    expected = with_gradients(literal, capsules, weight, probe)
    assert_equal(with_gradients(routing.route, *turned), expected, 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gradient_penalty_is_differentiated_at_constant_couplings(shape):
    capsules, weight, probe = drawn(shape)

    def penalty_gradients(function):
        s = function(capsules, weight, 3)
        gradients = torch.autograd.grad((s**2 * probe).sum(), (capsules, weight), create_graph=True)
        penalty = sum((gradient**2).sum() for gradient in gradients)
        return torch.autograd.grad(penalty, (capsules, weight))

    assert_equal(penalty_gradients(routing.route), penalty_gradients(literal), 1e-10)


def test_the_differentiable_backward_pass_is_gradchecked():
    capsules, weight, probe = drawn((3, 4, 2, 2, 3))
    couplings = torch.rand(2, 4, 3, dtype=torch.float64)
    gradient = probe.permute(1, 2, 0).requires_grad_()

    def backward(capsules, weight, gradient):
        return routing.differentiable_gradients(capsules, weight, couplings, gradient)

    assert gradcheck(backward, (capsules, weight, gradient))
    assert gradgradcheck(backward, (capsules, weight, gradient))


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_single_pass_has_second_derivatives(outputs):
    layer = CapsuleLayer(4, 3, outputs, 2, None if outputs == 1 else 1).double()
    capsules = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)

    def output(capsules, weight):
        return torch.func.functional_call(layer, {"weight": weight}, capsules)

    assert gradcheck(output, (capsules, layer.weight))
    assert gradgradcheck(output, (capsules, layer.weight))


@pytest.mark.parametrize("frozen", ["capsules", "weight"])
def test_no_gradient_is_computed_for_what_is_frozen(frozen):
    capsules, weight, probe = drawn((9, 7, 4, 3, 5))
    expected = dict(
        zip(("s", "capsules", "weight"), with_gradients(literal, capsules, weight, probe), strict=True)
    )
    leaves = {"capsules": capsules, "weight": weight}
    leaves[frozen].requires_grad_(False)
    routing.route(capsules, weight, 3).backward(probe)
    learning = "weight" if frozen == "capsules" else "capsules"
    assert_equal([leaves[learning].grad], [expected[learning]], 1e-10)
    assert leaves[frozen].grad is None


def test_function_transforms_find_the_gradient():
    capsules, weight, probe = drawn((9, 7, 4, 3, 5))
    found = torch.func.grad(lambda w: (routing.route(capsules.detach(), w, 3) * probe).sum())(weight.detach())
    assert_equal([found], with_gradients(literal, capsules, weight, probe)[2:], 1e-10)


# ---- through the layer


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_small_and_large_batches_are_routed_alike(iterations):
    layer = CapsuleLayer(30, 8, 10, 16, iterations).double()
    capsules = torch.randn(20, 30, 8, dtype=torch.float64)
    together = layer(capsules)
    for size in (1, 8, 9):
        assert_equal([layer(capsules[:size])], [together[:size]], 1e-10)


def test_small_batches_are_routed_literally_since_their_predictions_are_small(monkeypatch):
    batches = []
    monkeypatch.setattr(layers, "route", lambda u, *_: batches.append(len(u)) or u)
    layer = CapsuleLayer(30, 8, 10, 16)
    for size in (1, 8, 9, 64):
        layer.total_input(torch.zeros(size, 30, 8))
    assert batches == [9, 64]


@pytest.mark.parametrize("batch", [4, 40])
def test_a_zero_sample_has_finite_gradients_among_others(batch):
    layer = CapsuleLayer(7, 4, 3, 5)
    capsules = torch.randn(batch, 7, 4)
    capsules[1] = 0
    capsules.requires_grad_()
    v = layer(capsules)
    v.sum().backward()
    assert torch.equal(v[1], torch.zeros(3, 5))
    assert capsules.grad.isfinite().all()
    assert layer.weight.grad.isfinite().all()


def test_autocast_routes_in_float32():
    layer, capsules, probe = CapsuleLayer(50, 8, 3, 16), torch.rand(20, 50, 8) / 3, torch.randn(20, 3, 16)

    def total_input(capsules, *_):
        return layer.total_input(capsules)

    expected = with_gradients(total_input, capsules.requires_grad_(), layer.weight, probe)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(total_input, capsules, layer.weight, probe)
        assert layer(capsules.bfloat16()).dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_a_half_precision_layer_routes_large_batches_without_overflow():
    layer, capsules = CapsuleLayer(50, 8, 3, 16), torch.rand(20, 50, 8) / 3
    exact = layer(capsules)
    found = layer.half()(capsules.half())
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.01)


@pytest.mark.parametrize("outputs", [1, 3])
def test_an_empty_batch_gives_an_empty_batch(outputs):
    assert CapsuleLayer(7, 4, outputs, 5)(torch.zeros(0, 7, 4)).shape == (0, outputs, 5)


# ---- no quality is given up


@pytest.fixture
def one_thread():
    """Two would wait for each other, on networks as small as these, where the machine has more to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_has_the_losses_of_the_literal_procedure(monkeypatch):
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    targets = torch.nn.functional.one_hot(torch.tensor(digits.target), 10).float()

    def losses():
        torch.manual_seed(0)
        network = CapsNet(8, preset="small")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        values = []
        for step in range(100):
            batch = torch.arange(10 * step, 10 * step + 10)
            loss = margin_loss(lengths(network(images[batch]).capsules), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        return torch.tensor(values)

    fast = losses()
    used = []
    monkeypatch.setattr(layers, "route", lambda *given: (used.append(1), literal(*given))[1])
    before = losses()
    assert len(used) == 100
    assert fast[-1] < fast[0] / 2
    assert (fast - before).abs().max() <= 1e-5
