"""Kills between file operations, full disks, folders that cannot be written to: real ones."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).with_name("killing.py")
TRAIN = [sys.executable, "-m", "capsulegan.cli", "train", "gan", "--data", "digits", "--images", "640"]
TRAIN += ["--width", "8", "--threads", "1", "--precision", "32", "--checkpoint-minutes", "0"]


def test_a_kill_between_any_two_file_operations_loses_nothing(tmp_path):
    """All operations: python tests/training/killing.py FOLDER $(seq 1 70)."""
    some = map(str, (2, 5, 9, 16, 23, 37, 48, 55))
    command = [sys.executable, "-W", "ignore", KILLING, tmp_path, *some]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcomes = list(map(json.loads, done.stdout.splitlines()))
    assert len(outcomes) == 8
    assert all(outcome["killed"] for outcome in outcomes)
    assert all(outcome["alike"] for outcome in outcomes), outcomes


def test_a_full_disk_stops_with_one_line_and_leaves_the_last_checkpoint(tmp_path):
    run = tmp_path / "run"
    done = subprocess.run([*TRAIN, "--out", run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    (run / "generator.safetensors").unlink()

    def only_small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    longer = [*TRAIN, "--images", "1280", "--out", run, "--resume"]
    done = subprocess.run(longer, capture_output=True, text=True, check=False, preexec_fn=only_small_files)
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("capsulegan: ")]
    assert len(complaints) == 1
    assert "cannot write" in complaints[0]
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


@pytest.mark.parametrize("folder", ["/proc/run", "{file}/run"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, folder):
    (tmp_path / "file").write_text("")
    out = folder.format(file=tmp_path / "file")
    done = subprocess.run([*TRAIN, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"capsulegan: cannot write to {out}")
    assert len(done.stderr.splitlines()) == 1
