"""The semi-supervised test: classification error with generated images as unlabelled data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from capsulegan.report import paper, words
from capsulegan.report.comparisons import comparisons
from capsulegan.report.table import (
    Row,
    Table,
    by_seed,
    cell,
    chosen,
    distinct,
    grouped,
    notes,
    seeds_cell,
)

KERNELS = {"knn": "k-nearest-neighbour", "rbf": "radial", "local": "locally scaled radial"}
KERNEL_SETTINGS = ("kernel", "neighbours", "gamma", "alpha")


def kernel_groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each label-spreading kernel under its description.

    Rows without a kernel, as those of the labelled images alone, belong to every group.
    """
    errors = chosen(rows, table="classification", figure="label_spreading_error")
    found = []
    for (features,), own in grouped(errors, "features").items():
        where = f"by {features}, " if features else ""
        shared = [row for row in own if row["settings"].get("kernel") is None]
        groups: dict[str, list[Row]] = {}
        for row in own:
            if row["settings"].get("kernel") is not None:
                groups.setdefault(where + _kernel(row), []).append(row)
        if shared and not groups:
            groups[where.removesuffix(", ")] = []
        found += [(name, group + shared) for name, group in groups.items()]
    return found


def _kernel(row: Row) -> str:
    if row["settings"].get("chosen"):
        return "settings chosen for each model on held-out training images"
    return _described(row)


def _described(row: Row) -> str:
    settings = row["settings"]
    kernel = KERNELS.get(settings["kernel"], str(settings["kernel"]))
    rest = (f"{key} {settings[key]:g}" for key in KERNEL_SETTINGS[1:] if _is_number(settings.get(key)))
    return ", ".join([f"{kernel} kernel", *rest])


def _choices(rows: Sequence[Row]) -> str:
    """Return which settings were chosen how often, as a sentence for the caption."""
    found = Counter(_described(row) for row in rows if row["settings"].get("chosen"))
    return f" Chosen: {'; '.join(f'{each} ({n} x)' for each, n in found.most_common())}." if found else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def label_counts(rows: Sequence[Row]) -> list[int]:
    """Return the numbers of labelled images, ascending."""
    return sorted(distinct(rows, "labels"))


def lines_of(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Return (model, unlabelled images, rows) of each line, models before controls.

    One line for a model whose unlabelled images fall as the labelled ones grow, as real ones do.
    """
    lines = []
    for model in words.in_order(row["model"] for row in rows):
        own = chosen(rows, model=model)
        parts = {count: group for (count,), group in grouped(own, "unlabelled").items()}
        if sum(len(label_counts(group)) for group in parts.values()) == len(label_counts(own)):
            lines.append((model, _at_most(list(parts)), own))
        else:
            lines += [(model, _at_most([count]), group) for count, group in parts.items()]
    return lines


def _at_most(counts: Sequence[Any]) -> str:
    """Return some numbers of images in few characters: the one there is, or what none exceeds."""
    known = [count for count in counts if count is not None]
    return "≤ " * (len(known) > 1) + f"{max(known):,}" if known else ""


def printed_data(rows: Sequence[Row], data: str) -> str:
    """Return the data whose printed errors belong beside ours: none beside features, which no paper had."""
    return "" if distinct(rows, "features") else data


def classification_tables(rows: Sequence[Row], data: str, runs: Sequence[str]) -> list[Table]:
    """Return for each kernel the errors beside the paper's, and the paired differences."""
    tables = []
    for kernel, group in kernel_groups(rows):
        labels = label_counts(group)
        by_features = bool(distinct(group, "features"))
        data_there = printed_data(group, data)
        published = paper.CLASSIFICATION.get(data_there, {})
        printed = {n for errors in published.values() for n in errors}
        columns = ["unlabelled images from", "unlabelled"]
        for n in labels:
            columns += (
                [words.labelled(n), f"paper, {words.labelled(n)}"] if n in printed else [words.labelled(n)]
            )
        lines = []
        for model, unlabelled, own in lines_of(group):
            line = [words.CONTROLS.get(model) or words.model_name(model)]
            line.append(unlabelled)
            for n in labels:
                line.append(cell(chosen(own, labels=n), 4))
                if n in printed:
                    error = paper.errors_of(data_there, model).get(n)
                    line.append("" if error is None else words.number(error, 4))
            lines.append((*line, seeds_cell(chosen(own, labels=n) for n in labels)))
        command = " ".join(["capsulegan classify", *runs[:1], "--labels", *map(str, labels)])
        command += " --choose" * any(row["settings"].get("chosen") for row in group)
        command += " --features" * by_features
        caption = (
            f"Share of the {' or '.join(f'{n:,}' for n in distinct(group, 'n'))} test images that "
            "label spreading gets wrong when n images are labelled and the generated ones stand for the "
            "unlabelled: lower is better. With two or more seeds: mean ± 95 % interval (Student's t)."
        )
        if published:
            caption += f" Paper: {paper.CITATION}, Table 2, single runs."
        title = f"Classification error, {kernel}" if kernel else "Classification error"
        caption += _choices(group) + notes(group)
        tables.append(Table("classification", title, caption, (*columns, "seeds"), tuple(lines), command))
        values = {
            words.labelled(n): {
                model: by_seed(chosen(group, model=model, labels=n))
                for model in words.in_order(row["model"] for row in group)
                if model not in words.CONTROLS
            }
            for n in labels
        }
        tables += comparisons("classification", kernel or "error", command, values, 4)
    return tables
