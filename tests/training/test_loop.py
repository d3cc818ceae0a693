"""Runs that are stopped, killed and resumed, in real processes."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import capsulegan
from capsulegan.allocator import keep_freed_memory
from capsulegan.errors import UserError
from capsulegan.training.configuration import Config
from capsulegan.training.interruption import Interrupted
from capsulegan.training.log import read_log
from capsulegan.training.loop import TrainingFailed, train
from capsulegan.training.recipes import CLASSIFIERS, SETTINGS
from capsulegan.training.run import locked

SMALL = {
    "images": 1280,
    "width": 8,
    "latent_dim": 8,
    "threads": 1,
    "precision": "32",
    "log_images": 192,
    "sample_images": 640,
    "checkpoint_minutes": 0.0,
    "average_half_life": 256,
}

SCRIPT = """
import json, sys
from capsulegan.training.configuration import Config
from capsulegan.training.interruption import Interrupted
from capsulegan.training.loop import train

def tell(images, total, row):
    print(images, flush=True)

try:
    train(Config(**json.loads(sys.argv[1])), sys.argv[2], resume=True, progress=tell)
except Interrupted:
    sys.exit(130)
"""


def small(model="capsulegan", **settings):
    return Config(**{"model": model, "data": "digits", **SMALL, **settings})


def start(config, folder):
    document = {name: value for name, value in config.to_json().items() if name != "schema"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(document), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def contents(folder):
    """All that a run must leave alike: weights and checkpoints, log without its clock, pictures."""
    tensors = {
        f"{path.relative_to(folder)}/{name}": tensor.numpy()
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for row in log:
        del row["images_per_second"]
    pictures = {path.name: path.read_bytes() for path in (folder / "samples").glob("*.png")}
    return tensors, log, pictures


def assert_alike(first, second):
    (tensors, log, pictures), (other_tensors, other_log, other_pictures) = contents(first), contents(second)
    assert log == other_log
    assert pictures == other_pictures
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, other_tensors[name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(small(), folder)
    return folder


def test_a_run_leaves_what_was_promised(uninterrupted):
    names = {path.name for path in uninterrupted.iterdir()}
    assert names >= {
        "config.json",
        "environment.json",
        "log.jsonl",
        "samples",
        "checkpoints",
        "tensorboard",
        "generator.safetensors",
        "discriminator.safetensors",
    }
    assert {path.name for path in (uninterrupted / "samples").iterdir()} == {
        "000000000.png",
        "000000640.png",
        "000001280.png",
    }
    rows = [json.loads(line) for line in (uninterrupted / "log.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [192, 384, 576, 768, 960, 1152, 1280]
    assert [row["step"] for row in rows] == [row["images"] // 64 for row in rows]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_ends_as_if_never_stopped(uninterrupted, tmp_path, signal_number):
    process = start(small(), tmp_path / "run")
    for line in process.stdout:
        if int(line) >= 448:
            process.send_signal(signal_number)
            break
    process.communicate()
    assert process.returncode == (-9 if signal_number == signal.SIGKILL else 130)
    assert not (tmp_path / "run" / "generator.safetensors").exists()
    train(small(), tmp_path / "run", resume=True)
    assert_alike(uninterrupted, tmp_path / "run")


def test_kills_at_random_instants_lose_and_double_nothing(uninterrupted, tmp_path):
    """The same with many kills, at any instant: benchmarks/kills.py."""
    delays = np.random.default_rng(0).uniform(0.0, 0.4, size=4)
    for delay in delays:
        process = start(small(), tmp_path / "run")
        if not process.stdout.readline():
            break
        time.sleep(delay)
        process.kill()
        process.communicate()
    train(small(), tmp_path / "run", resume=True)
    assert_alike(uninterrupted, tmp_path / "run")


ALL_AT_ONCE = {
    "batch_norm": True,
    "spectral_norm": True,
    "r1_weight": 0.5,
    "instance_noise": 0.2,
    "augmentation": "mirror,color,translation,cutout",
    "learning_rate_half_life": 320,
    "checkpoint_minutes": 0.0,
}


def stopped_at(at):
    """What tells a run, once it has seen so many images, to stop as Ctrl-C does."""

    def stop(images, total, row):
        if images == at:
            os.kill(os.getpid(), signal.SIGINT)

    return stop


@pytest.fixture(scope="module")
def regularised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "regularised"
    train(small(**ALL_AT_ONCE), folder)
    return folder


@pytest.mark.parametrize("images", [448, 1024, 1088])
def test_norms_penalty_noise_and_decay_go_on_where_they_were(regularised, tmp_path, images):
    """The penalty comes at step 0 and at step 16, which begins after 1,024 images."""
    with pytest.raises(Interrupted):
        train(small(**ALL_AT_ONCE), tmp_path / "run", progress=stopped_at(images))
    train(small(**ALL_AT_ONCE), tmp_path / "run", resume=True)
    assert_alike(regularised, tmp_path / "run")


def test_what_was_not_yet_saved_is_done_again_alike(regularised, tmp_path):
    def fail(images, total, row):
        if images == 1088:
            raise ZeroDivisionError

    settings = {**ALL_AT_ONCE, "checkpoint_minutes": 60.0}
    with pytest.raises(Interrupted):
        train(small(**settings), tmp_path / "run", progress=stopped_at(832))
    with pytest.raises(ZeroDivisionError):
        train(small(**settings), tmp_path / "run", resume=True, progress=fail)
    train(small(**ALL_AT_ONCE), tmp_path / "run", resume=True)
    assert_alike(regularised, tmp_path / "run")


def test_a_run_gives_back_the_spectrally_normalised_discriminator_that_it_trained(regularised):
    discriminator = capsulegan.load(regularised).discriminator
    state = load_file(max((regularised / "checkpoints").glob("*.safetensors")))
    for name, tensor in discriminator.state_dict().items():
        assert torch.equal(tensor, state[f"discriminator.{name}"]), name
    weight = discriminator.primary.convolution.weight
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    assert sum(capsulegan.load(regularised).parameter_counts.values()) > 0


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_a_classifier_with_shifts_and_decay_goes_on_where_it_was(model, tmp_path):
    config = small(model, images=96, batch_size=16, image_size=28, learning_rate_half_life=32)
    train(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", progress=stopped_at(48))
    train(config, tmp_path / "run", resume=True)
    states = [
        {**load_file(folder / "classifier.safetensors"), **load_file(max(folder.rglob("0*.safetensors")))}
        for folder in (tmp_path / "whole", tmp_path / "run")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_what_was_left_to_the_machine_and_the_model_is_written_down(uninterrupted):
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["preset"] == "small"
    assert not {"auto", None} & {config[name] for name in (*SETTINGS, "device", "precision")}
    facts = json.loads((uninterrupted / "environment.json").read_text())
    assert facts["allocator"] == keep_freed_memory()
    assert train(small(preset="small"), uninterrupted, resume=True).finished
    with pytest.raises(UserError, match="preset: 'small' -> 'deep'"):
        train(small(preset="deep"), uninterrupted, resume=True)


def test_a_finished_run_is_returned_as_it_is(uninterrupted):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.safetensors")}
    run = train(small(), uninterrupted, resume=True)
    assert run.finished
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.safetensors")}


def test_a_run_can_be_prolonged(tmp_path):
    train(small(images=640), tmp_path / "run")
    train(small(images=1280), tmp_path / "run", resume=True)
    train(small(images=1280), tmp_path / "whole")
    for name in ("generator", "discriminator"):
        first = load_file(tmp_path / "run" / f"{name}.safetensors")
        second = load_file(tmp_path / "whole" / f"{name}.safetensors")
        assert all((first[key] == second[key]).all() for key in second)


def test_a_run_may_end_where_it_was_stopped(tmp_path):
    with pytest.raises(Interrupted):
        train(small(log_images=1_000), tmp_path / "run", progress=stopped_at(704))
    run = train(small(images=704, log_images=1_000), tmp_path / "run", resume=True)
    whole = train(small(images=704, log_images=1_000), tmp_path / "whole")
    assert run.finished
    assert [path.name for path in sorted((run.folder / "samples").iterdir())][-1] == "000000704.png"
    rows, wanted = ([*read_log(each.folder / "log.jsonl")] for each in (run, whole))
    for row in (*rows, *wanted):
        row.pop("images_per_second", None)
    assert rows == wanted


def test_weights_without_a_checkpoint_are_not_trained_over(tmp_path):
    run = train(small(images=640), tmp_path / "run")
    shutil.rmtree(run.folder / "checkpoints")
    before = (run.folder / "generator.safetensors").read_bytes()
    with pytest.raises(UserError, match="no checkpoint to go on from; choose another --out"):
        train(small(images=1280), run.folder, resume=True)
    assert (run.folder / "generator.safetensors").read_bytes() == before
    assert train(small(images=640), run.folder, resume=True).finished


def test_copies_of_the_generator_are_those_that_shorter_runs_end_with(tmp_path):
    short = train(small(images=640), tmp_path / "short")
    run = train(small(snapshot_images=640), tmp_path / "run")
    assert (short.snapshots, run.snapshots) == ([], [640, 1280])
    copy = dataclasses.replace(capsulegan.load(run.folder), snapshot=640)
    assert (copy.sample(5) == short.sample(5)).all()
    assert (copy.sample(5) != run.sample(5)).any()


def test_a_folder_with_a_run_is_not_begun_anew(uninterrupted):
    with pytest.raises(UserError, match="already holds a run"):
        train(small(), uninterrupted)


def test_changed_settings_are_refused_and_shown(uninterrupted):
    with pytest.raises(UserError, match=r"width: 8 -> 16; seed: 0 -> 1"):
        train(small(seed=1, width=16), uninterrupted, resume=True)


def test_changed_data_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, images=rng.integers(0, 255, (20, 8, 8), dtype=np.uint8))
    train(small(data=str(path), images=64), tmp_path / "run")
    np.savez(path, images=rng.integers(0, 255, (20, 8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match="begun on other data"):
        train(small(data=str(path), images=128), tmp_path / "run", resume=True)


def test_two_processes_cannot_share_a_run(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(UserError, match="in use by another process"):
        train(small(), tmp_path / "run")


def test_the_lock_is_gone_with_its_holder(tmp_path):
    process = start(small(), tmp_path / "run")
    process.stdout.readline()
    process.kill()
    process.communicate()
    with locked(tmp_path / "run"):
        pass


def test_ctrl_c_in_a_library_call_saves_and_raises(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped after 256 of 1280 images"):
        train(small(), tmp_path / "run", progress=stopped_at(256))
    assert (tmp_path / "run" / "checkpoints" / "000000000256.json").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_losses_that_are_not_finite_stop_the_run_and_keep_the_last_checkpoint(tmp_path, monkeypatch):
    from capsulegan.training import trainee

    real = trainee.Batches.images

    def poisoned(self, step):
        return real(self, step) * (float("nan") if step >= 6 else 1.0)

    monkeypatch.setattr(trainee.Batches, "images", poisoned)
    with pytest.raises(TrainingFailed, match="finite losses"):
        train(small(), tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["event"] == "non-finite"
    assert rows[-1]["skipped_steps"] == 3
    newest = max((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert all(tensor.isfinite().all() for tensor in load_file(newest).values())


def test_a_collapse_stops_the_run_if_asked_to(tmp_path, monkeypatch):
    from capsulegan.training import loop

    monkeypatch.setattr(loop, "diagnose", lambda rows, deviation: "generator collapsed")
    with pytest.raises(TrainingFailed, match="generator collapsed after 192 images"):
        train(small(on_collapse="stop"), tmp_path / "stopped")
    assert (tmp_path / "stopped" / "checkpoints" / "000000000192.json").exists()
    assert train(small(), tmp_path / "continued").finished


def test_models_of_one_seed_start_from_one_generator(tmp_path):
    pictures = {
        model: (
            train(small(model, images=64), tmp_path / model).folder / "samples" / "000000000.png"
        ).read_bytes()
        for model in ("gan", "capsulegan", "gan-margin", "capsulegan-bce")
    }
    assert len(set(pictures.values())) == 1


def test_sampling_is_a_function_of_the_seed_and_leaves_global_randomness_alone(uninterrupted):
    run = capsulegan.load(uninterrupted)
    state = torch.get_rng_state()
    images = run.sample(1030, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert images.shape == (1030, 8, 8, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(run.sample(5, seed=3), images[:5])
    assert (run.sample(5, seed=4) != images[:5]).any()
    assert (images[:30] != images[1000:]).any()
    with pytest.raises(UserError, match="count must be at least 1, got 0"):
        run.sample(0)


def test_the_moving_average_is_what_is_kept(uninterrupted, tmp_path):
    plain = train(small(average_half_life=0), tmp_path / "plain")
    averaged = capsulegan.load(uninterrupted)
    state = load_file(max((uninterrupted / "checkpoints").glob("*.safetensors")))
    weights = averaged.generator.state_dict()
    assert all((state[f"average.{name}"] == tensor).all() for name, tensor in weights.items())
    assert any((plain.generator.state_dict()[name] != tensor).any() for name, tensor in weights.items())
    raw = {name: state[f"generator.{name}"] for name in weights}
    assert all((plain.generator.state_dict()[name] == tensor).all() for name, tensor in raw.items())


def test_an_unfinished_or_foreign_folder_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        capsulegan.load(tmp_path)
    with pytest.raises(UserError, match="there is no run folder"):
        capsulegan.load(tmp_path / "missing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        capsulegan.load(tmp_path)


def test_a_classifier_run(tmp_path):
    run = train(small("capsnet", images=640, average_half_life=0), tmp_path / "judge")
    assert run.finished
    assert run.classifier.classes == 10
    assert json.loads((tmp_path / "judge" / "config.json").read_text())["preset"] == "deep"
    with pytest.raises(UserError, match="has no generator: a run of capsnet has classifier"):
        _ = run.generator
