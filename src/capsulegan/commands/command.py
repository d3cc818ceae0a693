"""What all commands share."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
"""Runs compute on a GPU where there is one."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of every command."""

    json: bool = False
    """Print the result as one JSON document on standard output."""
    debug: bool = False
    """Show the traceback of an error."""
