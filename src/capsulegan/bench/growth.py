"""How time and memory grow with the number of capsules, the batch and the image."""

from __future__ import annotations

from typing import Any

import torch

from capsulegan.bench.layers import IN_DIM, INPUTS, OUT_DIM, layer_works, routing_flops
from capsulegan.bench.measure import Work, median_seconds, peak_bytes
from capsulegan.bench.steps import steps_of, trainee_of

LAYERS = [(1, 64, INPUTS), (2, 64, INPUTS), (10, 64, INPUTS), (20, 64, INPUTS)]  # outputs, batch, inputs
LAYERS += [(10, 16, INPUTS), (10, 32, INPUTS), (10, 128, INPUTS), (10, 64, INPUTS // 2), (10, 64, INPUTS * 2)]
IMAGE_SIZES = (8, 16, 28, 32, 64)
BATCH_SIZES = (16, 32, 128)


def growth(budget: float = 3.0) -> list[dict[str, Any]]:
    """Return milliseconds and megabytes of layers and training steps of many sizes."""
    torch.manual_seed(0)
    rows = []
    for outputs, batch, inputs in LAYERS:
        work = layer_works(outputs, batch, inputs)["layer"]
        row = measured(f"layer {inputs} x {IN_DIM} -> {outputs} x {OUT_DIM}, batch {batch}", work, budget)
        row["gflop"] = routing_flops(batch, inputs, IN_DIM, outputs, OUT_DIM, iterations=3) / 1e9
        rows.append(row)
    for model in ("gan", "capsulegan"):
        for size, batch in [*((size, 64) for size in IMAGE_SIZES), *((28, batch) for batch in BATCH_SIZES)]:
            work = steps_of(trainee_of(model, image_size=size, batch_size=batch))
            rows.append(measured(f"{model} step, {size} x {size} pixels, batch {batch}", work, budget))
    return rows


def measured(part: str, work: Work, budget: float) -> dict[str, Any]:
    """Return a row with the time and the peak memory of a case."""
    seconds = median_seconds({part: work}, budget)[part]
    return {"part": part, "milliseconds": seconds * 1e3, "megabytes": peak_bytes(work) / 1e6}
