"""The script that waits for a GPU does all of its parts, at a small size, on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_part_is_measured(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--device", "cpu", "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    parts = {"ceilings", "routing", "steps", "kernels", "deterministic", "waiting", "evaluation"}
    assert parts < document.keys()
    assert [document[part]["error"] for part in parts if "error" in document[part]] == []
    assert max(document["routing"]["relative_errors_of_gradients"]) < 1e-5
    assert "images/s" in done.stdout
