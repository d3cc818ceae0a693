"""Real MNIST and CIFAR-10 for the tests that need them."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """Give the folder with the real data, and set `CAPSULEGAN_DATA` to it until the session ends."""
    given = os.environ.get("CAPSULEGAN_DATA")
    if given:
        yield Path(given)
        return
    script = REPOSITORY.parent / "shared" / "data" / "prepare.py"
    if not script.is_file():
        pytest.skip("needs MNIST and CIFAR-10: set CAPSULEGAN_DATA to a folder that holds them")
    folder = REPOSITORY / "datasets"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        subprocess.run([sys.executable, script, folder], check=True, stdout=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPSULEGAN_DATA", str(folder))
        yield folder
