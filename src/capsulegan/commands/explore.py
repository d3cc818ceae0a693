"""The command that shows a run in a browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tyro.conf import Positional

from capsulegan import console
from capsulegan.commands.command import AUTO, Command


@dataclass(frozen=True)
class Explore(Command):
    """Serve a page that shows what a run's generator draws and its discriminator says."""

    run: Positional[str]
    """A run folder, a run that comes with the package, or a hub id."""
    port: int = 8765
    """Of this machine, which alone can reach it; 0 takes one that is free."""

    def __call__(self) -> None:
        from capsulegan.published import load
        from capsulegan.web import Explorer, ExplorerServer

        with ExplorerServer(Explorer(load(self.run, AUTO)), self.port) as server:
            console.print_result(server.address, self.json, {"address": server.address})
            sys.stdout.flush()  # what waits for the address may read from a pipe
            server.serve_forever()
