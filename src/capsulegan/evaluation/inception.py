"""Inception features, by which images are compared elsewhere, for those who have torch-fidelity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from capsulegan.data.places import RemoteFile, obtain
from capsulegan.errors import UserError
from capsulegan.evaluation.classification import View
from capsulegan.files import sha256
from capsulegan.tensors import device_of, sent

WEIGHTS = RemoteFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    (
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
)
"""The network of Szegedy et al. (2016) of 2015-12-05, as torch-fidelity converted it: 96 MB."""
LAYER = "2048"
AT_ONCE = 50


def inception_view(device: str = "cpu") -> View:
    """Return the 2,048 features of Inception that the Frechet Inception Distance compares.

    As torch-fidelity computes them (Heusel et al. 2017; Obukhov and Krasnyanskiy 2020), of images resized to
    299 x 299; grey ones are repeated as red, green and blue. The weights are looked for where data is, or
    fetched; torch-fidelity, which unpickles them, is given none but the published file.

    Raises
    ------
    UserError
        If torch-fidelity is not installed, or there are no weights and none can be fetched, or the ones there
        are not those published.
    """
    try:
        import torch_fidelity  # noqa: F401
    except (ImportError, RuntimeError) as error:  # torchvision of another torch raises the latter
        raise UserError(
            f"Inception features need torch-fidelity ({error}); install capsulegan[inception]"
        ) from None
    path = obtain(WEIGHTS)
    if f"sha256:{sha256(path)}" != WEIGHTS.known_hash:
        raise UserError(f"{path} is not the file that was published ({WEIGHTS.known_hash}); remove it")
    return view_by(path, device)


def view_by(weights: Path, device: str) -> View:
    """Return the features that the network gives with these weights, which must be trusted."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], str(weights)).to(device)
    name = f"inception layer {LAYER}, sha256 {sha256(weights)[:16]}"
    return View(name, lambda images: features(network, images))


@torch.no_grad()
def features(network: nn.Module, images: np.ndarray) -> Tensor:
    """Return the features of images, on the CPU: uint8 (N, H, W, C) -> (N, 2048)."""
    device, blocks = device_of(network), []
    for start in range(0, len(images), AT_ONCE):
        block = torch.tensor(images[start : start + AT_ONCE]).permute(0, 3, 1, 2)  # (B, C, H, W)
        (of_block,) = network(sent(block.expand(-1, 3, -1, -1), device))
        blocks.append(of_block.cpu())
    return torch.cat(blocks)
