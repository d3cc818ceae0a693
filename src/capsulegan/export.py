"""A run's networks as ONNX files, for runtimes that have no PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from capsulegan.errors import UserError
from capsulegan.files import write_bytes
from capsulegan.training.run import Run

OUTPUTS = {"generator": ("images",), "discriminator": ("logits",)}
"""Names of what a network returns; those of a classifier are the fields of its answer."""


def write_onnx(run: Run, out: Path | str, network: str | None = None) -> dict[str, Any]:
    """Write one of a run's networks as an ONNX file, as it computes in evaluation mode.

    Its one input is `latents` (B, latent_dim) of a generator, drawn from N(0, 1), or else `images`
    (B, C, H, W) in [-1, 1]; B is free. It returns what the network does: `images`, `logits` (B,), or the two
    fields of a classifier's answer. The file says which run and data it is of.

    Parameters
    ----------
    run : Run
        A finished run, on the CPU.
    out : path
        The file, which is written whole or not at all.
    network : {"generator", "discriminator", "classifier"}, optional
        Which of its networks; a classifier's only one, otherwise the generator.

    Returns
    -------
    dict : the file, the network, and the shapes of its input and outputs.

    Raises
    ------
    UserError
        If onnxscript is not installed, the run has no such network, or the file cannot be written.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"export needs onnxscript ({error}); install capsulegan[onnx]") from None
    name = network or run.networks[0]
    exported: nn.Module = getattr(run, name).requires_grad_(False)
    if name == "generator":
        source, inputs = "latents", run.latents(2)
    else:
        shape = run.data.shape
        source, inputs = "images", torch.zeros(2, shape.channels, shape.size, shape.size)
    answer = exported(inputs)
    names = OUTPUTS.get(name) or answer._fields
    answers = answer if isinstance(answer, tuple) else (answer,)
    with quiet():
        program = torch.onnx.export(
            exported,
            (inputs,),
            input_names=[source],
            output_names=list(names),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
        )
    assert program is not None
    facts = {"model": run.config.model, "data": run.config.data, "data_digest": run.data.digest}
    program.model.metadata_props.update({f"capsulegan.{key}": value for key, value in facts.items()})
    write_bytes(Path(out), program.model_proto.SerializeToString())
    outputs = {key: ["batch", *value.shape[1:]] for key, value in zip(names, answers, strict=True)}
    return {
        "file": str(out),
        "network": name,
        "input": {source: ["batch", *inputs.shape[1:]]},
        "output": outputs,
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporter says of its progress, and of packages that are not there, to itself."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
