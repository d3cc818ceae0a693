"""Copies a study to where results are kept: weights in half precision, no checkpoints and events, few grids.

    python benchmarks/record.py STUDY results/NAME

What is kept is a study folder still: any command takes its runs, and `capsulegan study ... --out` goes on
with a copy of it, here or on another machine, training and evaluating only what is not there yet. Of a run's
sample grids the first, the middle and the last are kept, which its page shows.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, float32

from capsulegan.tensors import write_tensors

LEFT_OUT = shutil.ignore_patterns("checkpoints", "tensorboard", ".lock", "*.safetensors")


def left_out(folder: str, names: list[str]) -> set[str]:
    """Return which files of a folder are not copied."""
    grids = sorted(name for name in names if Path(folder).name == "samples" and name.endswith(".png"))
    shown = {grids[index] for index in (0, len(grids) // 2, -1)} if grids else set()
    return LEFT_OUT(folder, names) | set(grids) - shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    shutil.copytree(arguments.study, arguments.out, ignore=left_out, dirs_exist_ok=True)
    for path in arguments.study.glob("runs/*/*.safetensors"):
        target = arguments.out / path.relative_to(arguments.study)
        # the same tensors give other bytes each time, with their metadata in another order
        if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
            halve(path, target)


def halve(source: Path, target: Path) -> None:
    """Copy a file of weights, its float32 tensors in half precision."""
    with safe_open(source, framework="pt") as file:
        tensors = {name: halved(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        write_tensors(target, tensors, file.metadata())


def halved(tensor: Tensor) -> Tensor:
    """Return a float32 tensor in half precision, and any other as it is."""
    narrow = tensor.half() if tensor.dtype == float32 else tensor
    assert not narrow.is_floating_point() or narrow.isfinite().all(), "beyond the range of float16"
    return narrow


if __name__ == "__main__":
    main()
