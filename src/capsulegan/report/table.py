"""One table of string cells, and how rows of a study become cells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capsulegan.report import words
from capsulegan.report.intervals import mean_of

Row = Mapping[str, Any]
Seeds = dict[Any, float]

NOT_MADE = "—"
NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True)
class Table:
    """A table ready to be shown anywhere.

    Attributes
    ----------
    name : str
        The table of the results that it was made from, such as "battle".
    title, caption : str
        What it shows, and what a reader must know to read it.
    columns : tuple of str
        The column titles.
    rows : tuple of tuple of str
        The cells.
    command : str
        What makes these figures again, typed in the study folder.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    command: str

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers alone."""
        blank = ("", NOT_MADE, NOT_MEASURABLE)
        columns = [
            [row[index] for row in self.rows if row[index] not in blank] for index in range(len(self.columns))
        ]
        return tuple(
            bool(column) and all(c[0] in "0123456789≤" + words.MINUS for c in column) for column in columns
        )


def to_markdown(table: Table) -> str:
    """Return the table as GitHub's Markdown, with its title, caption and command."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(map(_markdown, cells)) + " |"

    rule = "|" + "|".join("---:" if numeric else "---" for numeric in table.numeric or table.columns) + "|"
    grid = [line(table.columns), rule, *map(line, table.rows)]
    command = "    " + " ".join(table.command.split())
    parts = (f"### {_markdown(table.title)}", "\n".join(grid), _markdown(table.caption), command)
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    """Escape what Markdown or the HTML inside it would take for itself."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for mark in "|`*_[":
        text = text.replace(mark, "\\" + mark)
    return text


def chosen(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Return the rows that have these values, looked up in the row and then in its settings."""
    return [row for row in rows if all(setting(row, key) == value for key, value in wanted.items())]


def setting(row: Row, key: str) -> Any:
    """Return a row's value or, if it has none of that name, its setting; None if it has neither."""
    return row[key] if key in row else row["settings"].get(key)


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values of these keys, in the order of appearance; no row is lost."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        values = (setting(row, key) for key in keys)
        named = tuple(json.dumps(v) if isinstance(v, dict | list) else v for v in values)
        groups.setdefault(named, []).append(row)
    return groups


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """Return a key's different values, None left out, in the order of appearance."""
    values: list[Any] = []
    for row in rows:
        if (value := setting(row, key)) is not None and value not in values:
            values.append(value)
    return values


def measured(row: Row) -> bool:
    """Whether a row holds a finite number."""
    value = row["value"]
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def by_seed(rows: Iterable[Row]) -> Seeds:
    """Return the measured value of each seed."""
    return {row["seed"]: float(row["value"]) for row in rows if measured(row)}


def cell(rows: Iterable[Row], decimals: int | None = None, bounds: bool = False) -> str:
    """Return the rows of one figure as a cell: mean and 95 % interval over the seeds.

    One seed has no such interval; `bounds` shows the one that its row brings, which is over images.
    Rows of one seed that differ in a setting which the table does not show stand side by side.
    """
    layers: list[dict[Any, Row]] = []
    for row in rows:
        for layer in layers:
            if layer.get(row["seed"], row)["settings"] == row["settings"]:
                layer[row["seed"]] = row
                break
        else:
            layers.append({row["seed"]: row})
    return " / ".join(_cell(list(layer.values()), decimals, bounds) for layer in layers) or NOT_MADE


def _cell(rows: Sequence[Row], decimals: int | None, bounds: bool) -> str:
    values = by_seed(rows)
    if not values:
        return NOT_MEASURABLE
    mean = mean_of(list(values.values()))
    if mean.half_width:
        return plus_minus(mean.value, mean.half_width, decimals)
    text = words.number(mean.value, decimals)
    if mean.seeds > 1:
        return text
    settings = next(row["settings"] for row in rows if measured(row))
    low, high, spread = (settings.get(key) for key in ("low", "high", "spread"))
    if bounds and low is not None and high is not None:
        return f"{text} [{words.number(low, decimals)}, {words.number(high, decimals)}]"
    if spread is not None:
        return f"{text} (spread {words.number(spread, words.decimals_of(spread, 2))})"
    return text


def plus_minus(value: float, half_width: float, decimals: int | None = None) -> str:
    """Return "12.3 ± 0.4", by default to two significant digits of the half-width."""
    places = words.decimals_of(half_width, 2) if decimals is None else decimals
    return f"{words.number(value, places)} ± {words.number(half_width, places)}"


def seeds_cell(cells: Iterable[Iterable[Row]]) -> str:
    """Return how many seeds the cells of one line have: "1 seed", "3 seeds", "2 to 3 seeds"."""
    sizes = [len(by_seed(rows)) for rows in cells]
    low, high = min(filter(None, sizes), default=0), max(sizes, default=0)
    return words.count(high, "seed") if low == high else f"{low} to {words.count(high, 'seed')}"


def notes(rows: Iterable[Row]) -> str:
    """Return why figures could not be measured, as a sentence for the caption."""
    reasons = distinct((row for row in rows if not measured(row)), "note")
    return f" Not measurable: {'; '.join(map(str, reasons))}." if reasons else ""
