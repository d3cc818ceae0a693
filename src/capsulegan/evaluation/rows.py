"""The rows that results are made of."""

from __future__ import annotations

import math
from typing import Any

ResultRow = dict[str, Any]


def result_row(
    table: str,
    figure: str,
    model: str,
    seed: int,
    value: float,
    n: int,
    settings: dict[str, Any],
    digest: str,
    seconds: float,
) -> ResultRow:
    """Return one figure with all that it depends on, as a JSON object.

    Parameters
    ----------
    table : str
        'classification', 'battle', 'evaluation', 'progress' or 'training'.
    figure : str
        What was measured.
    model : str
        Of what: a model, a control, or 'first:second' in a battle.
    seed : int
        Of the run and of what was drawn.
    value : float
        The figure; one that is not finite is written as null with its name in the settings.
    n : int
        On how many images.
    settings : dict
        How it was measured.
    digest : str
        Of the data.
    seconds : float
        What the measurement took.
    """
    from capsulegan.training.environment import version

    if not math.isfinite(value):
        settings = {"note": f"the value is {value}", **settings}
    return {
        "table": table,
        "figure": figure,
        "model": model,
        "seed": seed,
        "value": value if math.isfinite(value) else None,
        "n": n,
        "settings": settings,
        "data_digest": digest,
        "version": version(),
        "seconds": round(seconds, 3),
    }
