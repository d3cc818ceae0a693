import json

import pytest
import torch
from torch.optim import Adam

from capsulegan.errors import UserError
from capsulegan.training.checkpoint import load_checkpoint, optimizer_state, save_checkpoint


def state(value):
    return {"weights": torch.full((3, 2), float(value)), "count": torch.tensor(float(value))}


def test_the_last_two_are_kept(tmp_path):
    for images in (64, 128, 192):
        save_checkpoint(tmp_path, images, state(images))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000000128.json",
        "000000000128.safetensors",
        "000000000192.json",
        "000000000192.safetensors",
    ]
    images, loaded = load_checkpoint(tmp_path, state(0))
    assert images == 192
    assert torch.equal(loaded["weights"], state(192)["weights"])


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "missing", state(0)) is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "record torn", "record of another"])
def test_a_damaged_one_is_reported_and_the_one_before_is_used(tmp_path, damage):
    for images in (64, 128):
        save_checkpoint(tmp_path, images, state(images))
    weights, record = tmp_path / "000000000128.safetensors", tmp_path / "000000000128.json"
    data = bytearray(weights.read_bytes())
    if damage == "flipped":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "truncated":
        weights.write_bytes(data[:-4])
    elif damage == "missing":
        weights.unlink()
    elif damage == "record torn":
        record.write_text(record.read_text()[:20])
    else:
        record.write_text(json.dumps([1, 2]))
    with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
        images, loaded = load_checkpoint(tmp_path, state(0))
    assert images == 64
    assert torch.equal(loaded["count"], state(64)["count"])


@pytest.mark.filterwarnings("ignore:.*going on from the checkpoint before it")
def test_when_all_are_damaged_nothing_is_begun_anew_in_silence(tmp_path):
    for images in (64, 128):
        save_checkpoint(tmp_path, images, state(images))
    for weights in tmp_path.glob("*.safetensors"):
        weights.write_bytes(b"")
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        load_checkpoint(tmp_path, state(0))


def test_weights_of_another_network_are_refused(tmp_path):
    save_checkpoint(tmp_path, 64, state(1))
    with pytest.warns(UserWarning, match=r"must have shape \[3, 3\]"), pytest.raises(UserError):
        load_checkpoint(tmp_path, {**state(0), "weights": torch.zeros(3, 3)})


def test_adams_state_has_one_form_before_and_after_its_first_step():
    weight = torch.nn.Parameter(torch.ones(2))
    untouched, plain = (Adam([torch.nn.Parameter(torch.ones(2))], fused=True) for _ in range(2))
    fresh = optimizer_state("o", untouched)
    assert sorted(fresh) == ["o.0.exp_avg", "o.0.exp_avg_sq", "o.0.step"]
    for optimizer in (untouched, plain):
        parameter = optimizer.param_groups[0]["params"][0]
        parameter.grad = torch.tensor([0.5, -1.0])
        optimizer.step()
    for name, tensor in optimizer_state("o", plain).items():
        assert torch.equal(tensor, optimizer_state("o", untouched)[name])
    assert weight.grad is None
