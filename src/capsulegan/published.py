"""From a path, a published name or a hub id to a run."""

from __future__ import annotations

import re
from pathlib import Path

from capsulegan.errors import UserError
from capsulegan.training.environment import resolved_device
from capsulegan.training.recipes import CLASSIFIERS, judge_for
from capsulegan.training.run import Run, read_description

WEIGHTS = Path(__file__).parent / "weights"
"""Runs that come with the package, by name, each with its model card."""
RUN_FILES = ("config.json", "environment.json", "*.safetensors")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(path_or_name: str | Path, device: str = "cpu") -> Run:
    """Return a run.

    Parameters
    ----------
    path_or_name : path or str
        A run folder; or the name of a run that comes with the package, such as 'capsulegan-mnist'; or the
        id of a model on the Hugging Face hub, 'owner/name', that holds a run folder's files. What is in the
        hub's cache is not fetched again.
    device : str
        Where its networks will compute: 'cpu', 'cuda', or 'auto', which is the latter where there is one.

    Raises
    ------
    UserError
        If there is no such run, its files are not what they should be, or there is no such device.
    """
    folder = Path(path_or_name)
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that is too long for any file
        is_folder = False
    if not is_folder:
        name = str(path_or_name)
        folder = WEIGHTS / name if name in published_names() else from_hub(name)
    config, data = read_description(folder)
    return Run(folder, config, data, resolved_device(device))


def published_names() -> list[str]:
    """Return the names of the runs that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def published_judge(data_digest: str, device: str = "cpu") -> Run | None:
    """Return the classifier that comes with the package for these training images, if there is one."""
    for name in published_names():
        run = load(name, device)
        if run.config.model in CLASSIFIERS and run.data.digest == data_digest:
            return run
    return None


def judge_of(run: Run, name: str | None = None) -> Run:
    """Return the classifier that judges a run's images: the one named, that of the package, or one beside it.

    Parameters
    ----------
    run : Run
        Whose images are judged.
    name : str, optional
        Of a classifier, as `load` takes it.

    Raises
    ------
    UserError
        If there is none.
    """
    if name:
        return load(name, run.device)
    if judge := published_judge(run.data.digest, run.device):
        return judge
    wanted = judge_for(run.config.data)
    for name in (wanted, *CLASSIFIERS):
        for beside in sorted(run.folder.resolve().parent.glob(f"{name}-*")):
            return load(beside, run.device)
    train = f"capsulegan train {wanted} --data {run.config.data}"
    raise UserError(f"no judge beside {run.folder}; `{train}` trains one for --judge")


def from_hub(name: str) -> Path:
    """Return the folder that a hub model was fetched to: safetensors and JSON, no code."""
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"there is no run folder {name}; expected a folder, a hub id like owner/name, or one of "
            f"{', '.join(published_names())}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(RUN_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"there is no run folder {name}, and the hub gave no model of that id: {reason}"
        ) from error
