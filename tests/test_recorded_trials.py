"""What the log of experiments says of trials and recipes are figures of the records under results/."""

import math
import re
import statistics

import pytest

from records import EXPERIMENTS, ROOT, cells_of, record

KINDS = ("as it is", "averaged")


def test_the_tables_of_recipes_are_rows_of_the_record():
    """Lines of one seed: kernel distance x 1000, Frechet distance, recognised share, class entropy."""
    names = ("recipes", "recipes-cifar10", "recipes-cifar10-longer")
    rows = [row for name in names for row in record(f"{name}.json")["rows"]]
    figures = ("kernel_distance", "frechet_distance", "recognised", "class_entropy")
    lines = re.findall(r"^\| `(?:gan|capsulegan)` \|.*\d.*$", EXPERIMENTS, re.MULTILINE)
    of_one_seed = [line for line in lines if "±" not in line]
    assert len(of_one_seed) > 4
    for line in of_one_seed:
        model, recipe, *cells = cells_of(line)[:6]
        own = [row for row in rows if (row["model"], row["trial"]) == (model.strip("`"), trial_of(recipe))]
        found = [row[kind] for row in own for kind in row if kind in KINDS]
        shown = [float(cell) for cell in cells]
        places = [10.0 ** -len(cell.partition(".")[2]) for cell in cells]
        assert any(
            all(
                abs(score[name] * (1000 if name == "kernel_distance" else 1) - value) <= 0.51 * place
                for name, value, place in zip(figures, shown, places, strict=True)
            )
            for score in found
        ), line


@pytest.mark.parametrize(
    ("name", "heading", "shown", "other"),
    [
        ("recipes-cifar10", "coverage | Fréchet, averaged |", *KINDS),
        ("recipes-cifar10-longer", "coverage | Fréchet, not averaged |", *reversed(KINDS)),
    ],
)
def test_the_tables_of_recipes_for_cifar10_are_the_records(name, heading, shown, other):
    """All of them: a line for each row, with coverage and the other kind of generator's distance besides."""
    rows = record(f"{name}.json")["rows"]
    lines = EXPERIMENTS.split(heading)[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        model, recipe, *cells = cells_of(line)
        scores = row[shown]
        assert (model.strip("`"), trial_of(recipe)) == (row["model"], row["trial"])
        assert cells == [
            f"{1000 * scores['kernel_distance']:.0f}",
            f"{scores['frechet_distance']:.1f}",
            *(f"{scores[figure]:.3f}" for figure in ("recognised", "class_entropy", "coverage")),
            f"{row[other]['frechet_distance']:.1f}",
        ]


def test_the_table_of_few_training_images_is_the_record():
    lines = (
        EXPERIMENTS.split("| training images, model | augmentation |")[1].split("\n\n")[0].splitlines()[2:]
    )
    for line, row in zip(lines, record("recipes-cifar10-few.json")["rows"], strict=True):
        scores = row["averaged"]
        assert cells_of(line) == [
            f"{row['training_images']:,}, `{row['model']}`",
            row["settings"].get("augmentation", "none"),
            f"{scores['frechet_distance']:.1f}",
            f"{scores['coverage']:.3f}",
            f"{scores['class_entropy']:.3f}",
        ]


def trial_of(recipe):
    """The name in the record of a recipe as tables have it."""
    trial = recipe.lower().replace("r1, weight", "r1")
    return re.sub("^r1 1, both 4e-4(, batch norm)?, (?!batch norm$)", "best, ", trial)


def test_the_table_of_network_and_loss_is_the_record():
    """Lines of a network, columns of a loss; each cell Frechet distance and recognised share of seed 0.

    Of the convolutional network with the step sizes that it had then.
    """
    lines = EXPERIMENTS.split("| | cross-entropy | margin loss |")[1].split("\n\n")[0].splitlines()[2:]
    models = (("gan-best", "gan-margin-best"), ("capsulegan-bce-best", "capsulegan-best"))
    for line, pair, source in zip(lines, models, ("mnist-smaller-steps", "mnist/results"), strict=True):
        rows = record(f"{source}.json")["rows"]
        for cell, model in zip(cells_of(line)[1:], pair, strict=True):
            found = {row["figure"]: row["value"] for row in rows if (row["model"], row["seed"]) == (model, 0)}
            assert cell == f"{found['frechet_distance']:.4f}, {found['recognised_share']:.3f}"


def test_the_table_of_larger_steps_is_the_record():
    """Cells: with larger steps, then in brackets the same model with smaller ones, and CapsuleGAN."""
    study, smaller = (record(f"{name}.json")["rows"] for name in ("mnist/results", "mnist-smaller-steps"))
    lines = EXPERIMENTS.split("| model, seed | Fréchet")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == 6
    for line in lines:
        name, *cells = cells_of(line)
        model, seed = name.replace("`", "").split(", ")
        sources = ((study, model), (smaller, model), (study, "capsulegan-best"))
        figures = ("frechet_distance", "recognised_share", "coverage", "class_entropy")
        for cell, figure, places in zip(cells, figures, (4, 3, 3, 3), strict=True):
            wanted = [(each, int(seed), figure) for _, each in sources]
            values = [
                next(row["value"] for row in rows if (row["model"], row["seed"], row["figure"]) == key)
                for (rows, _), key in zip(sources, wanted, strict=True)
            ]
            new, old, capsules = (f"{value:.{places}f}" for value in values)
            assert cell == f"{new} ({old}; {capsules})"


def test_the_tables_of_larger_steps_and_of_long_runs_on_cifar10_are_the_records():
    found = [record(f"{name}.json")["rows"] for name in ("cifar10-smaller-steps", "cifar10/results")]
    lines = EXPERIMENTS.split("| | 2e-4, halved every 500,000 |")[1].split("\n\n")[0].splitlines()[2:]
    for line in lines:
        name, *cells = cells_of(line)
        keys = {"table": "evaluation", "figure": "frechet_distance", "model": name.strip("`")}
        for cell, rows in zip(cells, found, strict=True):
            values = [row["value"] for row in rows if keys.items() <= row.items()]
            assert cell == (f"{statistics.fmean(values):.2f}" if values else "")
    longer = [record(f"{name}.json")["rows"] for name in ("cifar10-long/results", "cifar10-long-plain")]
    columns = [distances_over_training(rows, f"{m}-best") for m in ("gan", "capsulegan") for rows in longer]
    lines = EXPERIMENTS.split("| images | `gan-best` | without |")[1].split("\n\n")[0].splitlines()[2:]
    assert [int(cells_of(line)[0].replace(",", "")) for line in lines] == sorted(set().union(*columns))
    for line in lines:
        images, *cells = cells_of(line)
        shown = [float(cell) if cell else None for cell in cells]
        found = [column.get(int(images.replace(",", ""))) for column in columns]
        assert shown == [each and round(each, 2) for each in found]
    for before, column in (("hair** (", columns[2]), ("more** (", columns[0])):
        assert f"{before}{column[max(column)] / column[1_500_032]:.2f}" in EXPERIMENTS


def test_what_is_said_of_trials_and_long_runs_on_cifar10_follows_from_the_records():
    readme, log = (" ".join(text.split()) for text in ((ROOT / "README.md").read_text(), EXPERIMENTS))
    long, study = (record(f"cifar10{name}/results.json")["rows"] for name in ("-long", ""))
    gan, capsules = (distances_over_training(long, f"{name}-best") for name in ("gan", "capsulegan"))
    spans = [f"from {each[1_500_032]:.1f} to {each[max(each)]:.1f}" for each in (capsules, gan)]
    assert f"bring CapsuleGAN {spans[0]} and the GAN {spans[1]}" in readme
    assert f"the longest here saw {round(max(capsules), -5):,}" in readme

    earlier = record("cifar10-smaller-steps.json")["rows"]
    shares = [
        each[max(each)] / mean_distance(earlier, model)
        for each, model in ((capsules, "capsulegan-best"), (gan, "gan-best"))
    ]
    assert f"has at that length it is {shares[0]:.2f} and {shares[1]:.2f}" in log
    models = ("capsulegan-best", "capsulegan-bce-best", "gan-best", "gan-margin-best")
    means = [mean_distance(study, model) for model in models]
    assert sum(means[:2]) / sum(means[2:]) == pytest.approx(1.2, abs=0.02), "a fifth larger"

    trials = {
        (row["trial"], row["model"]): row["averaged"]["frechet_distance"]
        for row in record("recipes-cifar10-longer.json")["rows"]
    }

    def ratio(trial, model):
        return trials[f"the same, {trial}", model] / trials["r1 0.1, halved every 1,500,000", model]

    gains = [f"{100 * (1 - ratio('both 4e-4', model)):.0f} %" for model in ("gan", "capsulegan")]
    assert f"by {gains[0]} for the GAN, by {gains[1]} for CapsuleGAN" in log
    costs = [
        f"{100 * (math.sqrt(ratio(policies, 'gan') * ratio(policies, 'capsulegan')) - 1):.0f} %"
        for policies in ("mirror", "mirror,translation", "mirror,color,translation,cutout")
    ]
    assert f"mirror {costs[0]}, with translation {costs[1]}, all four policies {costs[2]}" in log
    few = [row for row in record("recipes-cifar10-few.json")["rows"] if row["training_images"] == 500]
    for model in ("gan", "capsulegan"):
        plain, changed = (row["averaged"]["frechet_distance"] for row in few if row["model"] == model)
        assert changed < plain / 2, "more than halves"


def mean_distance(rows, model):
    """The mean Frechet distance of a study's runs of a model."""
    keys = {"table": "evaluation", "figure": "frechet_distance", "model": model}
    return statistics.fmean(row["value"] for row in rows if keys.items() <= row.items())


def distances_over_training(rows, model):
    """Frechet distances of a model by the images that it has seen."""
    keys = {"table": "progress", "figure": "frechet_distance", "model": model}
    return {row["settings"]["images_seen"]: row["value"] for row in rows if keys.items() <= row.items()}
