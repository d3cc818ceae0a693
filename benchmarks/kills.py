"""Kills a training run many times at random instants and compares it with one that was never stopped.

    python benchmarks/kills.py [--kills 100] [--seed 0] [--out results/kills.json]

A real process is sent SIGKILL after a random time, from before its first step to after its last, and the
same command is given again. Whenever the run comes to its end, its weights, optimizer state, log rows (but
for the clock) and sample grids must be those of a run that was never stopped, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

TRAIN = [sys.executable, "-W", "ignore", "-m", "capsulegan.cli", "train", "capsulegan", "--data", "digits"]
TRAIN += ["--images", "12800", "--width", "8", "--threads", "1", "--precision", "32", "--log-images", "192"]
TRAIN += ["--sample-images", "640", "--checkpoint-minutes", "0", "--average-half-life", "256", "--resume"]


def contents(folder: Path) -> dict[str, object]:
    state: dict[str, object] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(path)
        state |= {f"{path.relative_to(folder)}/{name}": tensors[name].numpy().tobytes() for name in tensors}
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    state["log"] = [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]
    state |= {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary) / "whole", Path(temporary) / "killed"
        started = time.monotonic()
        subprocess.run([*TRAIN, "--out", whole], check=True, capture_output=True)
        seconds = time.monotonic() - started
        delays = np.random.default_rng(arguments.seed)
        kills, finished, same = 0, 0, True
        while kills < arguments.kills:
            process = subprocess.Popen(
                [*TRAIN, "--out", killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(delays.uniform(0, seconds))
                same = same and contents(whole) == contents(killed)
                shutil.rmtree(killed)  # it was done before the kill: begin anew
                finished += 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            print(f"{kills} of {arguments.kills}", end="\r", flush=True)
        subprocess.run([*TRAIN, "--out", killed], check=True, capture_output=True)
        same = same and contents(whole) == contents(killed)
    record = {
        "kills": kills,
        "runs_finished": finished + 1,
        "identical": same,
        "seed": arguments.seed,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "command": f"python benchmarks/kills.py --kills {arguments.kills} --seed {arguments.seed}",
    }
    print(json.dumps(record, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
