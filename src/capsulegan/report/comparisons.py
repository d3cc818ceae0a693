"""How models compare, seed by seed: pairs of them, and the two factors of the 2 x 2 design."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from capsulegan.report import words
from capsulegan.report.intervals import Mean, mean_of, paired_difference
from capsulegan.report.table import NOT_MADE, Seeds, Table, plus_minus
from capsulegan.training.recipes import ADVERSARIAL, BEST

EFFECTS = {
    "capsules instead of convolutions": (-0.5, 0.5, -0.5, 0.5),
    "margin loss instead of cross-entropy": (-0.5, 0.5, 0.5, -0.5),
    "interaction": (1.0, 1.0, -1.0, -1.0),
}
"""What each of `ADVERSARIAL` counts: a mean over the other factor, or a difference of two differences."""
INTERVAL = (
    "with its 95 % interval and the two-sided p of Student's t on the differences of the seeds. An interval "
    "that contains 0 shows no difference. Not corrected for the number of comparisons."
)

Columns = Mapping[str, Mapping[str, Seeds]]
"""Column title -> model -> seed -> value."""


def comparisons(
    name: str, subject: str, command: str, columns: Columns, decimals: int | None = None
) -> list[Table]:
    """Return the tables of paired differences and of effects, if there are two common seeds."""
    return [
        *differences(name, f"Differences, {subject}", command, columns, decimals),
        *effects(name, f"Capsules or loss, {subject}", command, columns, decimals),
    ]


def differences(
    name: str, title: str, command: str, columns: Columns, decimals: int | None = None
) -> list[Table]:
    """Return the table of paired differences between models."""
    models = words.in_order(model for values in columns.values() for model in values)
    lines = {
        f"{words.model_name(second)} minus {words.model_name(first)}": [
            paired_difference(values.get(first, {}), values.get(second, {})) for values in columns.values()
        ]
        for first, second in itertools.combinations(models, 2)
    }
    caption = f"Mean difference over the seeds that both models have, {INTERVAL}"
    return _table(name, title, caption, command, columns, lines, decimals)


def effects(
    name: str, title: str, command: str, columns: Columns, decimals: int | None = None
) -> list[Table]:
    """Return the table of the effects of the discriminator, of the loss, and of their interaction."""
    lines: dict[str, list[Mean | None]] = {}
    for values in columns.values():
        for effect, mean in effects_on(values).items():
            lines.setdefault(effect, []).append(mean)
    caption = (
        "The 2 x 2 design: what capsules change, averaged over both losses; what the margin loss changes, "
        "averaged over both discriminators; and how much more it changes below capsules than below "
        f"convolutions. Mean over the seeds that all four models have, {INTERVAL}"
    )
    return _table(name, title, caption, command, columns, lines, decimals)


def effects_on(values: Mapping[str, Seeds]) -> dict[str, Mean | None]:
    """Return each effect on a figure of the models, by its name: None with fewer than two common seeds."""
    return {
        effect + recipe: contrast([values.get(model + ending, {}) for model in ADVERSARIAL], weights)
        for ending, recipe in (("", ""), (BEST, ", best recipes"))
        for effect, weights in EFFECTS.items()
    }


def contrast(models: Sequence[Seeds], weights: Sequence[float]) -> Mean | None:
    """Return the mean of a weighted sum of models over their common seeds; None with fewer than two."""
    common = [seed for seed in models[0] if all(seed in other for other in models)]
    if len(common) < 2:
        return None
    return mean_of(
        [sum(w * values[seed] for w, values in zip(weights, models, strict=True)) for seed in common]
    )


def _table(
    name: str,
    title: str,
    caption: str,
    command: str,
    columns: Columns,
    lines: Mapping[str, Sequence[Mean | None]],
    decimals: int | None,
) -> list[Table]:
    """Return a table of means over seeds; none if no line has one."""
    rows = []
    for label, means in lines.items():
        if sizes := {mean.seeds for mean in means if mean}:
            seeds = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else str(*sizes)
            rows.append((label, *(_cell(mean, decimals) for mean in means), f"{seeds} seeds"))
    return [Table(name, title, caption, ("", *columns, "seeds"), tuple(rows), command)] if rows else []


def _cell(mean: Mean | None, decimals: int | None) -> str:
    if mean is None or mean.half_width is None:
        return NOT_MADE
    p = "" if mean.p_value is None else f" (p {words.p_value(mean.p_value)})"
    return plus_minus(mean.value, mean.half_width, decimals) + p
