"""What is exported computes in another runtime what the network does here, for any number of samples."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import capsulegan
from capsulegan.errors import UserError
from capsulegan.export import write_onnx

TINY = {"data": "digits", "images": 320, "width": 8, "threads": 1, "precision": "32"}


def exported(run, network, path):
    facts = write_onnx(run, path, network)
    return facts, onnxruntime.InferenceSession(path)


def check(run, network, path):
    """Export a network, and compare its answers with those here."""
    facts, session = exported(run, network, path)
    (source,) = session.get_inputs()
    assert facts["input"] == {source.name: source.shape}
    assert facts["output"] == {output.name: output.shape for output in session.get_outputs()}
    here = getattr(run, facts["network"])
    for count in (1, 3, 20):  # 20 are above the size up to which routing is literal here
        inputs = torch.randn(count, *source.shape[1:], generator=torch.Generator().manual_seed(count))
        inputs = inputs if source.name == "latents" else inputs.tanh()
        with torch.no_grad():
            expected = here(inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        answers = session.run(None, {source.name: inputs.numpy()})
        for answer, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer, wanted.numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("capsulegan-mnist", None),
        ("capsulegan-mnist", "discriminator"),
        ("gan-mnist", "discriminator"),
        ("capsnet-mnist", None),
        ("resnet-cifar10", None),
    ],
)
def test_published_networks_answer_alike_elsewhere(name, network, tmp_path):
    check(capsulegan.load(name), network, tmp_path / "network.onnx")


@pytest.mark.parametrize("head", ["hidden", "two", "attention"])
def test_routed_heads_answer_alike_elsewhere(head, tmp_path):
    run = capsulegan.train(capsulegan.Config("capsulegan", head=head, **TINY), tmp_path / "run")
    check(run, "discriminator", tmp_path / "network.onnx")


def test_a_residual_network_answers_alike_elsewhere(tmp_path):
    run = capsulegan.train(capsulegan.Config("resnet", **TINY), tmp_path / "run")
    check(run, None, tmp_path / "network.onnx")


def test_the_file_says_what_it_is_of(tmp_path):
    run = capsulegan.load("capsulegan-mnist")
    write_onnx(run, tmp_path / "network.onnx")
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "network.onnx").metadata_props}
    assert said["capsulegan.model"] == "capsulegan-best"
    assert said["capsulegan.data"] == "mnist"
    assert said["capsulegan.data_digest"] == run.data.digest


def test_a_network_that_the_run_has_not_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no classifier: a run of capsulegan-best has generator and disc"):
        write_onnx(capsulegan.load("capsulegan-mnist"), tmp_path / "network.onnx", "classifier")
    assert not any(tmp_path.iterdir())


def command(*arguments, before="pass"):
    code = f"import sys; {before}; from capsulegan.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command_prints_one_document_and_no_prose(tmp_path):
    done = command("export", "gan-mnist", "--out", tmp_path / "g.onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "file": str(tmp_path / "g.onnx"),
        "network": "generator",
        "input": {"latents": ["batch", 100]},
        "output": {"images": ["batch", 1, 28, 28]},
    }


def test_without_its_package_the_command_says_what_to_install(tmp_path):
    gone = "sys.modules['onnxscript'] = None"
    done = command("export", "gan-mnist", "--out", tmp_path / "g.onnx", before=gone)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "capsulegan[onnx]" in done.stderr
