"""Tests of Triton kernels: on a GPU, or under Triton's interpreter.

The interpreter has to be asked for before anything imports Triton, so without a GPU a process of its own runs
the same file.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
triton_only = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="needs Triton, which has wheels for Linux"
)
kernels_only = pytest.mark.skipif(not CUDA and not INTERPRETED, reason="runs under the interpreter")
without_gpu = pytest.mark.skipif(CUDA or INTERPRETED, reason="the tests below run in this process")


def assert_passes_under_the_interpreter(file):
    """Run a file of tests, all but the one that calls this, in a process under the interpreter."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed, 1 skipped" in done.stdout
