"""Trains in processes that are killed just before their k-th file operation, for many k.

    python tests/training/killing.py FOLDER K [K ...]

Prints, for each k, whether the run that was killed there and then resumed ended like one that was never
stopped, as a line of JSON. Killed where k is beyond the last operation means: not killed at all.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch
from safetensors.torch import load_file

from capsulegan.training.configuration import Config
from capsulegan.training.loop import train

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR
CONFIG = Config(
    "capsulegan",
    "digits",
    images=256,
    width=4,
    latent_dim=4,
    threads=1,
    precision="32",
    log_images=64,
    sample_images=128,
    checkpoint_minutes=0.0,
)


def kill_before(operation: int, folder: Path) -> None:
    """Arrange for SIGKILL just before this process's operation of that number in the folder."""
    seen = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        seen += 1
        if seen == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def in_child(folder: Path, operation: int = 0) -> int:
    """Train in a process of its own, and return how it ended: 0, or minus the signal."""
    child = os.fork()
    if child == 0:
        try:
            if operation:
                kill_before(operation, folder)
            train(CONFIG, folder, resume=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(folder: Path) -> dict:
    """All that must be alike: tensors, log rows but for the clock, pictures."""
    found: dict = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.relative_to(folder)}/{name}"] = tensor.numpy().tobytes()
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    found["log"] = [
        {name: value for name, value in row.items() if name != "images_per_second"} for row in rows
    ]
    found |= {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}
    found["strays"] = [path.name for path in folder.rglob("*.partial")]
    return found


def main() -> None:
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    assert in_child(base / "whole") == 0
    whole = contents(base / "whole")
    for operation in map(int, sys.argv[2:]):
        folder = base / f"killed-{operation}"
        killed = in_child(folder, operation) == -signal.SIGKILL
        resumed = in_child(folder)
        alike = resumed == 0 and contents(folder) == whole
        print(json.dumps({"operation": operation, "killed": killed, "alike": alike}), flush=True)


if __name__ == "__main__":
    main()
