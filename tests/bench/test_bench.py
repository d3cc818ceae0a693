"""What is measured is what is said to be measured; how fast it is, is no matter of tests."""

import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from capsulegan.bench import growth, layers, measure, run, steps
from capsulegan.bench.steps import plain_forward
from capsulegan.capsules.convolution import Convolution


def flops(work, kind=""):
    with FlopCounterMode(display=False) as counter:
        work()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in counts.items() if kind in str(operation))


def test_the_median_of_each_case_is_that_of_its_second_runs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(
        measure, "time", SimpleNamespace(process_time=lambda: now[0], perf_counter=lambda: now[0])
    )
    ran = []

    def case(name, seconds):
        lengths = iter([100.0, seconds, 100.0, seconds * 3, 100.0, seconds] + 4 * [100.0, seconds])

        def work():
            ran.append(name)
            now[0] += next(lengths)

        return work

    found = measure.median_seconds({"a": case("a", 1.0), "b": case("b", 2.0)}, budget=0)
    assert found == {"a": 1.0, "b": 2.0}
    assert "".join(ran) == 5 * "aabb"


def test_peak_memory_is_the_most_that_is_held_at_once():
    def work():
        first = torch.ones(1000, 1000)  # 4 MB
        del first
        second = torch.ones(1500, 1000)  # 6 MB
        third = torch.ones(500, 1000)  # and 2 MB
        return second.sum() + third.sum()

    assert measure.peak_bytes(work) == pytest.approx(8_000_000, abs=10_000)


def test_threads_are_set_back():
    before = torch.get_num_threads()
    with measure.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_ratio_is_that_of_part_to_reference():
    assert measure.Comparison("a", "b", "seconds", 1.0, 4.0).ratio == 0.25


@pytest.mark.parametrize("outputs", [1, 2, 10])
def test_hand_counted_operations_are_those_that_torch_counts(outputs):
    work = layers.layer_works(outputs, batch=16, inputs=20)["layer"]
    expected = layers.routing_flops(16, 20, 8, outputs, 16, iterations=3)
    assert flops(work) == expected


def test_layer_and_reference_compute_the_same():
    torch.manual_seed(0)
    works = layers.layer_works(10, batch=16, inputs=20)
    torch.manual_seed(1)
    for one, other in zip(works["layer"](), works[layers.LOOP](), strict=True):
        assert one.shape == other.shape


def test_routing_takes_a_fifth_of_the_memory_of_predictions():
    works = layers.layer_works(10, batch=64)
    memory = {name: measure.peak_bytes(work) for name, work in works.items()}
    assert memory["layer"] <= 0.2 * memory[layers.LOOP]
    assert memory[layers.LOOP] >= 2 * 4 * 64 * layers.INPUTS * 10 * 16  # predictions and their gradient


@pytest.mark.parametrize("model", ["gan", "capsulegan"])
def test_convolutions_alone_are_those_of_a_step(model):
    trainee = steps.trainee_of(model, batch_size=16)
    steps.make_plain(trainee.networks["discriminator"])  # gradients by products would count as products
    step = steps.steps_of(trainee)
    alone = steps.convolutions_alone(trainee, batch_size=16)
    assert flops(alone, "convolution") == flops(step, "convolution")
    assert flops(alone) == flops(alone, "convolution")
    assert all(p.requires_grad for p in trainee.networks["discriminator"].parameters())


def test_shares_of_time_add_up_and_name_what_was_done():
    a, x, kernel = torch.randn(200, 200), torch.randn(4, 8, 32, 32), torch.randn(8, 8, 3, 3)

    def work():
        for _ in range(20):
            a @ a
        return torch.conv2d(x, kernel)

    shares = steps.where_time_goes(work)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert shares["matrix products"] > 0.1
    assert shares["convolutions"] > 0


@pytest.fixture
def quick(monkeypatch):
    """Everything small, and no more rounds than needed."""
    monkeypatch.setattr(measure, "FEWEST_ROUNDS", 1)
    monkeypatch.setattr(layers, "INPUTS", 16)
    for name, function in (("compare_layers", layers.compare_layers), ("growth", growth.growth)):
        monkeypatch.setattr(run, name, functools.partial(function, budget=0))
    monkeypatch.setattr(growth, "LAYERS", [(1, 16, 16), (2, 16, 16)])
    monkeypatch.setattr(growth, "IMAGE_SIZES", (8,))
    monkeypatch.setattr(growth, "BATCH_SIZES", (2,))
    monkeypatch.setattr(run, "product_rate", lambda dtype: 1e9)


@pytest.mark.usefixtures("quick")
def test_a_run_gives_one_document_and_its_tables(capsys):
    document = run.run(("layers", "growth"), 1)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["environment"]["threads"] == 1
    assert {row["quantity"] for row in document["comparisons"]} == {"seconds", "bytes"}
    for row in document["comparisons"]:
        assert row["ratio"] == row["value"] / row["reference"] > 0
    assert {row["part"].split()[0] for row in document["growth"]} == {"layer", "gan", "capsulegan"}
    capsys.readouterr()
    run.show(document)
    shown = capsys.readouterr().out
    assert "16 x 8 -> 10 x 16, batch 64" in shown
    assert "capsulegan step, 8 x 8 pixels, batch 64" in shown


def test_networks_are_compared_in_every_precision(monkeypatch):
    monkeypatch.setattr(measure, "FEWEST_ROUNDS", 1)
    monkeypatch.setattr(layers, "CapsNet", lambda *_, **__: layers_capsnet())
    found = layers.compare_networks(bf16=True, budget=0)
    assert [(c.part.split()[-1], c.against.split()[-1]) for c in found] == [
        ("float32", "float32"),
        ("bf16", "float32"),
        ("bf16", "bf16"),
    ]


def layers_capsnet():
    from capsulegan.networks import CapsNet

    return CapsNet(28, preset="small")


@pytest.mark.parametrize("arguments", [("--threads", "0"), ("nothing",)])
def test_a_mistake_is_one_line_and_exit_code_2(arguments):
    command = [sys.executable, "-m", "capsulegan.cli", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_heads_are_compared_with_the_one_capsule():
    comparisons = steps.compare_heads(budget=0.1, batch_size=4)
    assert [each.part for each in comparisons[:2]] == [
        "capsulegan step, small, hidden, 1 iteration",
        "capsulegan step, small, hidden, 3 iterations",
    ]
    assert len(comparisons) == 6
    assert all(each.ratio > 0 for each in comparisons)


@pytest.mark.parametrize("module", [Convolution(128, 8, 9, 2), nn.ConvTranspose2d(3, 2, 4, 2, 1)])
def test_convolutions_alone_are_those_of_pytorch(module):
    images = torch.randn(2, module.in_channels, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        plain, ours = plain_forward(module, images), module(images)
    torch.testing.assert_close(plain, ours, rtol=0.02, atol=0.02)
    assert type(plain.grad_fn).__name__ == "ConvolutionBackward0"
