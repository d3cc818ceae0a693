"""The command line: all commands, how they are parsed, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from capsulegan import console
from capsulegan.commands.bench import Bench
from capsulegan.commands.evaluation import Battle, Classify, Evaluate
from capsulegan.commands.explore import Explore
from capsulegan.commands.study import Report, Study
from capsulegan.commands.training import Data, Export, Sample, Train

COMMANDS: dict[str, Callable[..., Any]] = {
    command.__name__.lower(): command
    for command in (Study, Train, Sample, Battle, Classify, Evaluate, Report, Explore, Export, Data, Bench)
}


def parse(arguments: Sequence[str] | None = None) -> Any:
    """Return the command that the arguments ask for, an instance of one of `COMMANDS`."""
    return console.parsed(
        lambda: tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="capsulegan",
            description="Generative adversarial networks with a capsule-network discriminator.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 training failed, 2 the user's mistake, 130 interrupted."""
    with console.while_somebody_reads():
        command = parse(arguments)
        sys.exit(console.exit_code(command, command.debug))


if __name__ == "__main__":
    main()
