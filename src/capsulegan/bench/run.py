"""All measurements of one run as one document, and as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from capsulegan import console
from capsulegan.bench.growth import growth
from capsulegan.bench.layers import compare_layers, compare_networks
from capsulegan.bench.measure import Comparison, product_rate, threads
from capsulegan.bench.steps import (
    bf16,
    compare_choices,
    compare_heads,
    compare_steps,
    steps_of,
    trainee_of,
    where_time_goes,
)
from capsulegan.errors import UserError
from capsulegan.training.environment import environment

PARTS = ("layers", "networks", "steps")
"""What is measured if nothing is asked for; the other parts take longer."""


def run(parts: Sequence[str], thread_count: int) -> dict[str, Any]:
    """Measure these parts; return the machine, its limits, and a row for each figure.

    Parameters
    ----------
    parts : sequence of {"layers", "networks", "steps", "choices", "heads", "profile", "growth"}
        What to measure; none: `PARTS`.
    thread_count : int
        CPU threads.

    Raises
    ------
    UserError
        If `thread_count` is below 1.
    """
    if thread_count < 1:
        raise UserError(f"threads must be at least 1, got {thread_count}")
    groups: dict[str, Callable[[], list[Comparison]]] = {
        "layers": compare_layers,
        "networks": lambda: compare_networks(bf16()),
        "steps": compare_steps,
        "choices": compare_choices,
        "heads": compare_heads,
    }
    parts = parts or PARTS
    with threads(thread_count), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        document: dict[str, Any] = {
            "environment": {**environment(), "threads": thread_count},
            "gigaflops": {
                "float32": product_rate(torch.float32) / 1e9,
                "bf16": product_rate(torch.bfloat16) / 1e9 if bf16() else None,
            },
            "comparisons": [],
        }
        for name, group in groups.items():
            if name in parts:
                console.say(f"measuring {name}")
                document["comparisons"] += [row_of(comparison) for comparison in group()]
        if "profile" in parts:
            console.say("measuring where a step's time goes")
            document["profile"] = {
                f"{model}, {preset}" if model != "gan" else model: where_time_goes(
                    steps_of(trainee_of(model, preset))
                )
                for model, preset in (("gan", "small"), ("capsulegan", "small"), ("capsulegan", "capsnet"))
            }
        if "growth" in parts:
            console.say("measuring how time and memory grow")
            document["growth"] = growth()
    return document


def row_of(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as a JSON object."""
    return {**vars(comparison), "ratio": comparison.ratio}


def show(document: dict[str, Any]) -> None:
    """Print the document as tables on standard output."""
    machine, rates = document["environment"], document["gigaflops"]
    print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} thread(s), "
        f"torch {machine['torch']}, {machine['date']}"
    )
    print(
        "A product of matrices of 1024 x 1024: "
        + ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in rates.items() if rate)
    )
    if document["comparisons"]:
        columns = ["part", "beside", "quantity", "ratio", "at most", "part", "reference"]
        console.print_table("Cost as a ratio", columns, [cells(row) for row in document["comparisons"]])
    for name, shares in document.get("profile", {}).items():
        lines = [[kind, f"{share:.1%}"] for kind, share in shares.items()]
        console.print_table(f"Where the CPU time of a step goes: {name}", ["operations", "share"], lines)
    if "growth" in document:
        lines = [
            [row["part"], *(console.number(row.get(name)) for name in ("milliseconds", "megabytes", "gflop"))]
            for row in document["growth"]
        ]
        console.print_table("Growth", ["part", "ms", "MB", "GFLOP"], lines)


def cells(row: dict[str, Any]) -> list[str]:
    """Return a comparison's cells."""
    scale, unit = (1e3, "ms") if row["quantity"] == "seconds" else (1e-6, "MB")
    values = [f"{row[name] * scale:.3g} {unit}" for name in ("value", "reference")]
    quantity = "time" if unit == "ms" else "memory"
    return [row["part"], row["against"], quantity, f"{row['ratio']:.3f}", console.number(row["bar"]), *values]
