"""The command line as a user meets it: real processes, their exit codes and what they print."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capsulegan.cli import COMMANDS
from capsulegan.console import one_line, plain_progress

TRAIN = ["--images", "320", "--width", "8", "--threads", "1", "--precision", "32"]


def capsulegan(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "capsulegan.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, check=False
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs and a judge, side by side as in a study."""
    folder = tmp_path_factory.mktemp("runs")
    for model in ("gan", "capsulegan", "capsnet"):
        done = capsulegan("train", model, "--data", "digits", "--out", folder / f"{model}-s0", *TRAIN)
        assert done.returncode == 0, done.stderr
    return folder


def test_help_answers_within_a_second():
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = capsulegan("--help")
        times.append(time.monotonic() - started)
    assert all(name in done.stdout for name in COMMANDS)
    assert min(times) < 1


@pytest.mark.parametrize("arguments", [["train", "--help"], ["data", "digits"]])
def test_it_ends_quietly_when_nobody_reads_on(arguments):
    read, write = os.pipe()
    os.close(read)  # as head does when it has its lines
    command = [sys.executable, "-m", "capsulegan.cli", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_options(command):
    done = capsulegan(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert "positional arguments" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trian"], "trian"),
        ([], "Missing subcommand"),
        (["train", "gan"], "--data"),
        (["train", "gam", "--data", "digits"], "unknown model 'gam': did you mean 'gan'?"),
        (["train", "gan", "--data", "digist"], "did you mean 'digits'?"),
        (["train", "gan", "--data", "digits", "--images", "-1"], "images must be between 0"),
        (["train", "gan", "--data", "digits", "--images", "many"], "'many'"),
        (["train", "gan", "--data", "digits", "--image-size", "9"], "multiple of 4 from 8 to 128"),
        (
            ["train", "gan", "--data", "digits", "--out", "/proc/nowhere/run"],
            "cannot write to /proc/nowhere/run",
        ),
        (["sample", "missing-run"], "there is no run folder missing-run"),
        (["battle", "missing-run"], "there is no run folder missing-run"),
        (["evaluate", "missing-run", "--judge", "inception"], "there is no run folder missing-run"),
        (["sample", "capsulegan-mnist", "--count", "x"], "--count must be a whole number, got 'x'; see"),
        (["train", "gan", "--data", "digits", "--beta2", "x"], "--beta2 must be a number, got 'x'; see"),
        (["battle"], "two runs or more, got 0"),
        (["report", "missing-study"], "missing-study"),
        (["study", "digits", "--models", "gan", "gan"], "each once"),
        (["data", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, complaint, tmp_path):
    done = capsulegan(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("capsulegan: ")
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path):
    done = capsulegan("sample", "missing-run", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr


def test_a_box_becomes_a_line():
    box = "╭─ Value error ─╮\n│ Error parsing Train: seed must be │\n│ 0 or more │\n╰───╯\n"
    box += "For full helptext, see capsulegan --help\n"
    assert one_line(box) == "seed must be 0 or more; see capsulegan --help"


def test_the_time_to_go_counts_what_was_done_since_this_process_began(monkeypatch, capsys):
    tell = plain_progress("images")
    for seconds, done in ((0, 1000), (40, 1100), (80, 1200)):
        monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: float(seconds))
        tell("train gan", done, 2000)
    assert capsys.readouterr().err.splitlines() == [
        "train gan: begun",
        "train gan: 1,100 of 2,000 images, about 360 s to go",
        "train gan: 1,200 of 2,000 images, about 320 s to go",
    ]


def test_json_is_all_of_standard_output(runs, tmp_path):
    done = capsulegan("sample", runs / "gan-s0", "--count", 3, "--out", tmp_path / "a.npz", "--json")
    assert json.loads(done.stdout) == {"file": str(tmp_path / "a.npz"), "count": 3, "seed": 0}
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["images"].shape == (3, 8, 8, 1)


def test_samples_are_a_picture_or_an_array_and_nothing_else(runs, tmp_path):
    assert capsulegan("sample", runs / "gan-s0", "--out", tmp_path / "a.png").returncode == 0
    with Image.open(tmp_path / "a.png") as grid:
        assert grid.size == (8 * 9 - 1, 8 * 9 - 1)
    done = capsulegan("sample", runs / "gan-s0", "--out", tmp_path / "a.jpg")
    assert done.returncode == 2
    assert "out must end in .png or .npz" in done.stderr
    assert not (tmp_path / "a.jpg").exists()


def test_battles_name_a_verdict_under_both_rules(runs):
    done = capsulegan("battle", runs / "gan-s0", runs / "capsulegan-s0", "--samples", 100)
    assert done.returncode == 0, done.stderr
    assert "gan:capsulegan, paper rule:" in done.stdout
    assert "gan:capsulegan, balanced rule:" in done.stdout
    rows = json.loads(
        capsulegan("battle", runs / "gan-s0", runs / "capsulegan-s0", "--samples", 100, "--json").stdout
    )
    assert {row["figure"] for row in rows} >= {"r_samples", "r_test"}


def test_classification_comes_with_its_controls(runs):
    done = capsulegan("classify", runs / "gan-s0", "--labels", 20, 50, "--unlabelled", 200, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["model"] for row in rows} == {"gan", "labelled-only", "noise", "real"}
    alone = capsulegan(
        "classify", runs / "gan-s0", "--labels", 20, "--unlabelled", 200, "--no-controls", "--json"
    )
    assert json.loads(alone.stdout)[0]["value"] == rows[0]["value"]


def test_scores_need_a_judge_and_find_the_one_beside_the_run(runs, tmp_path):
    done = capsulegan("evaluate", runs / "gan-s0", "--samples", 100, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert json.loads((runs / "gan-s0" / "metrics.json").read_text()) == rows
    subprocess.run(["cp", "-r", runs / "gan-s0", tmp_path / "alone"], check=True)
    done = capsulegan("evaluate", tmp_path / "alone")
    assert done.returncode == 2
    assert "capsulegan train capsnet --data digits" in done.stderr


def test_training_on_a_persons_own_images_some_of_them_broken(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    whole = (photos / "0.png").read_bytes()
    (photos / "torn.png").write_bytes(whole[:100])
    (photos / "not-an-image.jpg").write_text("hello")
    arguments = [
        "train",
        "capsulegan",
        "--data",
        photos,
        "--image-size",
        "16",
        "--out",
        tmp_path / "run",
        *TRAIN,
    ]
    done = capsulegan(*arguments)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "torn.png" in warnings[0]
    assert "not-an-image.jpg" in warnings[0]
    with Image.open(max((tmp_path / "run" / "samples").iterdir())) as grid:
        assert grid.size == (8 * 17 - 1, 8 * 17 - 1)
        assert grid.mode == "RGB"
    strict = capsulegan(*arguments[: -len(TRAIN)], *TRAIN, "--strict", "--resume")
    assert strict.returncode == 2


def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    arguments = [
        "train",
        "gan",
        "--data",
        "digits",
        "--out",
        str(tmp_path / "run"),
        *TRAIN[2:],
        "--log-images",
        "64",
    ]
    command = [sys.executable, "-m", "capsulegan.cli", *arguments, "--images", "10000000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(2)
    _, prose = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on from there" in prose
    assert "Traceback" not in prose
    assert list((tmp_path / "run" / "checkpoints").glob("*.json"))


def test_a_study_prints_tables_and_the_page(tmp_path):
    arguments = ["--images", "320", "--width", "8", "--judge-images", "320", "--samples", "50"]
    arguments += ["--unlabelled", "100", "--labels", "20", "--precision", "32"]
    done = capsulegan("study", "digits", *arguments, "--out", "study", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.splitlines()[-1])
    assert page == Path("study/report.html")
    assert (tmp_path / page).stat().st_size > 10_000
    assert "r_samples" in done.stdout or "Generative Adversarial Metric" in done.stdout
    again = capsulegan("report", "study", cwd=tmp_path)
    assert again.returncode == 0
