"""A whole study on real scans, stopped, gone on with, and with a part that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from capsulegan.errors import UserError
from capsulegan.study.collect import training_rows
from capsulegan.study.configuration import StudyConfig
from capsulegan.study.execute import KINDS, execute
from capsulegan.study.plan import Cell, Stage, described, evaluation_stages, training_cells
from capsulegan.study.training import finished
from capsulegan.training.interruption import Interrupted

TINY = {
    "images": 640,
    "width": 8,
    "latent_dim": 8,
    "judge_images": 1280,
    "samples": 200,
    "unlabelled": 300,
    "labels": (20, 100),
    "precision": "32",
    "log_images": 320,
}


def tiny(**settings):
    return StudyConfig(**{"data": "digits", **TINY, **settings})


class Heard(list):
    """Progress that is written down."""

    def __call__(self, name, done, total):
        self.append((name, done, total))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, execute(tiny(), folder, Heard(), "capsulegan study digits")


def test_a_run_of_a_machine_with_another_precision_counts_unless_one_was_asked_for(study, tmp_path):
    run = tmp_path / "gan-s0"
    shutil.copytree(study[0] / "runs" / "gan-s0", run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "precision": "bf16"}))
    assert finished(run, tiny(precision="auto"), Cell("gan", 0))
    assert finished(run, tiny(precision="bf16"), Cell("gan", 0))
    assert not finished(run, tiny(precision="32"), Cell("gan", 0))
    assert not finished(run, tiny(precision="auto", width=16), Cell("gan", 0))


def test_the_plan_names_every_part_once():
    config = tiny(models=("gan", "capsulegan", "gan-margin"), seeds=(0, 1))
    cells = training_cells(config, judge=Cell("capsnet", 0))
    stages = evaluation_stages(config, labelled=True)
    assert cells[0] == Cell("capsnet", 0)
    assert len(cells) == 1 + 3 * 2
    assert len({stage.name for stage in stages}) == len(stages)
    kinds = [stage.kind for stage in stages]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"battle": 6, "real": 1, "controls": 2, "evaluate": 6, "classify": 6}
    assert described(cells, stages).startswith("7 runs to train, 6 x battle")


def test_features_are_classified_in_stages_of_their_own():
    plain, more = (evaluation_stages(tiny(features=given), labelled=True) for given in (False, True))
    added = {stage.name for stage in more} - {stage.name for stage in plain}
    assert added == {"controls-features-s0", "classify-features-gan-s0", "classify-features-capsulegan-s0"}
    followed = evaluation_stages(tiny(features=True, snapshot_images=1), labelled=True)
    assert {stage.kind for stage in followed} == set(KINDS)


def test_a_study_that_grows_by_features_keeps_what_it_has(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study[0], folder)
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "stages").iterdir()}
    rows = execute(tiny(features=True), folder, Heard())["rows"]
    assert (
        before.items()
        <= {path.name: path.stat().st_mtime_ns for path in (folder / "stages").iterdir()}.items()
    )
    features = [
        row["settings"]["features"]
        for row in rows
        if row["table"] == "classification" and "features" in row["settings"]
    ]
    assert len(features) == 2 * 5
    assert all(name.startswith("capsnet class capsules, sha256") for name in features)


def test_a_study_that_grows_by_a_seed_of_one_model_keeps_the_others(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study[0], folder)
    command = "capsulegan study digits --models gan --seeds 1"
    before = execute(tiny(), folder, Heard(), "capsulegan study digits")
    results = execute(tiny(models=("gan",), seeds=(1,)), folder, Heard(), command)
    cells = {(row["model"], row["seed"]) for row in results["rows"] if row["table"] == "training"}
    assert {("gan", 0), ("gan", 1), ("capsulegan", 0)} <= cells
    assert ("capsulegan", 1) not in cells
    assert not (folder / "runs" / "capsnet-s1").exists()  # one judge for all
    known = [row for row in results["rows"] if row["seed"] == 0]
    assert known == before["rows"]
    backwards = execute(tiny(models=("capsulegan", "gan")), folder, heard := Heard())
    assert heard == []  # no battle is fought again the other way round
    assert backwards["rows"] == results["rows"]
    settings = json.loads((folder / "study.json").read_text())
    assert (settings["models"], settings["seeds"]) == (["gan", "capsulegan"], [0, 1])
    assert settings["runs"] == ["gan-s0", "capsulegan-s0", "gan-s1"]
    assert settings["command"] == results["command"] == f"capsulegan study digits && {command}"
    assert (
        execute(tiny(models=("gan",), seeds=(1,)), folder, Heard(), command)["command"] == results["command"]
    )


def test_scores_are_followed_over_training(tmp_path):
    config = tiny(models=("gan",), labels=(20,), snapshot_images=256)
    rows = execute(config, tmp_path, Heard())["rows"]
    followed = [row for row in rows if row["table"] == "progress" and row["figure"] == "frechet_distance"]
    assert [row["settings"]["images_seen"] for row in followed] == [256, 512, 640]
    at_the_end = [row for row in rows if row["table"] == "evaluation" and row["model"] == "gan"]
    assert followed[-1]["value"] in [row["value"] for row in at_the_end]
    again = execute(tiny(models=("gan",), labels=(20,)), tmp_path, Heard())
    assert again["rows"] == rows  # a later call that does not ask for them does not lose them


def test_runs_without_copies_say_so(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study[0], folder)
    results = execute(tiny(snapshot_images=256), folder, Heard())
    failed = {failure["stage"]: failure["error"] for failure in results["failures"]}
    assert set(failed) == {"progress-gan-s0", "progress-capsulegan-s0"}
    assert "kept no copies of its generator" in failed["progress-gan-s0"]


@pytest.mark.parametrize("wrong", [{"models": "gan"}, {"seeds": [0.5]}, {"models": [{}]}])
def test_a_study_whose_settings_are_damaged_is_refused(study, tmp_path, wrong):
    settings = json.loads((study[0] / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps({**settings, **wrong}))
    with pytest.raises(UserError, match="expected lists of models and seeds"):
        execute(tiny(), tmp_path, Heard())


def test_without_labels_there_are_battles_alone():
    config = tiny()
    assert training_cells(config, judge=None) == [Cell("gan", 0), Cell("capsulegan", 0)]
    assert [stage.kind for stage in evaluation_stages(config, labelled=False)] == ["battle"]


def test_a_study_leaves_every_figure_of_the_paper(study):
    folder, results = study
    assert results["failures"] == []
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    rows = results["rows"]
    errors = {
        (row["model"], row["settings"]["labels"]): row["value"]
        for row in rows
        if row["figure"] == "label_spreading_error"
    }
    models = ("gan", "capsulegan", "labelled-only", "noise", "real")
    assert set(errors) == {(model, n) for model in models for n in (20, 100)}
    assert all(0 <= error <= 1 for error in errors.values())
    assert errors["real", 100] < errors["real", 20]
    battles = [row for row in rows if row["table"] == "battle"]
    assert {(row["figure"], row["settings"]["rule"]) for row in battles} >= {
        (figure, rule) for figure in ("r_samples", "r_test") for rule in ("paper", "balanced")
    }
    scored = {(row["figure"], row["model"]) for row in rows if row["table"] == "evaluation"}
    assert ("frechet_distance", "real") in scored
    assert ("class_entropy", "capsulegan") in scored
    assert ("judge_error", "judge") in scored
    assert {"n", "seed", "settings", "data_digest", "version", "seconds"} <= rows[0].keys()
    assert {row["data_digest"] for row in rows} <= {results["data"]["digest"], results["data"]["test_digest"]}


def test_a_finished_study_costs_nothing_to_run_again(study):
    folder, results = study
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.parent.name == "stages"}
    heard = Heard()
    again = execute(tiny(), folder, heard, "capsulegan study digits")
    assert heard == []
    assert again["rows"] == results["rows"]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_other_settings_are_refused(study):
    folder, _ = study
    with pytest.raises(UserError, match="width: 8 -> 16"):
        execute(tiny(width=16), folder, Heard())


def test_a_stage_that_is_missing_is_made_again_alike(study):
    folder, _ = study
    path = Stage("classify-gan-s0", "classify").file(folder)
    rows = json.loads(path.read_text())
    path.unlink()
    execute(tiny(), folder, Heard())
    for first, second in zip(rows, json.loads(path.read_text()), strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_a_log_whose_last_row_has_no_speed_leaves_the_speed_of_the_others(study, tmp_path):
    """That of a run which ended where it was stopped."""
    folder = shutil.copytree(study[0] / "runs" / "gan-s0", tmp_path / "gan-s0")
    log = folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[-1].pop("images_per_second")
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = {row["figure"]: row["value"] for row in training_rows(folder, Cell("gan", 0))}
    assert figures["images"] == 640
    assert figures["images_per_second"] == pytest.approx(lines[0]["images_per_second"], abs=0.06)
    assert figures["seconds"] == pytest.approx(640 / lines[0]["images_per_second"], abs=0.06)


def test_a_failed_run_is_reported_and_does_not_stop_the_others(study, tmp_path):
    folder, _ = study
    damaged = tmp_path / "study"
    subprocess.run(["cp", "-r", folder, damaged], check=True)
    run = damaged / "runs" / "gan-s0"
    (run / "generator.safetensors").unlink()
    for weights in (run / "checkpoints").glob("*.safetensors"):
        weights.write_bytes(b"damaged")
    for stage in (damaged / "stages").iterdir():
        stage.unlink()
    results = execute(tiny(), damaged, Heard())
    failed = {failure["stage"]: failure["error"] for failure in results["failures"]}
    assert "every checkpoint is damaged" in failed["train gan-s0"]
    assert set(failed) == {
        "train gan-s0",
        "battle-gan-s0-capsulegan-s0",
        "evaluate-gan-s0",
        "classify-gan-s0",
    }
    assert all("\n" not in error for error in failed.values())
    assert any(row["model"] == "capsulegan" and row["table"] == "classification" for row in results["rows"])


def test_a_study_that_is_stopped_goes_on_where_it_was(tmp_path):
    class StopOnce(Heard):
        def __call__(self, name, done, total):
            if name == "train capsulegan-s0" and not self:
                self.append(name)
                os.kill(os.getpid(), signal.SIGTERM)

    config = tiny(images=6400, labels=(20,), judge_images=64)
    with pytest.raises(Interrupted, match="goes on"):
        execute(config, tmp_path / "study", StopOnce())
    assert not (tmp_path / "study" / "results.json").exists()
    assert subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout == b""
    results = execute(config, tmp_path / "study", Heard())
    assert results["failures"] == []


def test_workers_end_when_the_study_is_killed(tmp_path):
    script = (
        "import sys; from pathlib import Path; from capsulegan.study.configuration import StudyConfig\n"
        "from capsulegan.study.execute import execute\n"
        "def tell(name, done, total): print(name, flush=True)\n"
        "execute(StudyConfig(data='digits', images=10**9, width=8), Path(sys.argv[1]), tell)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "study")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    process.communicate()
    pattern = ["pgrep", "-f", f"worker {tmp_path}"]
    for _ in range(60):
        if subprocess.run(pattern, capture_output=True, check=False).returncode:
            return
        subprocess.run(["sleep", "0.5"], check=True)
    pytest.fail("workers outlived the study")
