"""The Python interface from a bare checkout, without the packages of the command line and of downloads."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
ABSENT = ("tyro", "pooch", "rich", "huggingface_hub")
PROGRAM = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None  # importing it fails as if it were not installed
import capsulegan
from capsulegan.report import write_report
from capsulegan.study.configuration import StudyConfig
from capsulegan.study.execute import execute
from pathlib import Path

run = capsulegan.train(capsulegan.Config("capsulegan", "digits", images=640), "run")
assert capsulegan.load("run").sample(3).shape == (3, 8, 8, 1)
assert capsulegan.load("capsnet-mnist").classifier is not None
sizes = dict(images=320, judge_images=320, samples=50, unlabelled=100, labels=(20,), width=8)
config = StudyConfig("digits", **sizes)
results = execute(config, Path("study"), lambda name, done, total: None)
assert not results["failures"], results["failures"]
tables = {{row["table"] for row in results["rows"]}}
assert tables == {{"battle", "classification", "evaluation", "training"}}, tables
print(write_report(Path("study")))
"""


def test_train_evaluate_study_and_report_need_neither_the_command_line_s_packages_nor_an_install(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip()).stat().st_size > 10_000
