"""Ctrl-C and SIGTERM as a request to stop at the end of the step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop and has saved everything."""


class Interruption:
    """Whether somebody asked to stop."""

    requested = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; a second one acts at once, as it would without us."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Listen for SIGINT and SIGTERM; outside the main thread nobody listens."""
    state = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {number: signal.signal(number, state.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
