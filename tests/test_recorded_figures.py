"""Figures that stand in the documentation are those of the records under results/."""

import json
import math
import re
import statistics
from collections import defaultdict

import pytest

from capsulegan.report import paper, tables_of
from records import EXPERIMENTS, ROOT, cells_of, record

SPEED = ROOT / "results" / "speed"
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text()
TESTING = (ROOT / "docs" / "testing.md").read_text()


def ratios(name):
    """Ratios by (part, "reference, time or memory")."""
    return {
        (row["part"], f"{row['against']}, {'memory' if row['quantity'] == 'bytes' else 'time'}"): row
        for row in record(f"speed/{name}.json")["comparisons"]
    }


def test_the_table_of_speeds_is_the_record():
    one, two = ratios("bench-3"), ratios("steps-two-threads")
    table = BENCHMARKS.split("| part | beside |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(one)
    for line in table:
        part, beside, first, second, aim = cells_of(line)
        row = one[part, beside]
        assert float(first) == pytest.approx(row["ratio"], abs=5.1e-4)
        assert second == (f"{two[part, beside]['ratio']:.3f}" if (part, beside) in two else "")
        assert (float(aim) if aim else None) == (row["bar"] and pytest.approx(row["bar"], abs=5.1e-4))
        assert row["bar"] is None or row["ratio"] <= row["bar"], "every aim is met, says the page"


def test_the_table_of_label_spreading_is_the_record():
    found = record("speed/label-spreading.json")
    table = BENCHMARKS.split("| | our time")[1].split("\n\n")[0].splitlines()[2:]
    for line, kind in zip(table, found["ratio"], strict=True):
        _, ratio, memory = cells_of(line)
        assert memory == f"{found['peak_resident_gib'][kind]:.2f} GiB"
        assert ratio == ("" if kind == "ours" else f"{found['ratio'][kind]:.3f}")


def test_kills_and_fuzzing_are_the_records():
    kills, fuzz = record("kills.json"), record("fuzz.json")
    assert f"{kills['kills']} kills, {kills['runs_finished']} runs" in TESTING
    assert kills["identical"]
    assert f"{fuzz['cases']:,} cases, {fuzz['refused_in_one_line']:,} refused" in TESTING
    assert f"the slowest use {fuzz['slowest_seconds']} s" in " ".join(TESTING.split())


def test_another_seed_lies_within_the_stated_spread():
    """The published weights, spread with a seed that the study has not, against the cells of its table."""
    rows = record("mnist/classify-seed-7.json")["rows"]
    errors = [row["value"] for row in rows if row["model"] == "capsulegan-best"]
    assert f"gives {errors[0]:.4f}, {errors[1]:.4f} and {errors[2]:.4f}" in EXPERIMENTS
    table = next(t for t in tables_of(record("mnist/results.json")) if t.name == "classification")
    line = next(row for row in table.rows if row[0] == "CapsuleGAN (best recipe)")
    spreads = [[float(part) for part in cell.split(" ± ")] for cell in line if " ± " in cell]
    assert len(spreads) == len(errors) == 3
    for error, (mean, half_width) in zip(errors, spreads, strict=True):
        assert abs(error - mean) <= half_width


def test_the_table_of_heads_is_the_record():
    ratios = {row["part"]: row["ratio"] for row in record("speed/heads.json")["comparisons"]}
    lines = EXPERIMENTS.split("| head | 1 iteration |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) * 2 == len(ratios)
    for line in lines:
        head, *cells = cells_of(line)
        for iterations, cell in zip(("1 iteration", "3 iterations"), cells, strict=True):
            part = f"capsulegan step, small, {head.strip('`')}, {iterations}"
            assert cell == f"{ratios[part]:.2f}"


def test_the_tables_of_kernels_are_the_records():
    tables = EXPERIMENTS.split("| unlabelled images from | n |")[1:]
    records = [
        record(f"kernels/{path.name}") for path in sorted((ROOT / "results" / "kernels").glob("*.json"))
    ]
    lines = [line for table in tables for line in table.split("\n\n")[0].splitlines()[2:]]
    assert len(lines) == sum(
        len({(row["source"], row["labels"]) for row in each["rows"]}) for each in records
    )
    for line in lines:
        source, n, plain, *best, settings = cells_of(line)
        neighbours, gamma, alpha = (float(word) for word in re.findall(r"\d+\.?\d*", settings))
        assert any(
            [f"{min(errors):.3f}" for errors in found.values()] == best
            and f"{min(found_with(own, 'knn', 7, None, 0.2)):.3f}" == plain
            and f"{min(found_with(own, 'local', neighbours, gamma, alpha)):.3f}" == best[-1]
            for each in records
            if (own := [r for r in each["rows"] if (r["source"], f"{r['labels']:,}") == (source, n)])
            if (found := {kernel: found_with(own, kernel) for kernel in ("knn", "rbf", "local")})
        ), line


def found_with(rows, kernel, neighbours=None, gamma=None, alpha=None):
    """Errors of a kernel, with these settings where they are given."""
    wanted = {"kernel": kernel, "neighbours": neighbours, "gamma": gamma, "alpha": alpha}
    given = {name: value for name, value in wanted.items() if value is not None}
    return [row["error"] for row in rows if given.items() <= row.items()]


def means_over_seeds(rows):
    """Return the mean of each figure over the seeds that it was taken for."""
    groups = defaultdict(list)
    for row in rows:
        settings = (
            row["settings"].get(name)
            for name in ("rule", "batch_norm", "labels", "chosen", "features", "images_seen")
        )
        if row["value"] is not None:
            groups[row["table"], row["figure"], row["model"], *settings].append(row["value"])
    return [statistics.fmean(values) for values in groups.values()]


@pytest.mark.parametrize(
    "study",
    [path.parent for path in sorted(ROOT.glob("results/*/discussion.md"))],
    ids=lambda path: path.name,
)
def test_a_discussion_quotes_its_records(study):
    """Decimals and percentages are roundings of figures of the study, of the paper, or of the theory.

    Or they are figures of the study's tables as they stand there: differences, effects, half intervals.
    """
    results = record(f"{study.name}/results.json")
    data = results["data"]["name"]
    batch_statistics = study / "battle-batch-statistics.json"
    rows = json.loads(batch_statistics.read_text()) if batch_statistics.exists() else []
    rows += results["rows"]
    known = [row["value"] for row in rows]
    for path in (*ROOT.glob("results/*/results.json"), *ROOT.glob("results/*.json")):
        other = json.loads(path.read_text())  # of other studies of the same data, means may be quoted
        if other.get("data", {}).get("name") == data:
            known += means_over_seeds(other["rows"])
    for log in study.glob("runs/capsulegan-best-s*/log.jsonl"):
        last = [row for row in map(json.loads, log.read_text().splitlines()) if "real_probability" in row][-1]
        known += [last["real_probability"], last["fake_probability"]]
    known += [0.5, 0.9, 0.633, math.log(10), *paper.BATTLE[data].values()]
    known += [error for errors in paper.CLASSIFICATION[data].values() for error in errors.values()]
    figures = [figure for figure in known if figure is not None]
    discussion = (study / "discussion.md").read_text()
    quoted = [(text, 1) for text in re.findall(r"\d+\.\d+(?!\d| %)", discussion)]
    quoted += [
        (text, 100) for text in re.findall(r"(\d+(?:\.\d+)?) %", discussion) if text != "97"
    ]  # the goal
    assert len(quoted) > 30
    shown = set(
        re.findall(
            r"\d+\.\d+",
            " ".join(re.sub(r"\[.*?\]", "", c) for t in tables_of(results) for row in t.rows for c in row),
        )
    )
    for text, scale in quoted:
        places = len(text.partition(".")[2])
        rounded = any(f"{figure * scale:.{places}f}" == text for figure in figures)
        assert rounded or (scale == 1 and text in shown), text


def test_the_figures_of_a_gpu_are_the_record():
    found = record("gpu/h100.json")
    page = (ROOT / "docs" / "performance.md").read_text()
    lines = page.split("| on one H100 |")[1].split("\n\n")[0].splitlines()[2:]
    shown = {cells_of(line)[0]: cells_of(line)[2] for line in lines}
    ceilings, steps, routing = found["ceilings"], found["steps"], found["routing"]
    assert (
        shown.pop("copies, bytes read and written") == f"{ceilings['copied_bytes_a_second'] / 1e12:.2f} TB/s"
    )
    products = ceilings["bf16_flops_a_second"]
    assert shown.pop("bf16 products, 8192 x 8192 x 8192") == f"{products / 1e12:.0f} TFLOP/s"
    gan, small = (steps[f"{model}, small, batch 256"] for model in ("gan", "capsulegan"))
    slower = small["seconds_a_step"] / gan["seconds_a_step"]
    evaluation, over = found["evaluation"]["seconds"], routing["over_layer"]
    wanted = [
        f"{small['images_a_second']:,.0f}",
        f"{steps['capsulegan, capsnet, batch 256']['images_a_second']:,.0f}",
        f"{slower:.3f}",
        f"{over['compiled loop, replayed']:.2f}",
        f"{over['careful loop, replayed']:.2f}",
        f"{found['deterministic']['deterministic_over_default']:.2f} times as long",
        f"{evaluation['label spreading, all n']:.2f} s",
        f"{evaluation['50000 images drawn']:.2f} s",
        "not measured",
    ]
    assert list(shown.values()) == wanted
    lines = page.split("| | 64 | 256 | 1024 |")[1].split("\n\n")[0].splitlines()[2:]
    for line in lines:
        name, *cells = cells_of(line)
        for batch, cell in zip((64, 256, 1024), cells, strict=True):
            row = steps[f"{name.replace('`', '')}, batch {batch}"]
            share = f"{100 * row['flops_a_second'] / products:.1f} %"
            assert cell == f"{row['images_a_second']:,.0f} ({share})"
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{round(small['images_a_second'], -2):,.0f} images of MNIST a second" in readme
    assert f"in {slower:.2f} times the time" in readme


def test_the_table_of_tiles_is_the_record():
    names = ("routing_pass", "sum_of_parts", "capsule_gradient", "weight_gradient", "in all")
    lines = EXPERIMENTS.split("| rows | samples | warps |")[1].split("\n\n")[0].splitlines()[2:]
    rows = record("gpu/routing-tiles.json")["rows"]
    assert [cells_of(line) for line in lines] == [
        [str(row[name]) for name in ("rows", "samples", "warps", "parts", "stages")]
        + [f"{row['microseconds'][name]:.0f}" for name in names]
        for row in rows
    ]


def test_runs_side_by_side_on_a_gpu_are_the_record():
    page = " ".join((ROOT / "docs" / "performance.md").read_text().split())
    models = ("gan-best", "capsulegan-best")
    first, two, alone, served, six = (
        [row[model] for model in models] for row in record("gpu/side-by-side.json")["rows"]
    )
    assert f"two train {round(sum(two), -3):,} images" in page
    assert f"one trained {round(first[0], -3):,} (`gan-best`) or {round(first[1], -3):,}" in page
    assert f"{round(alone[0], -3):,} and {round(alone[1], -3):,} images a second alone" in page
    assert f"{round(served[0], -3):,} and {round(served[1], -3):,} two at once" in page
    assert f"{round(six[0], -2):,} and {round(six[1], -2):,} each of six" in page
    assert f"{round(3 * sum(six), -3):,} together" in page
    fourteen = sum(row["images"] / row["seconds"] for row in record("recipes-cifar10-longer.json")["rows"])
    assert f"{round(fourteen, -3):,.0f} fourteen together" in page
    logged = record("gpu/side-by-side.json")["rows"][-1]["logged"]
    assert six == [round(statistics.median(logged[model])) for model in models]


def test_the_judges_errors_in_the_readme_are_their_cards():
    readme = (ROOT / "README.md").read_text()
    for name, shown in (("capsnet-mnist", "0.4"), ("resnet-cifar10", "8.9")):
        card = (ROOT / "src" / "capsulegan" / "weights" / name / "README.md").read_text()
        error = float(re.search(r"\*\*([\d.]+)%\*\*", card)[1])
        assert f"{error:.1f}" == shown
        assert re.search(rf"`{name}` \({shown} %", readme)
