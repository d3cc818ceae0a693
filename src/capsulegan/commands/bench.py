"""The command that measures speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from capsulegan import console
from capsulegan.commands.command import Command

Part = Literal["layers", "networks", "steps", "choices", "heads", "profile", "growth"]


@dataclass(frozen=True)
class Bench(Command):
    """Measure what the parts cost on this machine, beside plain references and the machine's limit."""

    parts: Positional[tuple[Part, ...]] = ()
    """What to measure; none: layers, networks and steps, in about two minutes."""
    threads: int = 1
    """CPU threads; with one, CPU time is measured, else wall time."""

    def __call__(self) -> None:
        from capsulegan.bench.run import run, show

        document = run(self.parts, self.threads)
        console.print_json(document) if self.json else show(document)
