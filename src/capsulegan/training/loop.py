"""The training loop: data in, steps, and a run folder that can be resumed at any instant."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from capsulegan.allocator import keep_freed_memory
from capsulegan.data import ImageData, load_data
from capsulegan.errors import UserError
from capsulegan.pictures import write_grid
from capsulegan.tensors import copy_into, write_tensors
from capsulegan.training.batches import scaled
from capsulegan.training.checkpoint import load_checkpoint, save_checkpoint
from capsulegan.training.configuration import Config
from capsulegan.training.environment import environment, resolved
from capsulegan.training.health import diagnose
from capsulegan.training.interruption import Interrupted, interruption
from capsulegan.training.log import Log, Meter, Row
from capsulegan.training.memory import check_memory
from capsulegan.training.run import (
    DataFacts,
    Run,
    locked,
    read_description,
    snapshot_file,
    write_description,
)
from capsulegan.training.trainee import Trainee, build_trainee

Progress = Callable[[int, int, Row | None], None]
"""Told the images seen, the images to see, and the newest log row."""


class TrainingFailed(RuntimeError):  # noqa: N818 - reads as what happened
    """Training went wrong in itself: losses not finite, or a collapse that was to stop it."""


def train(
    config: Config,
    out: Path | str | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a model and return its run.

    Parameters
    ----------
    config : Config
        What to train, on what, for how long.
    out : path, optional
        The run folder; `runs/<model>-<data>-s<seed>` if not given.
    resume : bool
        Go on with a run that was stopped (a finished one is returned as it is). Without it, a folder
        that holds a run is refused.
    progress : callable, optional
        Called after every step.

    Raises
    ------
    UserError
        If a setting, the data or the folder is wrong, or a resumed run's settings differ.
    Interrupted
        If Ctrl-C or SIGTERM came; everything is saved.
    TrainingFailed
        If the losses are not finite any more, or a collapse was to stop the run.
    """
    config = resolved(config)
    name = Path(config.data).stem
    folder = Path(out) if out is not None else Path("runs") / f"{config.model}-{name}-s{config.seed}"
    data = load_data(config.data, "train", image_size=config.image_size, strict=config.strict)
    facts = DataFacts(data.digest, data.images.shape[1], data.images.shape[3], data.classes)
    check_memory(config, facts.shape)
    with locked(folder), interruption() as stop:
        begin(folder, config, facts, resume)
        run = Run(folder, config, facts)
        if not run.finished:
            from lightning_fabric import Fabric

            precision = "bf16-mixed" if config.precision == "bf16" else "32-true"
            fabric = Fabric(accelerator=config.device, devices=1, precision=precision)  # type: ignore[arg-type]
            try:
                with arithmetic(config):
                    trainee = build_trainee(config, data, facts.shape, fabric)
                    fit(trainee, config, data, folder, fabric.device, progress, lambda: stop.requested)
            except OSError as error:
                reason = error.strerror or error
                raise UserError(
                    f"cannot write to {folder}: {reason}; the last checkpoint is intact"
                ) from error
    return run


@contextlib.contextmanager
def arithmetic(config: Config) -> Iterator[None]:
    """Set, for a block, on how many threads PyTorch computes and whether it must repeat itself.

    Where it need not, cuDNN times its convolutions in the first steps and takes the fastest.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    timed = torch.backends.cudnn.benchmark
    torch.set_num_threads(config.threads)
    torch.backends.cudnn.benchmark = not config.deterministic
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = timed


def begin(folder: Path, config: Config, facts: DataFacts, resume: bool) -> None:
    """Describe a new run in its folder, or make sure that the one there may be gone on with."""
    if (folder / "config.json").exists():
        if not resume:
            raise UserError(f"{folder} already holds a run; --resume goes on with it, another --out keeps it")
        earlier, earlier_facts = read_description(folder)
        if changed := earlier.differences(config):
            raise UserError(
                f"{folder} was begun with other settings, which --resume cannot change: {'; '.join(changed)}"
            )
        if earlier_facts != facts:
            raise UserError(
                f"{folder} was begun on other data than {config.data} is now; restore it or begin anew"
            )
    elif any((folder / "checkpoints").glob("*.json")):
        raise UserError(
            f"{folder} has checkpoints and no config.json to tell whose; restore it or choose another --out"
        )
    allocator = keep_freed_memory() if config.device == "cpu" else "default"
    write_description(folder, config, facts, {**environment(), "allocator": allocator})


def fit(
    trainee: Trainee,
    config: Config,
    data: ImageData,
    folder: Path,
    device: torch.device,
    progress: Progress | None,
    stop_requested: Callable[[], bool],
) -> None:
    """Advance to the last step, from the newest checkpoint if there is one."""
    meter = Meter(trainee.scalars, device)
    state: dict[str, Tensor] = {**trainee.state(), **meter.state}
    images = 0
    if checkpoint := load_checkpoint(folder / "checkpoints", state):
        images, saved = checkpoint
        copy_into(state, saved)
    for name in trainee.results:  # of a shorter run that is being prolonged
        weights = folder / f"{name}.safetensors"
        if weights.exists() and not checkpoint:
            raise UserError(
                f"{folder} has {weights.name} and no checkpoint to go on from; choose another --out"
            )
        weights.unlink(missing_ok=True)
    log = Log(folder, after=images)
    every = -(-len(data.images) // 1024)  # folders come class by class: take some of all
    real_deviation = scaled(data.images[::every]).std(dim=0).mean().item()
    saved_at, logged_at, logged_images = time.monotonic(), time.monotonic(), images

    def save_samples() -> None:
        if trainee.draw is not None:
            write_grid(folder / "samples" / f"{images:09d}.png", trainee.draw())

    def save(name: str, path: Path) -> None:
        metadata = {"schema": "1", "model": config.model, "data": config.data, "images": str(images)}
        write_tensors(path, trainee.results[name].state_dict(), metadata)

    def new_row() -> Row:
        return {"step": images // config.batch_size, "images": images, **meter.row()}

    ends_here = images >= config.images and all(row["images"] < images for row in log.rows)
    if images == 0 or ends_here:
        save_samples()
    try:
        if ends_here:  # where it was stopped, with nothing more to be seen
            log.append(new_row())
        while images < config.images:
            meter.add(trainee.advance(images // config.batch_size))
            before, images = images, images + config.batch_size
            finished = images >= config.images

            trouble = None
            if finished or crosses(config.log_images, before, images):
                row = new_row()
                trouble = diagnose([*log.rows, row], real_deviation)
                if trouble:
                    row["event"] = trouble
                now = time.monotonic()
                row["images_per_second"] = round((images - logged_images) / (now - logged_at), 1)
                logged_at, logged_images = now, images
                log.append(row)
            if finished or crosses(config.sample_images, before, images):
                save_samples()
            if "generator" in trainee.results and crosses(config.snapshot_images, before, images):
                save("generator", snapshot_file(folder, images))
            if progress:
                progress(images, config.images, log.rows[-1] if log.rows else None)
            if trouble == "non-finite":
                raise TrainingFailed(
                    f"no step of the last {config.log_images} images had finite losses; train anew "
                    f"with lower learning rates; the last good state is in {folder / 'checkpoints'}"
                )
            stopping = stop_requested() or (trouble is not None and config.on_collapse == "stop")
            if finished or stopping or time.monotonic() - saved_at > config.checkpoint_minutes * 60:
                save_checkpoint(folder / "checkpoints", images, state)
                saved_at = time.monotonic()
            if trouble and config.on_collapse == "stop":
                raise TrainingFailed(f"{trouble} after {images} images; everything is saved in {folder}")
            if stopping and not finished:
                raise Interrupted(
                    f"stopped after {images} of {config.images} images; --resume goes on from there"
                )
    finally:
        log.close()
    for name in trainee.results:
        save(name, folder / f"{name}.safetensors")


def crosses(every: int, before: int, after: int) -> bool:
    """Return whether a multiple of `every` lies above `before` and not above `after`; none does of 0."""
    return every > 0 and after // every > before // every
