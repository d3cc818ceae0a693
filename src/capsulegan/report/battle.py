"""The Generative Adversarial Metric: two models, each judged by the other's discriminator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from capsulegan.report import paper, words
from capsulegan.report.table import (
    NOT_MADE,
    Row,
    Table,
    cell,
    chosen,
    distinct,
    grouped,
    notes,
    seeds_cell,
)

RATIOS = ("r_samples", "r_test")
ACCURACIES = {
    "first_real_accuracy": "first on real",
    "second_real_accuracy": "second on real",
    "first_on_second_accuracy": "first on second's",
    "second_on_first_accuracy": "second on first's",
}
RULES = {"paper": "0.5\N{NO-BREAK SPACE}(paper)", "balanced": "balanced"}


def battles_of(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Return (pair, rule, rows) of each battle, the paper's cut first."""
    rows = [row for row in rows if row["table"] == "battle" and row["figure"] in (*RATIOS, *ACCURACIES)]
    pairs = list(dict.fromkeys(row["model"] for row in rows))
    battles = [(pair, str(rule), own) for (pair, rule), own in grouped(rows, "model", "rule").items()]
    return sorted(battles, key=lambda battle: (pairs.index(battle[0]), battle[1] != "paper"))


def verdicts(pair: str, rows: Sequence[Row]) -> list[str]:
    """Return the verdict of each seed in words: "CapsuleGAN wins", "tie", "no verdict"."""
    first, _, second = pair.partition(":")
    winners = {"first wins": first, "second wins": second}
    given: dict[Any, str] = {}
    for row in rows:
        if (verdict := row["settings"].get("verdict")) is not None:
            winner = winners.get(verdict)
            given[row["seed"]] = f"{words.model_name(winner)} wins" if winner else str(verdict)
    return list(given.values())


def verdict_cell(pair: str, rows: Sequence[Row]) -> str:
    """Return the verdict of one seed, or how many seeds gave which."""
    given = verdicts(pair, rows)
    if len(given) < 2:
        return "".join(given) or NOT_MADE
    return ", ".join(
        f"{verdict} in {times} of {len(given)}" for verdict, times in Counter(given).most_common()
    )


def battle_tables(rows: Sequence[Row], data: str, runs: Sequence[str]) -> list[Table]:
    """Return the ratios with their verdicts, and each seed's accuracies with the reason given."""
    battles = battles_of(rows)
    if not battles:
        return []
    published = paper.BATTLE.get(data, {})
    columns = ["first : second", "cut"]
    for ratio in RATIOS:
        columns += [ratio, f"paper, {ratio}"] if published else [ratio]
    lines, details = [], []
    for pair, rule, own in battles:
        line = [words.model_name(pair), RULES.get(rule, rule)]
        for ratio in RATIOS:
            line.append(cell(chosen(own, figure=ratio), 3, bounds=True))
            if published:
                printed = paper.ratios_of(data, pair) if rule == "paper" else {}
                line.append(words.number(printed[ratio], 2) if printed else "")
        seeds = seeds_cell(chosen(own, figure=ratio) for ratio in RATIOS)
        lines.append((*line, verdict_cell(pair, own), seeds))
        for seed in dict.fromkeys(row["seed"] for row in own):
            mine = chosen(own, seed=seed)
            accuracies = (cell(chosen(mine, figure=figure), 3, bounds=True) for figure in ACCURACIES)
            reasons = "; ".join(map(str, distinct(mine, "reason")))
            details.append((words.model_name(pair), line[1], str(seed), *accuracies, reasons))
    used = [row for _, _, own in battles for row in own]
    caption = (
        "r_samples = accuracy of the first's discriminator on the second's images / of the second's on "
        "the first's; r_test = the same on real test images. Below 1 the second model fares better, "
        "provided that r_test is near 1. In brackets the 95 % interval of one battle; with two or more "
        "seeds, mean ± 95 % interval (Student's t)."
    )
    if tolerances := distinct(used, "tolerance"):
        caption += f" Near 1 means within {' or '.join(map(str, tolerances))}."
    if kinds := distinct(used, "batch_norm"):
        caption += f" Batch norm: {' or '.join(map(str, kinds))}."
    if published:
        caption += f" Paper: {paper.CITATION}, Table 1, single runs."
    command = " ".join(["capsulegan battle", *runs[:2]])
    ratios = Table(
        "battle", "Generative Adversarial Metric", caption + notes(used), (*columns, "verdict", "seeds"),
        tuple(lines), command,
    )  # fmt: skip
    explained = "Share of images judged rightly by each discriminator, and why the verdict is what it is."
    heads = ("first : second", "cut", "seed", *ACCURACIES.values(), "reason")
    return [ratios, Table("battle", "The four accuracies", explained, heads, tuple(details), command)]
