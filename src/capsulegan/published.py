"""From a path, a published name or a hub id to a run."""

from __future__ import annotations

import re
from pathlib import Path

from capsulegan.errors import UserError
from capsulegan.training.run import Run, read_description

RUN_FILES = ("config.json", "environment.json", "*.safetensors")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(path_or_name: str | Path) -> Run:
    """Return a run.

    Parameters
    ----------
    path_or_name : path or str
        A run folder; or the id of a model on the Hugging Face hub, 'owner/name', that holds a run
        folder's files. What is in the hub's cache is not fetched again.

    Raises
    ------
    UserError
        If there is no such run, or its files are not what they should be.
    """
    folder = Path(path_or_name)
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that is too long for any file
        is_folder = False
    if not is_folder:
        folder = from_hub(str(path_or_name))
    config, data = read_description(folder)
    return Run(folder, config, data)


def from_hub(name: str) -> Path:
    """Return the folder that a hub model was fetched to: safetensors and JSON, no code."""
    if not HUB_ID.fullmatch(name):
        raise UserError(f"there is no run folder {name}; expected a folder, or a hub id like owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(RUN_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"there is no run folder {name}, and the hub gave no model of that id: {reason}"
        ) from error
