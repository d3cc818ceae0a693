"""Damages files of run and study folders at random, and tells what using them then comes to.

The tests draw a few hundred cases with fixed seeds; `benchmarks/fuzz.py` draws as many as time allows.
"""

from __future__ import annotations

import contextlib
import copy
import json
import resource
import shutil
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import capsulegan
from capsulegan.errors import UserError
from capsulegan.report import write_report
from capsulegan.study import execute as execution
from capsulegan.study.configuration import StudyConfig
from capsulegan.training.configuration import Config
from capsulegan.training.loop import TrainingFailed, train

MOST_SECONDS = 10.0
"""Of processor time: a busy machine is no fault, and what only waits meets the timeout of its test."""
MOST_BYTES = 2**30

CONFIG = Config(
    "capsulegan",
    "digits",
    images=128,
    width=4,
    latent_dim=4,
    threads=1,
    precision="32",
    log_images=64,
    sample_images=64,
    checkpoint_minutes=0.0,
)
STUDY = StudyConfig(
    data="digits",
    images=128,
    width=4,
    latent_dim=4,
    judge_images=128,
    samples=20,
    unlabelled=30,
    labels=(20,),
    threads=1,
    precision="32",
    log_images=64,
    workers=1,
)

RUN_FILES = (
    "config.json",
    "environment.json",
    "log.jsonl",
    "generator.safetensors",
    "discriminator.safetensors",
    "checkpoints/000000000064.json",
    "checkpoints/000000000064.safetensors",
    "checkpoints/000000000128.json",
    "checkpoints/000000000128.safetensors",
)

STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    128.5,
    10**30,
    1e308,
    -(10**400),
    float("nan"),
    float("inf"),
    "",
    "nan",
    "8",
    "<script>alert(1)</script>",
    "\ud800\u0000\n\r\u2028",
    "x" * 100_000,
    "../../../../etc/passwd",
    [],
    {},
    [None],
    [[1, 2], {"a": []}],
    {"": None, "images": [], "value": {}},
)
"""What stands in the place of some value of a JSON document."""


class EscapedError(AssertionError):
    """Something other than a result or a one-line UserError came out."""


@dataclass(frozen=True)
class Outcome:
    """What a use of damaged files came to."""

    message: str
    """Of the UserError, or empty if it worked."""
    seconds: float


def outcome_of(use: Callable[[], object]) -> Outcome:
    """Use something damaged. Raises `EscapedError` unless it works or is refused, in time."""
    started = time.process_time()
    message = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*going on from the checkpoint before it")
            use()
    except (UserError, TrainingFailed) as error:
        message = str(error)
        if not message or len(message.splitlines()) > 1:
            raise EscapedError(f"not one line: {message!r}") from error
    except Exception as error:
        raise EscapedError(f"{type(error).__name__}: {error}") from error
    seconds = time.process_time() - started
    if seconds > MOST_SECONDS:
        raise EscapedError(f"took {seconds:.1f} s")
    return Outcome(message, seconds)


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ---- damage


def damage(path: Path, random: Random) -> str:
    """Damage a file in one of many ways, and say how."""
    kinds: dict[str, Callable[[Path, Random], str]] = {
        "truncated": truncate,
        "flipped": flip,
        "overwritten": overwrite,
        "replaced": replace,
    }
    if path.suffix in (".json", ".jsonl"):
        kinds |= {
            "json": change_json,
            "json again": change_json,
            "whole": replace_json,
            "json both": change_two,
        }
    if path.suffix == ".safetensors":
        kinds |= {"header": change_header, "header again": change_header, "length": change_length}
    return kinds[random.choice(sorted(kinds))](path, random)


def truncate(path: Path, random: Random) -> str:
    data = path.read_bytes()
    end = random.choice((0, 1, 7, 8, 9, random.randrange(len(data) + 1), max(len(data) - 1, 0)))
    path.write_bytes(data[:end])
    return f"cut after {end} bytes"


def flip(path: Path, random: Random) -> str:
    data = bytearray(path.read_bytes())
    places = [random.randrange(min(len(data), random.choice((8, 400, len(data))))) for _ in range(3)]
    for place in places[: random.randint(1, 3)]:
        data[place] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return f"bits flipped near {places}"


def overwrite(path: Path, random: Random) -> str:
    data = bytearray(path.read_bytes())
    start = random.randrange(len(data))
    extra = random.choice((random.randbytes(40), b"\xff" * 40, b"[" * 100_000, b"\x00" * 40, b"\n\n{}\n"))
    data[start : start + random.choice((0, 40))] = extra
    path.write_bytes(data)
    return f"overwritten at {start} by {extra[:8]!r}"


def replace(path: Path, random: Random) -> str:
    """Put something else than a regular file there, or nothing, or another kind of file."""
    kind = random.choice(("nothing", "folder", "dangling", "loop", "zeros", "png", "nested"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to(path.parent / "nowhere" / "at all")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "zeros":
        path.write_bytes(bytes(random.choice((1, 8, 1000, 2**20))))
    elif kind == "png":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + random.randbytes(200))
    elif kind == "nested":
        path.write_text("[" * 100_000 + "]" * 100_000 + "\n")
    return f"replaced by {kind}"


def replace_json(path: Path, random: Random) -> str:
    value = random.choice(STRANGE)
    write_strange(path, [value])
    return f"replaced by {str(value)[:40]!r}"


def change_two(path: Path, random: Random) -> str:
    return f"{change_json(path, random)}, {change_json(path, random)}"


def change_json(path: Path, random: Random) -> str:
    """Replace one value anywhere in a document (of a .jsonl: of one line), remove it, or add another."""
    documents = documents_of(path)
    if not documents:
        return "already no JSON"
    chosen = random.randrange(len(documents))
    holders = [holder for holder in containers(documents[chosen]) if holder]
    if not holders:
        return replace_json(path, random)
    holder = random.choice(holders)
    key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    kind = random.choice(("replace", "replace", "replace", "remove", "add"))
    value = copy.deepcopy(random.choice(STRANGE))
    if kind == "replace":
        holder[key] = value
    elif kind == "remove":
        del holder[key]
    elif isinstance(holder, dict):
        holder[random.choice(("schema", "extra", "seed", "__class__"))] = value
    else:
        holder.append(value)
    write_strange(path, documents)
    return f"{kind} {key!r} by {str(value)[:40]!r}"


def documents_of(path: Path) -> list[Any]:
    try:
        text = path.read_text()
        return (
            [json.loads(line) for line in text.splitlines()]
            if path.suffix == ".jsonl"
            else [json.loads(text)]
        )
    except (OSError, ValueError, RecursionError):
        return []


def containers(document: Any) -> Iterator[Any]:
    """Yield every list and object of a document."""
    if isinstance(document, dict | list):
        yield document
        for value in document.values() if isinstance(document, dict) else document:
            yield from containers(value)


def write_strange(path: Path, documents: list[Any]) -> None:
    text = "\n".join(json.dumps(document) for document in documents)
    path.write_text(text + "\n", encoding="utf-8")


DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F4", "Q7", "")
SHAPES: tuple[Any, ...] = ([], [0], [1], [2**40], [2**62, 2**62], [-1], [1.5], ["4"], None, [1] * 100)


def change_header(path: Path, random: Random) -> str:
    """Change what a safetensors file says of one of its tensors, or of itself."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    name = random.choice([each for each in header if each != "__metadata__"])
    kind = random.choice(("dtype", "shape", "data_offsets", "name", "metadata", "values", "missing", "swap"))
    if kind == "dtype":
        header[name]["dtype"] = random.choice(DTYPES)
    elif kind == "shape":
        header[name]["shape"] = random.choice(SHAPES)
    elif kind == "data_offsets":
        header[name]["data_offsets"] = random.choice(([0, 2**62], [0, 0], [8, 4], [-1, 4], [0], None, [0, 1]))
    elif kind == "name":
        header[random.choice(("", "x", "../x", "\ud800", "__metadata__"))] = header.pop(name)
    elif kind == "metadata":
        header["__metadata__"] = random.choice((None, 3, {"images": 5}, {"images": "-1"}, []))
    elif kind == "missing":
        del header[name]
    elif kind == "values":
        value = struct.pack("<f", random.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45)))
        data = data[: 8 + length] + value * ((len(data) - 8 - length) // 4)
    else:
        other = random.choice([each for each in header if each != "__metadata__"])
        header[name], header[other] = header[other], header[name]
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[8 + length :])
    return f"header: {kind} of {name}"


def change_length(path: Path, random: Random) -> str:
    length = random.choice((0, 1, 2**20, 2**31, 2**40, 2**63, 2**64 - 1))
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    return f"header length {length}"


# ---- what is damaged, and used


def make_run(folder: Path) -> None:
    """Train a run that has two checkpoints."""
    train(CONFIG, folder)


def make_study(folder: Path) -> None:
    """Do a small study and write its report."""
    execution.execute(STUDY, folder, lambda name, done, total: None, "capsulegan study digits")
    write_report(folder)


@contextlib.contextmanager
def copied(folder: Path, scratch: Path) -> Iterator[Path]:
    """Give a copy of a folder that is removed afterwards."""
    shutil.copytree(folder, scratch, symlinks=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def use_run(folder: Path, random: Random) -> list[Outcome]:
    """Sample from a run, judge with it, and go on with it, in ways that its damage may show in."""

    def look() -> None:
        run = capsulegan.load(folder)
        _ = run.finished, run.parameter_counts
        run.sample(4)
        _ = run.discriminator

    outcomes = [outcome_of(look)]
    if random.random() < 0.5:  # as if it had been stopped before its weights were written
        for name in ("generator", "discriminator"):
            with contextlib.suppress(OSError):
                (folder / f"{name}.safetensors").unlink()
    return [*outcomes, outcome_of(lambda: train(CONFIG, folder, resume=True))]


def study_files(folder: Path) -> list[str]:
    """List the files of a study whose damage is tried."""
    found = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".jsonl", ".safetensors", ".png") and "tensorboard" not in path.parts
    ]
    top = [name for name in found if "/" not in name]
    return found + 6 * top  # those that hold most of a study more often


def use_study(folder: Path, execute: bool) -> list[Outcome]:
    """Write a study's report, do the study again, and write its report again."""
    outcomes = [outcome_of(lambda: write_report(folder))]
    if execute:
        again = outcome_of(lambda: execution.execute(STUDY, folder, lambda name, done, total: None, ""))
        outcomes += [again, outcome_of(lambda: write_report(folder))]
    return outcomes


@contextlib.contextmanager
def no_training() -> Iterator[None]:
    """Leave out the training of a study's runs, which takes processes and seconds."""
    with mock.patch.object(execution, "train_cells", side_effect=lambda *arguments: []):
        yield


def run_case(whole: Path, scratch: Path, random: Random) -> tuple[str, list[Outcome]]:
    """Damage one or two files of a copy of a run and use it; return what was done and came of it."""
    with copied(whole, scratch) as folder:
        names = [random.choice(RUN_FILES) for _ in range(random.choice((1, 1, 1, 2)))]
        done = "; ".join(f"{name}: {damage(folder / name, random)}" for name in dict.fromkeys(names))
        try:
            return done, use_run(folder, random)
        except EscapedError as error:
            raise EscapedError(f"{done}: {error}") from error


def study_case(whole: Path, scratch: Path, random: Random) -> tuple[str, list[Outcome]]:
    """The same for a study."""
    with copied(whole, scratch) as folder, no_training():
        name = random.choice(study_files(folder))
        done = f"{name}: {damage(folder / name, random)}"
        try:
            return done, use_study(folder, execute=name.startswith("stages/") or random.random() < 0.2)
        except EscapedError as error:
            raise EscapedError(f"{done}: {error}") from error
