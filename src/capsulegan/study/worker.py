"""A process that trains one run of a study: `python -m capsulegan.study.worker RUN < config.json`.

It goes on with a run that was stopped. Its standard input stays open as long as the study lives; when
that ends, so does the worker, with everything saved.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from capsulegan.errors import UserError
from capsulegan.training.configuration import Config


def stop_with_parent() -> None:
    """Ask this process to stop when its standard input ends."""

    def wait() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Train, and return the exit code: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    from capsulegan.training.interruption import Interrupted
    from capsulegan.training.loop import TrainingFailed, train

    config = Config.from_json(json.loads(sys.stdin.readline()), "the study's configuration")
    stop_with_parent()
    try:
        train(config, Path(sys.argv[1]), resume=True)
    except (UserError, TrainingFailed) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except Interrupted:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
