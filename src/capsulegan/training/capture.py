"""A training step recorded once as a CUDA graph and replayed: one launch, and no Python in between."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Scalars = dict[str, Tensor]
StepFunction = Callable[..., Scalars]
"""(*tensors, r1_weight: the weight of the gradient penalty) -> scalars."""

WARM_UP = 3
"""Steps of each kind that are taken as they are: libraries choose their algorithms in the first ones."""


@dataclass
class Recording:
    """A recorded step, with the memory that its inputs are read from and its scalars are left in."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    scalars: Scalars


@dataclass
class CapturedStep:
    """Does what `step` does, by replaying a recording of it once the first few steps are taken.

    Only on CUDA devices. The step may not wait for the device, and everything that it changes must stay where
    it is: weights, moments, buffers, and the optimizers' step sizes as tensors. There is one recording for
    each weight of the penalty (steps with and without it). What a replay returns is overwritten by the next.
    """

    step: StepFunction
    taken: dict[float, int] = field(default_factory=dict)
    recordings: dict[float, Recording] = field(default_factory=dict)

    def __call__(self, *inputs: Tensor, r1_weight: float = 0.0) -> Scalars:
        """Take one step with tensors on the device, each of the same shape every time."""
        taken = self.taken.get(r1_weight, 0)
        if taken < WARM_UP:
            self.taken[r1_weight] = taken + 1
            return self.beside(*inputs, r1_weight=r1_weight)
        if r1_weight not in self.recordings:
            self.recordings[r1_weight] = self.record(*inputs, r1_weight=r1_weight)
        recording = self.recordings[r1_weight]
        for kept, given in zip(recording.inputs, inputs, strict=True):
            kept.copy_(given)
        recording.graph.replay()
        return recording.scalars

    def beside(self, *inputs: Tensor, r1_weight: float) -> Scalars:
        """Take a step on a stream of its own, as CUDA asks of whatever is to be recorded later."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            # Adam warns of steps that are taken as they are by an optimizer that can be recorded
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            scalars = self.step(*inputs, r1_weight=r1_weight)
        torch.cuda.current_stream().wait_stream(stream)
        return scalars

    def record(self, *inputs: Tensor, r1_weight: float) -> Recording:
        """Record a step without taking it."""
        graph, kept = torch.cuda.CUDAGraph(), tuple(tensor.clone() for tensor in inputs)
        with torch.cuda.graph(graph):
            scalars = self.step(*kept, r1_weight=r1_weight)
        return Recording(graph, kept, scalars)
