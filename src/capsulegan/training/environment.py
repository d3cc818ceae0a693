"""What a run computed with: processor, versions, precision."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

from capsulegan.errors import UserError, unknown_name
from capsulegan.training.configuration import Config, default_images


@functools.cache
def processor() -> dict[str, str]:
    """Return the processor's fields as Linux names them, or its bare name elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {"model name": platform.processor() or platform.machine()}
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def computes_in_bf16(device: str) -> bool:
    """Return whether a device multiplies bf16 matrices in hardware."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool({"avx512_bf16", "amx_bf16"} & set(processor().get("flags", "").split()))


def resolved_device(device: str) -> str:
    """Return 'cpu' or 'cuda'; 'auto' is a GPU where there is one.

    Raises
    ------
    UserError
        If the device asked for is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device must be one that is here: no CUDA device was found; use --device cpu")
    if device not in ("cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    return device


def resolved(config: Config) -> Config:
    """Return the configuration with what was left to the machine, the data and the model filled in.

    Raises
    ------
    UserError
        If the device asked for is not there.
    """
    device = resolved_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(device) else "32"
    threads = config.threads or len(os.sched_getaffinity(0))
    images = config.images or default_images(config.data)
    return dataclasses.replace(
        config,
        images=images,
        device=device,
        precision=precision,
        threads=threads,
        **dataclasses.asdict(config.recipe),
    )


def environment() -> dict[str, Any]:
    """Return what is worth knowing of the machine and the versions, as a JSON object."""
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor().get("model name", platform.machine()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    for package in ("capsulegan", "torch", "numpy", "scikit-learn"):
        facts[package] = version(package)
    return facts


def version(package: str = "capsulegan") -> str:
    """Return the installed version of a package, or 'source' for a bare checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source"
