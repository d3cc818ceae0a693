"""What the command line shows: progress, tables, one-line errors. Standard output is for results alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")
TaskProgress = Callable[[str, float, float], None]


def say(line: str) -> None:
    """Print a line of prose to standard error."""
    print(line, file=sys.stderr)


def print_json(document: Any) -> None:
    """Print the result as one JSON document on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_result(line: object, as_json: bool, document: Any) -> None:
    """Print the result on standard output: one line of text, or a JSON document."""
    if as_json:
        print_json(document)
    else:
        print(line)


def command_line() -> str:
    """Return what the user typed."""
    return shlex.join(["capsulegan", *sys.argv[1:]])


def parsed(parse: Callable[[], Result]) -> Result:
    """Parse the command line; what the parser says of a mistake becomes one line.

    Raises
    ------
    SystemExit
        With code 2 after a mistake, 0 after --help.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return parse()
    except SystemExit as end:
        if end.code:
            say(f"capsulegan: {one_line(complaint.getvalue())}")
        raise


def one_line(box: str) -> str:
    """Return what the parser says in a box of several lines as one line."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[─-╿]", " ", box).split())
    text = re.sub(r"^Value error Error parsing (?:\w+: |(?=--))", "", text)  # a class says nothing to a user
    text = re.sub(r": invalid literal for int\(\) with base 10: ", " must be a whole number, got ", text)
    text = re.sub(r": could not convert string to float: ", " must be a number, got ", text)
    text = re.sub(r"^(Required options|Unrecognized options|Invalid choice) ", "", text)
    return re.sub(r"( Argument helptext:.*)? For full helptext,? (run|see):? ", "; see ", text)


def exit_code(command: Callable[[], None], debug: bool) -> int:
    """Run a command; return 0, or after one line on standard error 1, 2 or 130."""
    import logging
    import warnings

    from capsulegan.errors import UserError

    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"capsulegan\.")
    warnings.showwarning = lambda message, *_, **__: say(f"capsulegan: warning: {message}")
    try:
        command()
    except UserError as error:
        if debug:
            raise
        say(f"capsulegan: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        say("capsulegan: stopped")
        return 130
    except Exception as error:
        from capsulegan.training.interruption import Interrupted
        from capsulegan.training.loop import TrainingFailed

        if debug or not isinstance(error, Interrupted | TrainingFailed):
            raise
        say(f"capsulegan: {error}")
        return 130 if isinstance(error, Interrupted) else 1
    return 0


@contextlib.contextmanager
def while_somebody_reads() -> Iterator[None]:
    """End quietly, with code 1, when what reads standard output has gone, as in `capsulegan ... | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(1)


@contextlib.contextmanager
def progress_bars(unit: str) -> Iterator[TaskProgress]:
    """Show a bar for each task on standard error, with the time it has taken and will take.

    Where standard error is no terminal, tasks are told of in lines when they begin and end.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_progress(unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("to go"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def show(name: str, done: float, total: float) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=min(done, total))

        yield show


def plain_progress(unit: str) -> TaskProgress:
    """Tell of tasks in lines: when they begin, every half minute, and when they end."""
    began: dict[str, tuple[float, float]] = {}  # when, and how much of it was done already
    told: dict[str, float] = {}

    def tell(name: str, done: float, total: float) -> None:
        now = time.monotonic()
        if name not in began:
            began[name], told[name] = (now, done), now
            say(f"{name}: begun")
        elif done >= total and told[name] < float("inf"):
            told[name] = float("inf")
            say(f"{name}: done in {now - began[name][0]:.0f} s")
        elif now - told[name] > 30 and done > began[name][1]:
            told[name] = now
            start, before = began[name]
            left = (now - start) * (total - done) / (done - before)
            say(f"{name}: {done:,.0f} of {total:,.0f}{unit and f' {unit}'}, about {left:.0f} s to go")

    return tell


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def print_rows(
    title: str, rows: list[dict[str, Any]], settings: tuple[str, ...], as_json: bool = False
) -> None:
    """Print result rows as a table with some of their settings as columns, or as a JSON document."""
    if as_json:
        print_json(rows)
        return
    columns = ["figure", "model", "value", "n", *settings]
    cells = [
        [row["figure"], row["model"], number(row["value"]), str(row["n"])]
        + [number(row["settings"].get(name)) for name in settings]
        for row in rows
    ]
    print_table(title, columns, cells)


def number(value: Any) -> str:
    """Return a value for a table cell; a dash for what is missing."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
