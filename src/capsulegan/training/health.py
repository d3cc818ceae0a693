"""Signs that adversarial training has failed, read off the log."""

from __future__ import annotations

from collections.abc import Sequence

from capsulegan.training.log import Row

PATIENCE = 10
"""Rows in a row that must show a sign before it counts."""
SEPARATION = 0.85
"""Mean probability on real minus that on generated images at which the discriminator has won. The margin
loss is zero from 0.8 on, so there the generator is given next to nothing to learn from."""
DEVIATION = 0.05
"""Share of the real images' pixel deviation below which the generator draws one image only."""

ENTROPY = 0.5
"""Share of its own highest class entropy below which the generator has lost classes that it once drew."""

WATCHED = ("real_probability", "fake_probability", "image_deviation")


def diagnose(rows: Sequence[Row], real_deviation: float) -> str | None:
    """Return what the last rows show, or None if all is well.

    One of 'non-finite', 'discriminator won', 'generator collapsed' and 'classes lost'.

    Parameters
    ----------
    rows : sequence of log rows
        The newest last.
    real_deviation : float
        Standard deviation over real images of a pixel in [-1, 1], averaged over pixels.
    """
    if rows and None in rows[-1].values():
        return "non-finite"
    recent = rows[-PATIENCE:]
    if len(recent) < PATIENCE or any(row.get(name) is None for row in recent for name in WATCHED):
        return None
    if all(row["real_probability"] - row["fake_probability"] > SEPARATION for row in recent):
        return "discriminator won"
    if all(row["image_deviation"] < DEVIATION * real_deviation for row in recent):
        return "generator collapsed"
    entropies = [row.get("class_entropy") or 0.0 for row in rows]
    if max(entropies[-PATIENCE:]) < ENTROPY * max(entropies):
        return "classes lost"
    return None
