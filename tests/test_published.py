"""What comes with the package works as it comes, and says what it is."""

import pytest
import torch

import capsulegan
from capsulegan.published import WEIGHTS, published_names
from capsulegan.training.recipes import CLASSIFIERS

MOST_BYTES = 6 * 2**20


@pytest.mark.parametrize("name", published_names())
def test_a_published_run_loads_and_computes(name):
    run = capsulegan.load(name)
    size, channels = run.data.image_size, run.data.channels
    assert run.config.model in CLASSIFIERS or run.sample(4).shape == (4, size, size, channels)
    network = run.classifier if run.config.model in CLASSIFIERS else run.discriminator
    with torch.no_grad():
        said = network(torch.zeros(2, channels, size, size))
    assert all(part.isfinite().all() for part in (said if isinstance(said, tuple) else (said,)))


@pytest.mark.parametrize("name", published_names())
def test_a_published_run_has_a_card_and_is_small(name):
    card = (WEIGHTS / name / "README.md").read_text()
    assert card.startswith(f"# {name}\n")
    assert all(word in card for word in ("trained by", "images seen", "Limits", "sha256"))
    assert sum(path.stat().st_size for path in (WEIGHTS / name).iterdir()) < MOST_BYTES
