"""Damages runs and studies for a given time, and tells what using them came to.

    python benchmarks/fuzz.py [--minutes 60] [--seed 0] [--out results/fuzz.json]

Each case damages files of a real run or study in one of many ways and then uses it: samples, resumes,
does the study again, writes its report. It must work or be refused in one line, in less than 10 seconds.
The cases are those of tests/robustness/damage.py, by number from `--seed` on: a number that failed is a
case that can be done again.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "robustness"))

import damage
import torch

STUDY_EVERY = 10
"""One case in so many is of a study, which takes ten times as long."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    failures: list[dict[str, object]] = []
    slowest, slowest_case = 0.0, ""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        damage.make_run(base / "run")
        damage.make_study(base / "study")
        at_rest = damage.peak_bytes()
        began = time.monotonic()
        number = arguments.seed
        while (seconds := time.monotonic() - began) < arguments.minutes * 60:
            kind = "study" if number % STUDY_EVERY == 0 else "run"
            case = damage.study_case if kind == "study" else damage.run_case
            counts[kind] += 1
            try:
                done, outcomes = case(base / kind, base / "copy", Random(number))
                counts["refused"] += any(outcome.message for outcome in outcomes)
                if (took := max(outcome.seconds for outcome in outcomes)) > slowest:
                    slowest, slowest_case = took, f"{number}: {done}"
            except damage.EscapedError as error:
                failures.append({"number": number, "kind": kind, "error": str(error)[:500]})
                print(f"{number}: {error}", flush=True)
            number += 1
    record = {
        "cases": counts["run"] + counts["study"],
        "of_runs": counts["run"],
        "of_studies": counts["study"],
        "refused_in_one_line": counts["refused"],
        "failures": failures,
        "slowest_seconds": round(slowest, 2),
        "slowest_case": slowest_case[:200],
        "peak_mib": damage.peak_bytes() >> 20,
        "peak_mib_before_the_first_case": at_rest >> 20,
        "seconds": round(seconds),
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "command": shlex.join(["python", "benchmarks/fuzz.py", *sys.argv[1:]]),
    }
    print(json.dumps(record, indent=2))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
