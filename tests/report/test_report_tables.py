import copy
import json
import math
import random
from typing import Any

import pytest
from scipy import stats

from capsulegan.report import Table, paper, tables_of, to_markdown
from capsulegan.report.comparisons import EFFECTS, effects
from capsulegan.report.intervals import mean_of, paired_difference
from capsulegan.report.words import number, p_value

from .conftest import make_rows

MODELS = ("gan", "capsulegan")
SPACE, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"


def tables(rows: list[dict[str, Any]], data: str = "mnist") -> dict[str, Table]:
    return {table.title: table for table in tables_of({"data": {"name": data}, "rows": rows})}


def find(rows: list[dict[str, Any]], start: str, data: str = "mnist") -> Table:
    return next(table for title, table in tables(rows, data).items() if title.startswith(start))


def cells(table: Table, first: str) -> dict[str, str]:
    row = next(row for row in table.rows if row[0] == first)
    return dict(zip(table.columns, row, strict=True))


@pytest.mark.parametrize("size", [2, 3, 10])
def test_the_interval_is_students(size: int) -> None:
    chance = random.Random(size)
    values = [chance.gauss(3, 2) for _ in range(size)]
    mean = mean_of(values)
    low, high = stats.t.interval(0.95, size - 1, loc=sum(values) / size, scale=stats.sem(values))
    assert mean.half_width is not None
    assert mean.value - mean.half_width == pytest.approx(low, rel=1e-12)
    assert mean.value + mean.half_width == pytest.approx(high, rel=1e-12)
    assert mean.seeds == size


def test_one_seed_has_no_interval() -> None:
    assert mean_of([0.3]).half_width is None
    assert paired_difference({0: 1.0}, {0: 2.0}) is None


def test_a_paired_difference_takes_common_seeds_and_agrees_with_the_paired_t_test() -> None:
    first, second = {0: 1.0, 1: 2.0, 2: 4.0, 9: 50.0}, {2: 4.7, 1: 2.4, 0: 1.6, 7: -50.0}
    difference = paired_difference(first, second)
    test = stats.ttest_rel([1.6, 2.4, 4.7], [1.0, 2.0, 4.0])
    low, high = test.confidence_interval(0.95)
    assert difference is not None
    assert difference.seeds == 3
    assert difference.half_width == pytest.approx((high - low) / 2)
    assert difference.excludes_zero == (test.pvalue < 0.05)
    assert difference.p_value == pytest.approx(test.pvalue)


def test_the_factors_of_the_2_x_2_design_are_told_apart() -> None:
    """Errors built from known effects, with a part of each seed that cancels."""
    capsules, loss, interaction = -0.03, 0.02, 0.008
    seeds = {
        seed: {
            "gan": 0.3 + noise,
            "gan-margin": 0.3 + noise + loss - interaction / 2,
            "capsulegan-bce": 0.3 + noise + capsules - interaction / 2 + 0.001 * seed,
            "capsulegan": 0.3 + noise + capsules + loss + 0.001 * seed,
        }
        for seed, noise in enumerate((0.1, -0.2, 0.4))
    }
    columns = {"error": {model: {seed: row[model] for seed, row in seeds.items()} for model in seeds[0]}}
    (table,) = effects("classification", "Capsules or loss", "", columns, 4)
    found = {row[0]: row[1:] for row in table.rows}
    drift = [0.001 * seed for seed in seeds]
    half = stats.t.ppf(0.975, 2) * stats.sem(drift)
    p = stats.ttest_1samp([capsules + each for each in drift], 0).pvalue
    assert found["capsules instead of convolutions"] == (
        f"{number(capsules + 0.001, 4)} ± {half:.4f} (p {p_value(p)})",
        "3 seeds",
    )
    assert found["margin loss instead of cross-entropy"][0].startswith(f"{loss:.4f} ± 0.0000")
    assert found["interaction"][0].startswith(f"{interaction:.4f} ± 0.0000")
    best = {"error": {f"{model}-best": values for model, values in columns["error"].items()}}
    assert [row[0] for row in effects("", "", "", best)[0].rows] == [f"{e}, best recipes" for e in EFFECTS]
    three = {"error": {model: columns["error"][model] for model in list(seeds[0])[:3]}}
    assert effects("", "", "", three) == []


def test_the_papers_columns_stand_beside_ours_for_its_data_alone() -> None:
    rows = make_rows(MODELS, (0,))
    table = find(rows, "Classification error")
    for model, label in (("gan", "GAN"), ("capsulegan", "CapsuleGAN")):
        for labels, error in paper.CLASSIFICATION["mnist"][model].items():
            assert cells(table, label)[f"paper, n{SPACE}={SPACE}{labels:,}"] == f"{error:.4f}"
    assert cells(table, "noise as unlabelled (control)")[f"paper, n{SPACE}={SPACE}100"] == ""
    battle = find(rows, "Generative")
    assert [(row[3], row[5]) for row in battle.rows] == [("0.79", "1.00"), ("", "")]
    for other in tables(rows, "digits").values():
        assert not any("paper" in column for column in other.columns)
        assert "Jaiswal" not in other.caption


def test_features_are_not_put_beside_the_papers_pixels() -> None:
    rows = make_rows(MODELS, (0,))
    for row in rows:
        row["settings"]["features"] = "maps"
    table = find(rows, "Classification error")
    assert "by maps" in table.title
    assert not any("paper" in column for column in table.columns)


def test_moments_of_training_are_in_order_without_damaged_ones() -> None:
    rows = make_rows(MODELS, (0,))
    for images in (900, "many", 300, 600):
        rows.put("progress", "frechet_distance", "gan", 0, 1.0, 10, images_seen=images, features="maps")
    table = find(rows, "Scores over training")
    assert [row[1] for row in table.rows] == ["300", "600", "900"]


def test_unlabelled_images_that_fall_as_labels_grow_are_one_line() -> None:
    rows = make_rows(MODELS, (0,))
    real = [row for row in rows if row["model"] == "real" and row["table"] == "classification"]
    for row in real:
        row["settings"]["unlabelled"] = 50_000 - row["settings"]["labels"]
    line = cells(find(rows, "Classification error"), "real images as unlabelled (ceiling)")
    assert line["unlabelled"] == "≤ 49,900"
    assert all(f"{row['value']:.4f}" in line.values() for row in real)


def test_one_seed_says_so_and_shows_no_spread() -> None:
    table = find(make_rows(MODELS, (0,)), "Classification error")
    assert {row[-1] for row in table.rows} == {"1 seed"}
    assert "±" not in "".join(cell for row in table.rows for cell in row)
    assert not any(title.startswith("Differences") for title in tables(make_rows(MODELS, (0,))))


def test_three_seeds_have_the_mean_the_interval_and_paired_differences() -> None:
    rows = make_rows(MODELS, (0, 1, 2))
    errors = {
        model: [r["value"] for r in rows if r["model"] == model and r["settings"].get("labels") == 100]
        for model in MODELS
    }
    mean = sum(errors["gan"]) / 3
    half = stats.t.ppf(0.975, 2) * stats.sem(errors["gan"])
    line = cells(find(rows, "Classification error"), "GAN")
    assert line[f"n{SPACE}={SPACE}100"] == f"{mean:.4f} ± {half:.4f}"
    assert line["seeds"] == "3 seeds"
    difference = [b - a for a, b in zip(*errors.values(), strict=True)]
    line = cells(find(rows, "Differences"), "CapsuleGAN minus GAN")
    half = stats.t.ppf(0.975, 2) * stats.sem(difference)
    p = p_value(stats.ttest_1samp(difference, 0).pvalue)
    assert line[f"n{SPACE}={SPACE}100"] == f"{number(sum(difference) / 3, 4)} ± {half:.4f} (p {p})"


def test_verdicts_of_several_seeds_are_counted() -> None:
    rows = make_rows(MODELS, (0, 1, 2))
    for row in rows:
        if row["table"] == "battle" and row["seed"] == 2:
            row["settings"]["verdict"] = "no verdict"
    battle = find(rows, "Generative")
    assert cells(battle, "GAN : CapsuleGAN")["verdict"] == "CapsuleGAN wins in 2 of 3, no verdict in 1 of 3"
    reasons = {row[-1] for row in find(rows, "The four accuracies").rows}
    assert any("r_test is within 0.05 of 1" in reason for reason in reasons)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_figure_that_is_not_measurable_says_why(value: Any) -> None:
    rows = make_rows(MODELS, (0,))
    for row in rows:
        if row["figure"] == "r_samples":
            row["value"] = value
            row["settings"] |= {"note": "no image was called generated", "low": None, "high": None}
    battle = find(rows, "Generative")
    assert cells(battle, "GAN : CapsuleGAN")["r_samples"] == "not measurable"
    assert "Not measurable: no image was called generated." in battle.caption


def test_no_row_is_lost_and_none_is_averaged_over_settings() -> None:
    rows = make_rows(MODELS, (0,))
    rows.put("dreams", "sheep_counted", "gan", 0, 42, 1, field="left")
    rows.put("battle", "shouts", "gan:capsulegan", 0, 7, 1)
    rows.put("evaluation", "mode_count", "gan", 0, 9, 10000, features="other network")
    rows.put("training", "joules", "gan", 0, 1234.5, 1)
    extra = next(row for row in rows if row["model"] == "gan" and row["table"] == "classification")
    second = copy.deepcopy(extra)
    second["settings"]["unlabelled"], second["value"] = 77, 0.7777
    third = copy.deepcopy(extra)
    third["settings"]["clamp"], third["value"] = "hard", 0.6666
    rows += [second, third]
    shown = tables(rows)
    assert ("sheep counted", "GAN", "0", "42", "1", 'field: "left"') in shown["Dreams, figures"].rows
    assert shown["Battle, other figures"].rows[0][3] == "7"
    markdown = "".join(map(to_markdown, shown.values()))
    assert all(text in markdown for text in ("mode count", "joules", "1,234", "0.7777"))
    table = find(rows, "Classification error")
    assert [row[1] for row in table.rows if row[0] == "GAN"] == ["50,000", "77"]
    assert cells(table, "GAN")[f"n{SPACE}={SPACE}100"] == f"{extra['value']:.4f} / 0.6666"


def test_kernels_and_feature_networks_are_kept_apart() -> None:
    shown = tables(make_rows(MODELS, (0,), ("knn", "rbf")))
    assert [title for title in shown if title.startswith("Classification")] == [
        "Classification error, k-nearest-neighbour kernel, neighbours 7, alpha 0.2",
        "Classification error, radial kernel, gamma 0.3, alpha 0.2",
    ]
    for title, table in shown.items():
        if title.startswith("Classification"):
            assert (
                cells(table, "labelled images alone (1-nearest neighbour)")[f"n{SPACE}={SPACE}100"]
                == "0.2677"
            )


def test_errors_by_features_have_tables_of_their_own() -> None:
    rows = make_rows(MODELS, (0,))
    seen = copy.deepcopy([row for row in rows if row["table"] == "classification"])
    for row in seen:
        row["settings"]["features"] = "resnet mean maps"
        row["value"] /= 2
    kernel = "k-nearest-neighbour kernel, neighbours 7, alpha 0.2"
    shown = tables([*rows, *seen])
    titles = [title for title in shown if title.startswith("Classification")]
    assert titles == [
        f"Classification error, {kernel}",
        f"Classification error, by resnet mean maps, {kernel}",
    ]
    alone = "labelled images alone (1-nearest neighbour)"
    first, second = (cells(shown[title], alone)[f"n{SPACE}={SPACE}100"] for title in titles)
    assert float(second) == pytest.approx(float(first) / 2, abs=1e-4)
    assert shown[titles[1]].command.endswith("--features")


def test_settings_that_were_chosen_for_each_model_share_a_table() -> None:
    rows = make_rows(MODELS, (0,))
    for row in rows:
        if row["table"] == "classification" and row["settings"]["kernel"]:
            row["settings"] |= {"chosen": True, "neighbours": len(row["model"])}
    titles = [title for title in tables(rows) if title.startswith("Classification")]
    assert titles == ["Classification error, settings chosen for each model on held-out training images"]
    table = find(rows, "Classification")
    assert "neighbours 10" in table.caption
    assert table.command.endswith("--choose")


def test_commands_quote_what_a_shell_would_read() -> None:
    rows = make_rows(("gan; rm -r x", "capsulegan"), (0,))
    assert "'runs/gan; rm -r x-s0'" in find(rows, "Generative").command


def test_markdown_is_a_table_and_escapes() -> None:
    table = Table(
        "t", "A <b> title", "Of *x*.", ("a|b", "n"), (("c_d", "1.0"), ("[e]", f"{MINUS}2")), "do it"
    )
    assert to_markdown(table) == (
        "### A &lt;b> title\n\n| a\\|b | n |\n|---|---:|\n| c\\_d | 1.0 |\n"
        f"| \\[e] | {MINUS}2 |\n\n"
        "Of \\*x\\*.\n\n    do it\n"
    )


def test_without_rows_there_are_no_tables() -> None:
    assert tables_of({"data": {}, "rows": []}) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (600000, "600,000"),
        (0.05134, "0.05134"),
        (-12.3456, f"{MINUS}12.35"),
        (1.25e-12, "1.25e-12"),
    ],
)
def test_numbers_keep_four_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_results_survive_json() -> None:
    rows = make_rows(MODELS, (0, 1))
    assert tables(json.loads(json.dumps(rows))) == tables(rows)
