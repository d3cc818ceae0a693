"""Randomness as a function of (seed, purpose, step), not of what ran before."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derived_seed(seed: int, purpose: str, step: int = 0) -> int:
    """Return a 63-bit seed that depends on all three arguments and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Return a fresh CPU generator for one purpose at one step."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, step))


@contextlib.contextmanager
def seeded(seed: int, purpose: str, step: int = 0) -> Iterator[None]:
    """Run a block under a derived global seed and put the global state back after it.

    For code that only knows PyTorch's global generator, such as the initialisation of modules.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, purpose, step))  # no device's generator
        yield


def latents_for(seed: int, purpose: str, step: int, count: int, dimension: int) -> torch.Tensor:
    """Draw standard normal latents of shape (count, dimension) on the CPU."""
    return torch.randn(count, dimension, generator=generator_for(seed, purpose, step))
