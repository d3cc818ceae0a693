"""Named tensors in safetensors files, checked before anything is replaced by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from capsulegan.errors import UserError
from capsulegan.files import whole_file

HALF = (torch.float16, torch.bfloat16)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a whole safetensors file. The tensors may lie on any device.

    Not by safetensors' own way to a file, which goes through a temporary file that a kill would leave behind,
    and that nobody but its owner may read.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(stored, dict(metadata)))


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a safetensors file whose names, shapes and types must be those of `expected`.

    Half-precision files are accepted where float32 is expected, and widened.

    Raises
    ------
    UserError
        If the file cannot be read, or a name, shape or type differs, or a value is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if difference := sorted(names ^ set(expected)):
                which = "unexpected" if difference[0] in names else "missing"
                raise UserError(
                    f"{path}: {which} tensor {difference[0]!r}; these weights are of another network"
                )
            for name, tensor in expected.items():
                shape = file.get_slice(name).get_shape()
                if list(tensor.shape) != shape:
                    raise UserError(f"{path}: {name} must have shape {list(tensor.shape)}, got {shape}")
            return {name: check(path, name, file.get_tensor(name), expected[name]) for name in expected}
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def check(path: Path, name: str, found: Tensor, expected: Tensor) -> Tensor:
    """Return a tensor in the expected type, if it is of that or half precision of it, and finite."""
    narrower = HALF if expected.dtype == torch.float32 else ()
    if found.dtype not in (expected.dtype, *narrower):
        raise UserError(f"{path}: {name} must be of type {expected.dtype}, got {found.dtype}")
    if not found.isfinite().all():
        raise UserError(f"{path}: {name} has values that are not finite")
    return found.to(expected.dtype)


def load_weights(network: nn.Module, path: Path) -> None:
    """Replace a network's weights and buffers by those in a safetensors file.

    The network may be on the meta device, without memory of its own: the file is then checked against
    its shapes before any memory is given to them.
    """
    network.load_state_dict(read_tensors(path, network.state_dict()), assign=True)


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device, without the host waiting for the copy to end."""
    if tensor.device.type == torch.device(device).type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def device_of(network: nn.Module) -> torch.device:
    """Return where a network computes: the CPU, if it has no parameters."""
    return next(network.parameters(), torch.empty(0)).device


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def copy_into(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Overwrite tensors in place by those of the same names."""
    for name, tensor in target.items():
        tensor.copy_(source[name])
