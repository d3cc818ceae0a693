import json

import pytest
import torch

from capsulegan.training.health import PATIENCE, diagnose
from capsulegan.training.log import Log, Meter, read_log


def test_a_meter_gives_means_and_leaves_out_what_is_not_finite():
    meter = Meter(("loss", "norm"), torch.device("cpu"))
    for loss, norm in [(1.0, 4.0), (float("nan"), float("inf")), (3.0, 8.0)]:
        meter.add({"norm": torch.tensor(norm), "loss": torch.tensor(loss)})
    assert meter.row() == {"loss": 2.0, "norm": 6.0, "skipped_steps": 1}
    meter.add({"norm": torch.tensor(1.0), "loss": torch.tensor(float("nan"))})
    assert meter.row() == {"loss": None, "norm": 1.0, "skipped_steps": 1}


def test_rows_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    log = Log(tmp_path, after=0)
    for images in (64, 128, 192):
        log.append({"step": images // 64, "images": images, "loss": 1 / images})
    log.close()
    path = tmp_path / "log.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 4, "images": 25')
    resumed = Log(tmp_path, after=128)
    assert [row["images"] for row in resumed.rows] == [64, 128]
    resumed.append({"step": 3, "images": 192, "loss": 1 / 192})
    resumed.close()
    assert path.read_text() == whole


@pytest.mark.parametrize("text", ["\n", "[1]\n", '{"images": "many"}\n', "\x00\x00\n", '{"images": 64}'])
def test_what_is_no_row_ends_the_log(tmp_path, text):
    path = tmp_path / "log.jsonl"
    path.write_text('{"images": 1}\n' + text + '{"images": 2}\n')
    assert [row["images"] for row in read_log(path)][:1] == [1]
    assert {"images": 2} not in list(read_log(path))


def test_what_is_not_finite_is_written_as_null(tmp_path):
    log = Log(tmp_path, after=0)
    log.append({"images": 1, "norm": float("inf"), "loss": float("nan")})
    log.close()
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"images": 1, "norm": None, "loss": None}


def rows(count, **values):
    healthy = {
        "discriminator_loss": 0.2,
        "real_probability": 0.7,
        "fake_probability": 0.4,
        "image_deviation": 0.5,
    }
    return [{**healthy, **values} for _ in range(count)]


def test_health_is_judged_on_several_rows():
    won = {"real_probability": 0.97, "fake_probability": 0.05}
    same = {"image_deviation": 0.001}
    assert diagnose(rows(PATIENCE), 0.6) is None
    assert diagnose(rows(PATIENCE, **won), 0.6) == "discriminator won"
    assert diagnose(rows(PATIENCE, **same), 0.6) == "generator collapsed"
    assert diagnose(rows(PATIENCE - 1, **won), 0.6) is None
    assert diagnose([*rows(1), *rows(PATIENCE - 1, **won)], 0.6) is None
    fell = [*rows(1, class_entropy=2.2), *rows(PATIENCE, class_entropy=1.0)]
    assert diagnose(fell, 0.6) == "classes lost"
    assert diagnose(fell[:-1], 0.6) is None
    assert diagnose([*fell, *rows(1, class_entropy=1.2)], 0.6) is None
    assert diagnose(rows(PATIENCE, class_entropy=0.0), 0.6) is None  # noise, before any class was drawn
    assert diagnose(rows(1, generator_loss=None), 0.6) == "non-finite"
    assert diagnose([], 0.6) is None


def test_a_margin_loss_at_its_margins_is_not_yet_won():
    assert diagnose(rows(PATIENCE, real_probability=0.9, fake_probability=0.1), 0.6) is None
