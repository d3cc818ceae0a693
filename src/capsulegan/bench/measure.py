"""Measuring: time of cases that are run in turn, memory, and how fast the machine multiplies matrices."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]

FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Comparison:
    """One figure of a part beside the same figure of a reference, both of one run."""

    part: str
    """What was measured."""
    against: str
    """The reference."""
    quantity: str
    """Seconds or bytes."""
    value: float
    """Of the part."""
    reference: float
    """Of the reference."""
    bar: float | None = None
    """What the ratio is meant to stay below; None where nothing is promised."""

    @property
    def ratio(self) -> float:
        """The part's share of the reference."""
        return self.value / self.reference


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def median_seconds(cases: dict[str, Work], budget: float) -> dict[str, float]:
    """Return the median seconds of each case.

    All cases run in each round, so that what else the machine does touches all alike; each twice, and the
    second time counts, so that it finds memory and caches as it leaves them itself. With one thread it is
    the process's CPU time, which other processes lengthen least; with more it is wall time.

    Parameters
    ----------
    cases : dict
        What to run, by name.
    budget : float
        Seconds after which no further round begins, once there were five.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < FEWEST_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for name, work in cases.items():
            work()
            began = clock()
            work()
            seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_bytes(work: Work) -> int:
    """Return how far the tensors that a case allocates rise above what was there before.

    Each allocation and release of PyTorch's CPU allocator is taken from its profiler and summed up in
    order of time. Memory that libraries below it take for themselves is not seen.
    """
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        work()
    assert trace.profiler is not None
    recorded = trace.profiler.kineto_results
    assert recorded is not None
    events = [event for event in recorded.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def product_rate(dtype: torch.dtype, size: int = 1024, budget: float = 1.0) -> float:
    """Return how many floating-point operations a second a product of square matrices makes."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / median_seconds({"product": lambda: a @ b}, budget)["product"]
