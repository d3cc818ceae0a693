"""Files, tensors, randomness and lazy names."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from capsulegan.errors import UserError, unknown_name
from capsulegan.files import read_json, sha256, whole_file, write_bytes, write_json, write_text
from capsulegan.lazy import importer
from capsulegan.randomness import derived_seed, generator_for, latents_for, seeded
from capsulegan.tensors import copy_into, load_weights, parameter_count, read_tensors, write_tensors

# ---- files


def files_in(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_and_its_folders_are_written(tmp_path):
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "new \u00e9")
    assert path.read_text(encoding="utf-8") == "new \u00e9"
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert files_in(path.parent) == ["file.txt"]


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failure_leaves_what_was_there_and_no_other_file(tmp_path, error, old):
    path = tmp_path / "file"
    if old:
        path.write_text(old)

    def fail():
        with whole_file(path) as temporary:
            temporary.write_text("half of the ne")
            raise error

    with pytest.raises(error):
        fail()
    assert files_in(tmp_path) == (["file"] if old else [])
    assert not old or path.read_text() == old


def test_a_killed_process_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    program = """
        import os, signal, sys
        from pathlib import Path
        from capsulegan.files import whole_file
        with whole_file(Path(sys.argv[1])) as temporary:
            temporary.write_text("half of the ne")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")  # what the killed process left is in nobody's way
    assert path.read_text() == "new"


def test_a_block_that_wrote_nothing_is_an_error_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UserError, match="cannot write"), whole_file(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("place", ["/proc/nowhere/file", "/proc/file"])
def test_a_folder_that_cannot_be_written_to_is_the_user_s_to_mend(place):
    with pytest.raises(UserError, match=f"cannot write {place}: .*what was there before is intact") as caught:
        write_text(place, "text")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_in_fact_a_folder_is_the_user_s_to_mend(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: Is a directory"):
        write_text(tmp_path / "folder", "text")
    assert files_in(tmp_path) == ["folder"]


@pytest.mark.parametrize("inside", ["file/new", "file/new/newer"])
def test_a_path_below_a_file_is_the_user_s_to_mend(tmp_path, inside):
    (tmp_path / "file").write_text("old")
    with pytest.raises(UserError, match=r"cannot write .*what was there before is intact"):
        write_text(tmp_path / inside, "text")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_it_cannot_hold_and_leaves_what_was_there(tmp_path, value):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"new": [value]})
    assert json.loads(path.read_text()) == {"old": 1}
    assert files_in(tmp_path) == ["file.json"]


def test_json_comes_back_as_it_went(tmp_path):
    document = {"a": [1, 2.5, None, True, "\u00e9"], "b": {}}
    write_json(tmp_path / "file.json", document)
    assert read_json(tmp_path / "file.json") == document


NO_NUMBERS = [b"Infinity", b"[-Infinity]", b"NaN", b'{"a": 1e999}']


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[" * 100_000, *NO_NUMBERS])
def test_what_is_no_json_is_the_user_s_to_mend(tmp_path, content):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*file\.json") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_the_digest_is_sha_256(tmp_path):
    write_bytes(tmp_path / "file", b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "file") == expected


# ---- tensors

TENSORS = {
    "weight": torch.arange(6.0).view(2, 3),
    "count": torch.tensor(7),
    "scalar": torch.tensor(0.5),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, {"model": "gan"})
    return path


def test_tensors_come_back_as_they_went(path):
    found = read_tensors(path, TENSORS)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_who_may_read_other_files_may_read_these(path):
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_tensors_that_are_no_contiguous_blocks_are_stored_too(tmp_path):
    turned = torch.randn(4, 3, requires_grad=True).T
    write_tensors(tmp_path / "file", {"turned": turned}, {})
    assert torch.equal(read_tensors(tmp_path / "file", {"turned": turned})["turned"], turned)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    write_tensors(tmp_path / "file", {"a": torch.tensor([0.5, 2.0], dtype=dtype)}, {})
    found = read_tensors(tmp_path / "file", {"a": torch.zeros(2)})["a"]
    assert found.dtype == torch.float32
    assert found.tolist() == [0.5, 2.0]


def expecting(**changed):
    return {name: tensor for name, tensor in {**TENSORS, **changed}.items() if tensor is not None}


MISMATCHES = [
    (expecting(bias=torch.zeros(1)), "missing tensor 'bias'.*another network"),
    (expecting(count=None), "unexpected tensor 'count'.*another network"),
    (expecting(weight=torch.zeros(3, 2)), r"weight must have shape \[3, 2\], got \[2, 3\]"),
    (
        expecting(weight=torch.zeros(2, 3, dtype=torch.int64)),
        "weight must be of type torch.int64, got torch.float32",
    ),
    (expecting(count=torch.tensor(7.0)), "count must be of type torch.float32, got torch.int64"),
    (expecting(weight=torch.zeros(2, 3, dtype=torch.float16)), "weight must be of type torch.float16"),
]


@pytest.mark.parametrize(("expected", "message"), MISMATCHES)
def test_tensors_of_another_network_are_refused_in_one_line(path, expected, message):
    with pytest.raises(UserError, match=message) as caught:
        read_tensors(path, expected)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tensors_that_are_not_finite_are_refused(tmp_path, value):
    save_file({"a": torch.tensor([1.0, value])}, tmp_path / "file")
    with pytest.raises(UserError, match="a has values that are not finite"):
        read_tensors(tmp_path / "file", {"a": torch.zeros(2)})


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_a_truncated_file_is_refused_in_one_line(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cannot read .*weights\.safetensors") as caught:
        read_tensors(path, TENSORS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"PK\x03\x04" + bytes(100), b"\x80\x04N."])
def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        read_tensors(path, TENSORS)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_tensors(tmp_path, TENSORS)


def test_weights_are_replaced_all_or_not_at_all(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    write_tensors(tmp_path / "file", source.state_dict(), {})
    load_weights(target, tmp_path / "file")
    assert torch.equal(target.weight, source.weight)
    before = target.weight.clone()
    save_file({"weight": torch.ones(2, 3), "bias": torch.tensor([0.0, math.nan])}, tmp_path / "file")
    with pytest.raises(UserError):
        load_weights(target, tmp_path / "file")
    assert torch.equal(target.weight, before)


def test_parameters_are_counted_one_by_one():
    assert parameter_count(nn.Linear(3, 2)) == 8
    assert parameter_count(nn.BatchNorm2d(5)) == 10


def test_tensors_are_copied_in_place():
    target, source = nn.Linear(3, 2), nn.Linear(3, 2)
    weight = target.weight
    copy_into(target.state_dict(), source.state_dict())
    assert target.weight is weight
    assert torch.equal(weight, source.weight)


# ---- randomness


def test_seeds_differ_between_seeds_purposes_and_steps():
    seeds = [
        derived_seed(seed, purpose, step)
        for seed in range(20)
        for purpose in ("latents", "weights", "latents 1", "")
        for step in range(50)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_in_another_process():
    program = "from capsulegan.randomness import derived_seed; print(derived_seed(1, 'latents', 2))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "3"},
    )
    assert int(done.stdout) == derived_seed(1, "latents", 2)


def test_latents_do_not_depend_on_what_was_drawn_before():
    forward = [latents_for(0, "latents", step, 4, 3) for step in range(3)]
    backward = [latents_for(0, "latents", step, 4, 3) for step in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], forward[1])
    assert forward[0].shape == (4, 3)


def test_latents_are_standard_normal():
    drawn = latents_for(0, "latents", 0, 20_000, 5)
    assert drawn.mean().abs() < 0.02
    assert abs(drawn.std() - 1) < 0.02
    assert torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 0.03


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    latents_for(0, "latents", 0, 4, 3)
    generator_for(0, "order")
    with seeded(0, "weights"):
        torch.randn(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_block_draws_the_same_each_time_and_gives_the_state_back_after_an_error():
    def draw(*key):
        with seeded(*key):
            return torch.randn(5)

    assert torch.equal(draw(0, "weights"), draw(0, "weights"))
    for other in [(1, "weights"), (0, "order"), (0, "weights", 1)]:
        assert not torch.equal(draw(0, "weights"), draw(*other))
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(0, "weights"):
        torch.randn(-5)
    assert torch.equal(torch.get_rng_state(), before)


# ---- names


def test_a_lazy_name_is_fetched_from_its_home_and_others_are_missing():
    fetch = importer("package", {"loads": "json"})
    assert fetch("loads") is json.loads
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'dumps'"):
        fetch("dumps")


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones():
    error = unknown_name("model", "capsulgan", ["gan", "capsulegan"])
    assert (
        str(error)
        == "unknown model 'capsulgan': did you mean 'capsulegan'? the known ones are gan, capsulegan"
    )
    assert "did you mean" not in str(unknown_name("model", "zzz", ["gan"]))
    assert isinstance(error, ValueError)
