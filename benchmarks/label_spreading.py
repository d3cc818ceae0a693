"""Times label spreading with 50,000 unlabelled MNIST images beside scikit-learn's own, on the same cores.

    python benchmarks/label_spreading.py [--threads 2] [--out results/speed/label-spreading.json]

Unlabelled are the last 50,000 training images, labelled 100, 1,000 and 10,000 of the others, queries the
test images; the kernel is knn with 7 neighbours. Each side does all three numbers, fit and prediction, in a
process of its own, whose peak of resident memory is taken: ours, scikit-learn's on pixels divided by 255
(which NumPy makes float64), and on float32. Then the labels that the first two give are compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capsulegan.data import load_data
from capsulegan.files import write_json
from capsulegan.training.environment import environment

UNLABELLED, LABELS, NEIGHBOURS, ALPHA = 50_000, (100, 1_000, 10_000), 7, 0.2

Answers = dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""By number of labels: the labels of the test images, and of the points of the graph."""


def pixels() -> tuple[NDArray[Any], ...]:
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    assert train.labels is not None
    assert test.labels is not None
    cut = len(train.images) - UNLABELLED
    return train.images[cut:], train.images[:cut], train.labels[:cut], test.images, test.labels


def ours() -> Answers:
    from capsulegan.evaluation.label_spreading import Spreader
    from capsulegan.evaluation.settings import SpreadingSettings

    unlabelled, images, labels, test, _ = pixels()
    spreader = Spreader(unlabelled, test, reach=NEIGHBOURS)
    settings = SpreadingSettings("knn", NEIGHBOURS, alpha=ALPHA)
    return {n: spreader.answers(images[:n], labels[:n], settings) for n in LABELS}


def theirs(dtype: type[np.floating[Any]]) -> Answers:
    from sklearn.semi_supervised import LabelSpreading

    unlabelled, images, labels, test, _ = pixels()
    flat = [each.reshape(len(each), -1) / dtype(255) for each in (unlabelled, images, test)]
    answers = {}
    for n in LABELS:
        known = np.concatenate([np.full(UNLABELLED, -1), labels[:n]])
        points = np.concatenate([flat[0], flat[1][:n]])
        model = LabelSpreading(kernel="knn", n_neighbors=NEIGHBOURS, alpha=ALPHA, n_jobs=-1)
        model.fit(points, known)
        answers[n] = (model.predict(flat[2]), model.transduction_)
    return answers


SIDES: dict[str, Callable[[], Answers]] = {
    "ours": ours,
    "scikit-learn, float64": lambda: theirs(np.float64),
    "scikit-learn, float32": lambda: theirs(np.float32),
}


def measured(side: str, threads: int, sender: Connection) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        began = time.monotonic()
        answers = SIDES[side]()
        seconds = time.monotonic() - began
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, answers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    test_labels = pixels()[-1]
    found: dict[str, Any] = {}
    for side in SIDES:
        receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=measured, args=(side, arguments.threads, sender)
        )
        process.start()
        found[side] = receiver.recv()
        process.join()
        print(f"{side}: {found[side][0]:.0f} s", flush=True)
    first, second = found["ours"][2], found["scikit-learn, float64"][2]
    document = {
        "seconds": {side: round(each[0], 1) for side, each in found.items()},
        "ratio": {side: round(found["ours"][0] / each[0], 4) for side, each in found.items()},
        "peak_resident_gib": {side: round(each[1] / 2**20, 2) for side, each in found.items()},
        "same_test_labels": {n: float((first[n][0] == second[n][0]).mean()) for n in LABELS},
        "same_graph_labels": {n: float((first[n][1] == second[n][1]).mean()) for n in LABELS},
        "test_error": {
            side: {n: float((each[2][n][0] != test_labels).mean()) for n in LABELS}
            for side, each in found.items()
        },
        "threads": arguments.threads,
        "date": date.today().isoformat(),
        "environment": environment(),
        "command": f"python benchmarks/label_spreading.py --threads {arguments.threads}",
    }
    print(json.dumps(document, indent=2))
    if arguments.out:
        write_json(arguments.out, document)


if __name__ == "__main__":
    main()
