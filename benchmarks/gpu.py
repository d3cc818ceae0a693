"""Checks and times what the package does on a GPU, in one call of under 10 minutes.

    PYTHONPATH=src python benchmarks/gpu.py [--out results/gpu/h200.json] [--data-folder DIR] [--device cpu]

Runs from a bare checkout. It measures the device's own ceilings (copy bandwidth, bf16 product of matrices) in
the same run, and sets every time beside them. Each part is written down when it is done; a part that fails is
recorded with its error and does not stop the others. `--device cpu` does the same at a small size, to test
the script itself: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.profiler import ProfilerActivity, profile

import capsulegan
from capsulegan.bench.layers import CarefulLayer, routing_flops
from capsulegan.bench.steps import steps_of
from capsulegan.capsules import CapsuleLayer
from capsulegan.data import ImageData, load_data
from capsulegan.evaluation.battle import tournament
from capsulegan.evaluation.classification import classify_generated, prepare_exam
from capsulegan.evaluation.scores import judge_images, reference_opinion
from capsulegan.evaluation.settings import SpreadingSettings
from capsulegan.files import write_json
from capsulegan.published import published_judge
from capsulegan.training.build import ImageShape
from capsulegan.training.configuration import Config
from capsulegan.training.cost import step_flops
from capsulegan.training.environment import environment, resolved
from capsulegan.training.loop import arithmetic
from capsulegan.training.trainee import Trainee, build_trainee

Figures = dict[str, Any]
WARM_UP = 70
"""Steps past which those with and without a gradient penalty are both recorded."""
PROFILED = 32
"""Steps whose kernels are timed: two with a gradient penalty, where there is one."""
KINDS = {
    "convolutions and products": [
        "gemm",
        "xmma",
        "cutlass",
        "conv",
        "wgrad",
        "dgrad",
        "fprop",
        "gemv",
        "dot",
    ],
    "batch norm": ("batch_norm", "bn_", "batchnorm"),
    "optimizer": ("adam", "multi_tensor", "lerp", "foreach"),
    "changes of layout and copies": ("nchw", "nhwc", "transpose", "memcpy", "memset", "copy", "cat"),
    "sums": ("reduce", "softmax"),
    "element by element": ("elementwise", "vectorized"),
}
"""Kinds of kernels by what their names hold, the first that fits."""
MODELS = (("gan", "small"), ("capsulegan", "small"), ("capsulegan", "capsnet"))


class Device:
    """A device and how to time work on it."""

    def __init__(self, name: str) -> None:
        self.name, self.small = name, name == "cpu"

    def wait(self) -> None:
        """Wait until all work is done."""
        if not self.small:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], budget: float = 1.0, warm_up: int = 5) -> float:
        """Return the mean time of one piece of work, after a warm-up, over about `budget` seconds."""
        for _ in range(1 if self.small else warm_up):
            work()
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        times = 1 if self.small else max(3, int(budget / max(time.perf_counter() - started, 1e-5)))
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu/gpu.json"))
    parser.add_argument("--data-folder", type=Path, help="where MNIST lies; $CAPSULEGAN_DATA if not given")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    if arguments.data_folder:
        os.environ["CAPSULEGAN_DATA"] = str(arguments.data_folder)
    device = Device(arguments.device)
    data = "digits" if device.small else "mnist"
    train, test = (load_data(data, split) for split in ("train", "test"))
    parts: dict[str, Callable[[], Figures]] = {
        "ceilings": lambda: ceilings(device),
        "routing": lambda: routing(device),
        "steps": lambda: steps(device, train),
        "kernels": lambda: kernels(device, train),
        "deterministic": lambda: deterministic(device, train),
        "waiting": lambda: waiting(device, train),
        "evaluation": lambda: evaluation(device, train, test, arguments.out.parent / "run"),
    }
    document: Figures = {"environment": environment(), "device": device.name}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        started = time.perf_counter()
        try:
            document[name] = part()
        except Exception as error:  # the others are worth having
            document[name] = {"error": f"{type(error).__name__}: {error}"}
        document[name]["seconds_taken"] = round(time.perf_counter() - started, 1)
        print(json.dumps({name: document[name]}, indent=2), flush=True)
        write_json(arguments.out, document)
    for line in rates(document):
        print(line)


def ceilings(device: Device) -> Figures:
    """Return what the device can do at best: bytes copied and operations in bf16 products, a second."""
    size, width = (2**20, 256) if device.small else (2**30, 8192)
    block = torch.empty(size, dtype=torch.uint8, device=device.name)
    target = torch.empty_like(block)
    matrix = torch.randn(width, width, device=device.name, dtype=torch.bfloat16)
    copying = device.seconds(lambda: target.copy_(block))
    product = device.seconds(lambda: matrix @ matrix)
    return {"copied_bytes_a_second": 2 * size / copying, "bf16_flops_a_second": 2 * width**3 / product}


def routing(device: Device) -> Figures:
    """Time the routed layer 1152 x 8 -> 10 x 16, forward and backward, and compare it with float64."""
    inputs, batch = (72, 4) if device.small else (1152, 256)
    layer = CapsuleLayer(inputs, 8, 10, 16).to(device.name)
    careful = CarefulLayer(layer)
    capsules = torch.nn.functional.normalize(torch.randn(batch, inputs, 8, device=device.name), dim=-1) / 2
    gradient = torch.randn(batch, 10, 16, device=device.name)

    def both(network: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], tuple[torch.Tensor, ...]]:
        x = capsules.clone().requires_grad_()
        return lambda: torch.autograd.grad(network(x), (x, layer.weight), gradient)

    kinds: dict[str, Callable[[], Callable[[], object]]] = {
        "layer": lambda: both(layer),
        "careful loop": lambda: both(careful),
    }
    if not device.small:  # compiling takes longer than all else there
        compiled = torch.compile(careful)
        kinds["compiled loop"] = lambda: both(compiled)
        networks = {"layer": layer, "careful loop": careful, "compiled loop": compiled}
        for name, network in networks.items():  # as in a recorded training step
            kinds[f"{name}, replayed"] = lambda network=network: replayed(both(network))  # type: ignore[misc]
    seconds: dict[str, float] = {}
    failed = {}
    for name, make in kinds.items():
        try:
            seconds[name] = device.seconds(make())
        except Exception as error:  # a compiler may be missing
            failed[name] = f"{type(error).__name__}: {error}"
    exact = CarefulLayer(CapsuleLayer(inputs, 8, 10, 16).to(device.name, torch.float64))
    with torch.no_grad():
        exact.weight.copy_(layer.weight)
    x = capsules.double().requires_grad_()
    wanted = torch.autograd.grad(exact(x), (x, exact.weight), gradient.double())
    found = both(layer)()
    errors = [((f - w).norm() / w.norm()).item() for f, w in zip(found, wanted, strict=True)]
    flops = routing_flops(batch, inputs, 8, 10, 16, 3)
    return {
        "shape": f"{inputs} x 8 -> 10 x 16, batch {batch}, float32",
        "seconds": seconds,
        "failed": failed,
        "over_layer": {
            name: value / seconds["layer, replayed" if name.endswith("replayed") else "layer"]
            for name, value in seconds.items()
        },
        "relative_errors_of_gradients": errors,
        "flops_a_second": flops / seconds["layer"],
    }


def replayed(work: Callable[[], object]) -> Callable[[], object]:
    """Return the replay of a recording of some work on a CUDA device."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def trainee_of(device: Device, train: ImageData, model: str, **settings: Any) -> tuple[Config, Trainee]:
    """Return a model as `capsulegan.train` trains it on this device."""
    config = resolved(Config(model, train.name, device=device.name, **settings))
    precision: Any = "bf16-mixed" if config.precision == "bf16" else "32-true"
    fabric = Fabric(accelerator=device.name, devices=1, precision=precision)
    size, channels = train.images.shape[1], train.images.shape[3]
    shape = ImageShape(size, channels, len(train.classes))
    return config, build_trainee(config, train, shape, fabric)


def steps(device: Device, train: ImageData) -> Figures:
    """Time training steps in images a second."""
    found: Figures = {}
    for batch_size in (32,) if device.small else (64, 256, 1024):
        for model, preset in MODELS:
            config, trainee = trainee_of(device, train, model, preset=preset, batch_size=batch_size)
            with arithmetic(config):
                seconds = device.seconds(steps_of(trainee), warm_up=WARM_UP)
            size, channels = train.images.shape[1], train.images.shape[3]
            flops = step_flops(config, ImageShape(size, channels, len(train.classes)))
            found[f"{model}, {preset}, batch {batch_size}"] = {
                "images_a_second": batch_size / seconds,
                "seconds_a_step": seconds,
                "flops_a_second": flops / seconds,
                "precision": config.precision,
            }
    return found


def kernels(device: Device, train: ImageData) -> Figures:
    """Return where the time of a step goes on the device: the share of each kind of kernel, and of none."""
    if device.small:
        return {"note": "a CPU runs no kernels"}
    found: Figures = {}
    for model, preset in MODELS:
        config, trainee = trainee_of(device, train, model, preset=preset, batch_size=256)
        with arithmetic(config):
            work = steps_of(trainee)
            seconds = device.seconds(work, budget=0.5, warm_up=WARM_UP)
            with profile(activities=[ProfilerActivity.CUDA]) as trace:
                for _ in range(PROFILED):
                    work()
                device.wait()
        times = {
            event.key: event.self_device_time_total / 1e6 / PROFILED / seconds
            for event in trace.key_averages()
            if event.self_device_time_total
        }
        shares: dict[str, float] = defaultdict(float)
        for name, share in times.items():
            kind = next(
                (kind for kind, words in KINDS.items() if any(w in name.lower() for w in words)), None
            )
            shares[kind or "others"] += share
        longest = sorted(times, key=lambda name: -times[name])[:12]
        found[f"{model}, {preset}, batch 256"] = {
            "seconds_a_step": seconds,
            "shares": {**shares, "no kernel": 1 - sum(shares.values())},
            "longest": {name[:160]: times[name] for name in longest},
        }
    return found


def deterministic(device: Device, train: ImageData) -> Figures:
    """Return what repeating itself bit for bit costs, as a ratio of times."""
    seconds = {}
    for wanted in (False, True):
        batch_size = 32 if device.small else 256
        config, trainee = trainee_of(device, train, "capsulegan", batch_size=batch_size, deterministic=wanted)
        with arithmetic(config):
            seconds[wanted] = device.seconds(steps_of(trainee), warm_up=WARM_UP)
    return {"deterministic_over_default": seconds[True] / seconds[False]}


def waiting(device: Device, train: ImageData) -> Figures:
    """Make sure that no step waits for the device once its graphs are recorded."""
    if device.small:
        return {"note": "a CPU has nothing to wait for"}
    _, trainee = trainee_of(device, train, "capsulegan-best", batch_size=256)
    for step in range(WARM_UP):
        trainee.advance(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(WARM_UP, 2 * WARM_UP):
            trainee.advance(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"steps_without_a_wait": WARM_UP}


def evaluation(device: Device, train: ImageData, test: ImageData, folder: Path) -> Figures:
    """Time what a study does with a trained run."""
    images = 640 if device.small else 200_000
    config = Config("capsulegan", train.name, images=images, device=device.name)
    capsulegan.train(config, folder, resume=True)
    run = capsulegan.load(folder, device.name)
    count = 500 if device.small else 50_000
    seconds = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = work()
        device.wait()
        seconds[name] = time.perf_counter() - started
        return answer

    drawn = timed(f"{count} images drawn", lambda: run.sample(count))
    judge = published_judge(train.digest, device.name)
    if judge is not None:
        reference = timed("10,000 images judged", lambda: reference_opinion(judge, train, 10_000))
        timed("all scores", lambda: judge_images(drawn[:10_000], judge, reference, "capsulegan", 0))
    labels = (100, 500) if device.small else (100, 1000, 10_000)
    exam = prepare_exam(train, test, labels, 0, SpreadingSettings(), False)
    rows = timed("label spreading, all n", lambda: classify_generated(exam, run, count))
    timed("battle", lambda: tournament([run, run], train, test, samples=min(count, 10_000)))
    return {"seconds": seconds, "label_spreading_errors": [row["value"] for row in rows]}


def rates(document: Figures) -> list[str]:
    """Return every step's rate beside the device's."""
    ceiling = document["ceilings"].get("bf16_flops_a_second")
    lines = []
    for name, figures in document["steps"].items():
        if isinstance(figures, dict) and ceiling:
            share = figures["flops_a_second"] / ceiling
            lines.append(f"{name}: {figures['images_a_second']:,.0f} images/s, {share:.1%} of bf16 products")
    return lines


if __name__ == "__main__":
    main()
