"""Folders of real runs and studies, damaged: they are used, or refused in one line and in time.

The same for hours: benchmarks/fuzz.py.
"""

import json
import shutil
import subprocess
import sys
from random import Random

import damage
import pytest

import capsulegan
from capsulegan.errors import UserError
from capsulegan.report import write_report
from capsulegan.report.reading import read_study
from capsulegan.report.summary import summary_of
from capsulegan.report.tables import tables_of
from capsulegan.training.loop import train


@pytest.mark.parametrize("block", range(8))
def test_a_damaged_run_is_used_or_refused(run, tmp_path, block):
    before = damage.peak_bytes()
    for seed in range(30 * block, 30 * (block + 1)):
        damage.run_case(run, tmp_path / "copy", Random(seed))
    assert damage.peak_bytes() - before < damage.MOST_BYTES


@pytest.mark.parametrize("block", range(3))
def test_a_damaged_study_is_done_again_and_reported_or_refused(study, tmp_path, block):
    before = damage.peak_bytes()
    for seed in range(6 * block, 6 * (block + 1)):
        damage.study_case(study, tmp_path / "copy", Random(seed))
    assert damage.peak_bytes() - before < damage.MOST_BYTES


@pytest.mark.parametrize("block", range(5))
def test_what_is_read_of_a_damaged_study_makes_tables_or_is_refused(study, tmp_path, block):
    def read():
        content = read_study(tmp_path / "copy")
        assert all(isinstance(table.numeric, tuple) for table in tables_of(content.results))
        assert summary_of(content.results, content.settings)

    for seed in range(50 * block, 50 * (block + 1)):
        random = Random(seed)
        with damage.copied(study, tmp_path / "copy") as folder:
            name = random.choice(["results.json", "results.json", *damage.study_files(folder)])
            done = damage.damage(folder / name, random)
            try:
                damage.outcome_of(read)
            except damage.EscapedError as error:
                pytest.fail(f"seed {seed}, {name}: {done}: {error}")


def test_the_undamaged_folders_are_used_without_complaint(run, study, tmp_path):
    with damage.copied(run, tmp_path / "run") as folder:
        assert [outcome.message for outcome in damage.use_run(folder, Random(0))] == ["", ""]
    with damage.copied(study, tmp_path / "study") as folder:
        assert [outcome.message for outcome in damage.use_study(folder, execute=True)] == ["", "", ""]


def test_most_kinds_of_damage_are_refused_and_some_are_survived(run, tmp_path):
    """The cases would show nothing if all of them ended at one check."""
    messages = set()
    for seed in range(60):
        _, outcomes = damage.run_case(run, tmp_path / "copy", Random(seed))
        messages |= {" ".join(outcome.message.split(":")[-1].split()[:3]) for outcome in outcomes}
    assert "" in messages
    assert len(messages) > 12


# ---- sizes that are claimed


def claim(run, folder, settings=(), facts=()):
    """Copy a run whose description claims other sizes than its weights have."""
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **dict(settings)}))
    environment["data"].update(dict(facts))
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


CLAIMS = [
    ({"width": 4096}, {"image_size": 128}),
    ({"model": "gan", "width": 4096}, {"image_size": 128, "channels": 3}),
    ({"latent_dim": 2**14, "width": 4096}, {"image_size": 128}),
    ({"preset": "capsnet"}, {"image_size": 128, "channels": 3}),
    ({"model": "gan", "width": 4096, "spectral_norm": True}, {"image_size": 128}),
    ({"preset": "capsnet", "batch_norm": True, "spectral_norm": True}, {"image_size": 128}),
]


@pytest.mark.parametrize(("settings", "facts"), CLAIMS)
def test_claimed_sizes_are_checked_against_the_weights_before_memory_is_given(run, tmp_path, settings, facts):
    claimed = capsulegan.load(claim(run, tmp_path / "run", settings, facts))
    before = damage.peak_bytes()
    for name in ("generator", "discriminator"):
        with pytest.raises(UserError, match=r"must have shape|(missing|unexpected) tensor"):
            getattr(claimed, name)
    assert sum(claimed.parameter_counts.values()) > 10**7
    assert damage.peak_bytes() - before < 2**26


def test_a_claim_that_no_machine_can_hold_takes_no_memory_in_a_process_of_its_own(run, tmp_path):
    folder = claim(run, tmp_path / "run", {"width": 4096, "latent_dim": 2**14}, {"image_size": 128})
    program = (
        "import resource, sys; from capsulegan.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30)); main(['sample', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("count", [10**9, 10**12, 10**30])
def test_more_images_than_memory_may_hold_are_refused(run, count):
    with pytest.raises(UserError, match="count must be at most"):
        capsulegan.load(run).sample(count)


# ---- what one kind of damage must come to


def test_checkpoints_without_a_description_are_no_new_run(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    for resume in (False, True):
        with pytest.raises(UserError, match=r"checkpoints and no config\.json"):
            train(damage.CONFIG, tmp_path / "run", resume=resume)


def test_a_record_that_tells_of_other_images_than_its_name_does_is_damaged(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for name in ("generator", "discriminator"):
        (tmp_path / "run" / f"{name}.safetensors").unlink()
    record = tmp_path / "run" / "checkpoints" / "000000000128.json"
    record.write_text(record.read_text().replace('"images": 128', '"images": 192'))
    with pytest.warns(UserWarning, match=r"000000000128\.json is damaged"):
        assert train(damage.CONFIG, tmp_path / "run", resume=True).finished
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [64, 128]


@pytest.mark.parametrize("damaged", ["[]", "{}", "null", '[{"table": 3}]', '[{"table": "battle"}]', "[", ""])
def test_a_damaged_stage_is_made_again(study, tmp_path, damaged):
    shutil.copytree(study, tmp_path / "study")
    stage = tmp_path / "study" / "stages" / "evaluate-gan-s0.json"
    rows = json.loads(stage.read_text())
    stage.write_text(damaged)
    assert damage.use_study(tmp_path / "study", execute=True)[1].message == ""
    for first, second in zip(rows, json.loads(stage.read_text()), strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_a_study_with_one_runs_weights_damaged_still_collects_the_rest(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    (tmp_path / "study" / "runs" / "gan-s0" / "generator.safetensors").write_bytes(b"")
    (tmp_path / "study" / "stages" / "classify-gan-s0.json").unlink()
    assert damage.use_study(tmp_path / "study", execute=True)[1].message == ""
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert [failure["stage"] for failure in results["failures"]] == ["classify-gan-s0"]


def test_numbers_that_cannot_be_averaged_are_refused_by_name(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    path = tmp_path / "study" / "results.json"
    for value in ("x", [1], 1e308, True):
        results = json.loads((study / "results.json").read_text())
        results["rows"][3]["value"] = value
        path.write_text(json.dumps(results))
        with pytest.raises(UserError, match=r"results\.json: row 3 must have a number or null as its value"):
            write_report(tmp_path / "study")


@pytest.mark.parametrize("seed", range(500, 506))
def test_damage_on_the_command_line_is_exit_code_2_and_one_line(run, tmp_path, seed):
    random = Random(seed)
    shutil.copytree(run, tmp_path / "run")
    name = random.choice(("config.json", "environment.json", "generator.safetensors"))
    damage.damage(tmp_path / "run" / name, random)
    command = [sys.executable, "-m", "capsulegan.cli", "sample", tmp_path / "run", "--count", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2), done.stderr
    assert len(done.stderr.splitlines()) == (1 if done.returncode else 0), done.stderr


def test_a_name_that_no_file_can_have_is_no_run():
    with pytest.raises(UserError, match="there is no run folder"):
        capsulegan.load("x" * 5000)
