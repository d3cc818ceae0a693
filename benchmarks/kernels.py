"""How label spreading depends on its kernel: error on held-out training images, for many settings.

    python benchmarks/kernels.py DATA [--runs RUN ...] [--unlabelled 10000] [--labels 100 1000] [--seed 0]
                                 [--out results/kernels/DATA.json]

Classified are 3,000 of the training images that `--choose` holds out; the test set is not touched. Unlabelled
images are those of each run, real ones that are neither labelled nor held out, and noise. A figure of the
error against the kernel's width is drawn beside the record.
"""

from __future__ import annotations

import argparse
import itertools
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from capsulegan import load
from capsulegan.data import load_data
from capsulegan.evaluation.classification import Exam, prepare_exam
from capsulegan.evaluation.label_spreading import Spreader
from capsulegan.evaluation.settings import REACH, SpreadingSettings, described
from capsulegan.files import read_json, write_json
from capsulegan.training.environment import environment

QUERIES = 3_000
WIDTHS = {"rbf": (0.01, 0.03, 0.1, 0.3), "local": (0.5, 1.0, 2.0, 3.0, 6.0, 12.0)}
ALPHAS = (0.2, 0.9)
SETTINGS = (
    *(SpreadingSettings("knn", count, alpha=alpha) for count in (7, 15, REACH) for alpha in ALPHAS),
    *(
        SpreadingSettings(kernel, count, width, alpha)  # type: ignore[arg-type]
        for kernel, widths in WIDTHS.items()
        for count, width, alpha in itertools.product((7, REACH), widths, ALPHAS)
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--runs", nargs="*", default=[])
    parser.add_argument("--unlabelled", type=int, default=10_000)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or Path("results/kernels") / f"{arguments.data}.json"
    train, test = (load_data(arguments.data, split) for split in ("train", "test"))
    exam = prepare_exam(train, test, arguments.labels, arguments.seed, SpreadingSettings(), choose=True)
    document: dict[str, Any] = read_json(out) if out.exists() else {"rows": []}  # type: ignore[assignment]
    for name in [*arguments.runs, "real", "noise"]:
        images = unlabelled_images(name, exam, arguments.unlabelled)
        source = name if name in ("real", "noise") else load(name).config.model
        rows = errors_of(exam, images)
        facts = {"source": source, "seed": arguments.seed, "date": date.today().isoformat()}
        key = {"source": source, "seed": arguments.seed, "unlabelled": len(images)}
        kept = [row for row in document["rows"] if not key.items() <= row.items()]
        document = {"environment": environment(), "rows": [*kept, *(facts | row for row in rows)]}
        write_json(out, document)
        best = min(rows, key=lambda row: row["error"])
        print(source, best, flush=True)
    draw(document["rows"], arguments.labels, out.with_suffix(".png"))


def unlabelled_images(name: str, exam: Exam, count: int) -> np.ndarray:
    """Return a run's images, real ones that are neither labelled nor held out, or noise."""
    if name == "noise":
        shape = (count, *exam.train.images.shape[1:])
        return np.random.default_rng(exam.seed).integers(0, 256, shape, dtype=np.uint8)
    if name == "real":
        return exam.train.images[exam.unlabelled(exam.labels[-1])[:count]]
    return load(name).sample(count, exam.seed)


def errors_of(exam: Exam, images: np.ndarray) -> list[dict[str, Any]]:
    """Return the error on the held-out images with every setting and number of labels."""
    assert exam.train.labels is not None
    held_out = exam.held_out[:QUERIES]
    spreader = Spreader(images, exam.train.images[held_out])
    rows = []
    for n in exam.labels:
        known = exam.order[:n]
        found = spreader.errors(
            exam.train.images[known], exam.train.labels[known], exam.train.labels[held_out], SETTINGS
        )
        rows += [
            {
                "unlabelled": len(images),
                "labels": n,
                **described(each.settings),
                "error": each.error.value,
                "n": each.error.n,
            }
            for each in found
        ]
    return rows


def draw(rows: list[dict[str, Any]], labels: list[int], path: Path) -> None:
    """Draw the error against the width, one panel a kernel and number of labels, alpha 0.2, 50 neighbours."""
    figure, panels = plt.subplots(
        len(labels), len(WIDTHS), figsize=(9, 3.4 * len(labels)), squeeze=False, sharey="row"
    )
    for (n, line), (column, kernel) in itertools.product(zip(labels, panels, strict=True), enumerate(WIDTHS)):
        for source in dict.fromkeys(row["source"] for row in rows):
            own = sorted(
                (row["gamma"], row["error"])
                for row in rows
                if (row["source"], row["kernel"], row["labels"], row["neighbours"], row["alpha"])
                == (source, kernel, n, REACH, ALPHAS[0])
            )
            line[column].plot(*zip(*own, strict=True), marker="o", label=source)
        line[column].set(
            xscale="log", title=f"{kernel}, n = {n:,}", xlabel="gamma (larger is narrower)", ylabel="error"
        )
        line[column].grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
