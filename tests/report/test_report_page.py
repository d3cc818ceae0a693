import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from capsulegan.errors import UserError
from capsulegan.report import Table, write_report
from capsulegan.report.figures import colour_of
from capsulegan.report.words import model_name

from .conftest import MakeStudy, make_rows

SCRIPT = "<script>alert('x')</script>"
FOUR = ("gan", "capsulegan", "gan-margin", "capsulegan-bce")


class Reader(HTMLParser):
    """Collects tags, ids and text, and holds every element to be closed."""

    VOID = ("meta", "link", "img", "br", "use", "path", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(study: Path) -> str:
    return write_report(study).read_text(encoding="utf-8")


def test_the_page_and_its_figures_are_written(make_study: MakeStudy) -> None:
    study = make_study()
    page = write_report(study)
    assert page == study / "report.html"
    assert sorted(path.name for path in (study / "figures").iterdir()) == [
        "best-answers.svg", "classification-1.svg", "samples-capsulegan-s0.png", "samples-gan-s0.png",
        "training-capsulegan-losses.svg",
        "training-capsulegan-probabilities.svg", "training-gan-losses.svg",
        "training-gan-probabilities.svg",
    ]  # fmt: skip
    reader = Reader(page.read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 8
    assert all(image["alt"] and image["width"] == "224" for image in images)
    for words in (
        "0.633",
        "q = 2p",
        "balanced",
        "labelled images alone (1-nearest neighbour)",
        "0.2724",
    ):
        assert words in reader.text
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_table_and_picture_has_its_command(make_study: MakeStudy) -> None:
    page = page_of(make_study())
    for command in (
        "capsulegan study mnist", "capsulegan sample runs/gan-s0",
        "capsulegan battle runs/gan-s0 runs/capsulegan-s0",
        "capsulegan classify runs/gan-s0 --labels 100 1000 10000", "capsulegan evaluate runs/gan-s0",
        "capsulegan train gan --data mnist", "capsulegan report .",
    ):  # fmt: skip
        assert f">{command}" in page


def test_nothing_is_loaded_from_elsewhere(make_study: MakeStudy) -> None:
    page = page_of(make_study(models=FOUR, seeds=(0, 1)))
    for tag, attributes in Reader(page).tags:
        assert tag not in ("script", "iframe", "object", "embed")
        for name in ("src", "srcset", "href", "xlink:href", "data", "action"):
            value = attributes.get(name) or "#"
            citation = tag == "a" and value == "https://arxiv.org/abs/1802.06167"
            assert value.startswith(("data:", "#")) or citation, (tag, value)
    assert not re.search(r"@import|url\((?!#)", page)


def test_the_same_folder_gives_the_same_bytes(make_study: MakeStudy) -> None:
    study = make_study(seeds=(0, 1))

    def everything() -> dict[str, bytes]:
        files = [study / "report.html", *(study / "figures").iterdir()]
        return {path.name: path.read_bytes() for path in files}

    write_report(study)
    first = everything()
    write_report(study.rename(study.with_name("moved")))
    study = study.with_name("moved")
    assert everything() == first
    code = "import sys, capsulegan.report as report; report.write_report(sys.argv[1])"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(study)], check=True, env=environment)
    assert everything() == first


def test_the_package_stays_light_until_a_page_is_written() -> None:
    code = "import sys, capsulegan.report; print(*{'matplotlib', 'jinja2', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b""


def test_what_came_from_outside_is_escaped(make_study: MakeStudy) -> None:
    rows = make_rows(("gan", f"x$\\frac${SCRIPT}"), (0,))
    rows.put("evaluation", SCRIPT, "gan", 0, 1.0, 1, features=SCRIPT, note=SCRIPT)
    rows.put(SCRIPT, SCRIPT, "gan", 0, None, 1, odd=SCRIPT, note=SCRIPT)
    study = make_study(
        rows=rows,
        data=f"folder{SCRIPT}",
        failures=[{"stage": SCRIPT, "error": f"</code>{SCRIPT}"}, SCRIPT],
        environment={SCRIPT: SCRIPT},
        command=f'"{SCRIPT}',
    )
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(
        json.dumps(settings | {"models": ["gan", f"x{SCRIPT}"], SCRIPT: SCRIPT})
    )
    results = json.loads((study / "results.json").read_text())
    results["data"]["classes"] = [SCRIPT]
    (study / "results.json").write_text(json.dumps(results))
    with (study / "runs" / "gan-s0" / "log.jsonl").open("a") as log:
        log.write(json.dumps({"images": 5, "event": SCRIPT}) + "\n")
    (study / "runs" / "gan-s0").rename(study / "runs" / "<b onload=x>-s0")
    page = page_of(study)
    assert "<script" not in page
    assert "<b onload" not in page
    assert page.count("&lt;script&gt;") > 10


def test_one_seed_makes_no_statement_about_chance(make_study: MakeStudy) -> None:
    one, three = page_of(make_study()), page_of(make_study(seeds=(0, 1, 2)))
    assert "One seed: no statement about chance can be made" in one
    assert "no statement about chance" not in three
    assert "3 seeds" in three
    assert "95 % interval clear of 0" in three
    assert "±" in three


def test_no_images_at_all_may_be_better_and_the_summary_says_so(make_study: MakeStudy) -> None:
    assert "No model&#39;s images did better than no images at all" in page_of(make_study())


def test_the_summary_ranks_models_of_as_many_seeds(make_study: MakeStudy) -> None:
    rows = make_rows(("gan", "capsulegan"), (0, 1, 2)) + make_rows(("gan", "capsulegan", "gan-margin"), (0,))
    assert re.search(
        r"with 100 labels CapsuleGAN 0\.4\d+ before GAN 0\.4\d+ \(a", page_of(make_study(rows=rows))
    )


def test_the_summary_tells_capsules_from_loss(make_study: MakeStudy) -> None:
    told = "Fréchet distance (mean and 95 % interval): capsules instead of convolutions: \N{MINUS SIGN}"
    assert told in page_of(make_study(rows=make_rows(FOUR, (0, 1, 2))))
    assert told not in page_of(make_study(rows=make_rows(FOUR, (0,))))


def test_other_data_have_no_papers_columns(make_study: MakeStudy) -> None:
    tables = re.findall(r"<table>.*?</table>", page_of(make_study(data="digits")), re.DOTALL)
    assert tables
    assert not any("paper, " in table for table in tables)


def test_missing_and_torn_parts_are_named(make_study: MakeStudy) -> None:
    study = make_study(seeds=(0, 1), failures=[{"stage": "train gan-s1", "error": "out of memory"}])
    runs = study / "runs"
    with (runs / "gan-s0" / "log.jsonl").open("a") as log:
        log.write('{"step": 9400, "ima')
    (runs / "capsulegan-s0" / "log.jsonl").unlink()
    for path in (runs / "capsulegan-s0" / "samples").iterdir():
        path.write_bytes(b"not a picture")
    for path in sorted((runs / "gan-s1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (runs / "gan-s1").rmdir()
    page = page_of(study)
    for words in (
        "gan-s1 left no folder", "gan-s0: 1 unreadable line in log.jsonl",
        "capsulegan-s0: no sample images",
        "capsulegan-s0: no log.jsonl", "out of memory", "This study is not complete",
    ):  # fmt: skip
        assert words in page


def test_one_finished_model_alone_still_has_a_page(make_study: MakeStudy) -> None:
    study = make_study(rows=make_rows(("gan",), (0,)))
    page = page_of(study)
    assert "No battle was fought" in page
    assert "There are no figures of CapsuleGAN" in page


def test_a_study_that_grew_by_some_seeds_of_one_model_is_complete(make_study: MakeStudy) -> None:
    study = make_study(rows=make_rows(("gan", "capsulegan"), (0,)) + make_rows(("gan",), (1,)))
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(settings | {"seeds": [0, 1]}))
    assert "capsulegan-s1 left no folder" in page_of(study)
    runs = ["gan-s0", "capsulegan-s0"]
    (study / "study.json").write_text(json.dumps(settings | {"seeds": [0, 1], "runs": runs}))
    page = page_of(study)
    assert "This study is not complete" not in page
    assert "600,000 images a run: GAN, 2 seeds; CapsuleGAN, 1 seed." in page


def test_runs_that_were_ended_sooner_are_said_to_be(make_study: MakeStudy) -> None:
    rows = make_rows(("gan", "capsulegan"), (0,))
    for model, images in (("gan", 400_000), ("capsulegan", 500_032)):
        row = next(row for row in rows if (row["model"], row["figure"]) == (model, "images"))
        row["value"] = images
    assert "400,000 to 500,032 images a run: GAN" in page_of(make_study(rows=rows))


def test_an_empty_study_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 1, "rows": []}')
    page = page_of(tmp_path)
    Reader(page)
    assert page.count('class="none"') == 5
    assert "no readable study.json" in page


def test_a_best_recipe_is_named_and_coloured_by_its_model() -> None:
    assert model_name("gan-best:gan-margin-best") == "GAN (best recipe) : GAN (margin loss, best recipe)"
    for model in FOUR:
        best = f"{model}-best"
        assert colour_of(best, [best]) == colour_of(model, [model])
        assert colour_of(best, [model, best]) != colour_of(model, [model, best])
    assert colour_of("another-best", ["another-best"])


def test_scores_over_training_are_drawn_and_shown_at_a_few_moments(make_study: MakeStudy) -> None:
    rows = make_rows(("gan", "capsulegan"), (0, 1))
    for model, seed, step in itertools.product(("gan", "capsulegan"), (0, 1), range(1, 13)):
        seen = {"images_seen": 50_000 * step, "features": "capsnet"}
        rows.put("progress", "frechet_distance", model, seed, 1 / step + seed, 10000, **seen)
    rows.put("progress", "frechet_distance", "gan", 0, None, 10000, images_seen=None, features="capsnet")
    study = make_study(rows=rows, seeds=(0, 1))
    page = page_of(study)
    assert (study / "figures" / "progress.svg").exists()
    table = page.split("<h3>Scores over training</h3>")[1].split("<table>")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + 2 * 6
    assert re.findall(r"<td[^>]*>(600,000)</td>", table) == ["600,000"] * 2
    assert "capsulegan evaluate runs/gan-s0 --over-training" in page


def test_a_page_with_pictures_is_not_replaced_by_one_without(make_study: MakeStudy) -> None:
    study = make_study()
    page = write_report(study)
    before = page.read_bytes()
    shutil.rmtree(study / "runs")
    with pytest.raises(UserError, match="would lack the pictures"):
        write_report(study)
    assert page.read_bytes() == before
    page.unlink()
    assert "left no folder" in page_of(study)


def test_the_judge_is_no_model_of_the_study(make_study: MakeStudy) -> None:
    page = page_of(make_study())
    assert "<h1>GAN and CapsuleGAN on MNIST</h1>" in page
    assert "The judge that they come from errs on 0.0071 of the test images." in page
    assert "CapsNet (judge)" in page
    assert "This study is not complete" not in page


def test_the_error_of_a_judge_without_scores_is_no_table(make_study: MakeStudy) -> None:
    study = make_study()
    document = json.loads((study / "results.json").read_text())
    rows = [row for row in document["rows"] if row["figure"] == "judge_error" or row["table"] != "evaluation"]
    (study / "results.json").write_text(json.dumps({**document, "rows": rows}))
    assert "Evaluation scores" not in page_of(study)


def test_a_table_without_rows_has_a_kind_for_every_column() -> None:
    assert Table("battle", "", "", ("a", "b"), (), "").numeric == (False, False)


def test_odd_log_rows_do_not_stop_the_page(make_study: MakeStudy) -> None:
    study = make_study()
    rows = ['{"images": 5}', '{"images": "6", "discriminator_loss": "x"}', "[1]", "7", "",
            '{"images": 9, "discriminator_loss": NaN, "real_probability": null}', "\ufffd"]  # fmt: skip
    (study / "runs" / "gan-s0" / "log.jsonl").write_text("\n".join(rows))
    assert "gan-s0: 3 unreadable lines in log.jsonl" in page_of(study)


def test_figures_of_other_data_are_pointed_out(make_study: MakeStudy) -> None:
    rows = make_rows(("gan", "capsulegan"), (0,))
    rows[0]["data_digest"] = "another"
    assert "1 figure measured on other data" in page_of(make_study(rows=rows))


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", '{"schema": 2, "rows": []}', '{"schema": 1, "rows": {}}',
        '{"schema": 1, "rows": [1]}',
        '{"schema": 1, "rows": [{"table": "x"}]}', '{"schema": 1, "data": 3}',
    ],
)  # fmt: skip
def test_a_missing_or_invalid_results_file_is_the_users_to_mend(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json") as error:
        write_report(tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()
