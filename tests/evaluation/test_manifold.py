import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from capsulegan.errors import UserError
from capsulegan.evaluation.manifold import manifold


def points(count, seed, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1.0, (count, 3)))


@pytest.mark.parametrize(("count", "others", "k"), [(40, 40, 5), (30, 55, 3), (1500, 1100, 5)])
def test_it_is_what_the_definitions_say(count, others, k):
    """Kynkaanniemi et al. (2019), Eq. 1 and 2, and Naeem et al. (2020), Eq. 4 and 5, by scikit-learn."""
    real, generated = points(count, 0).numpy(), points(others, 1, 2.0).numpy()
    ball = {
        name: NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, k]
        for name, x in (("real", real), ("generated", generated))
    }
    distances = np.linalg.norm(real[:, None] - generated[None], axis=2)
    in_real, in_generated = distances <= ball["real"][:, None], distances <= ball["generated"]
    found = manifold(torch.from_numpy(real), torch.from_numpy(generated), k)
    assert found.precision == pytest.approx(in_real.any(axis=0).mean())
    assert found.recall == pytest.approx(in_generated.any(axis=1).mean())
    assert found.density == pytest.approx(in_real.sum() / (k * others))
    assert found.coverage == pytest.approx(in_real.any(axis=1).mean())
    assert 0 < found.recall < 1


def test_two_draws_of_one_distribution_agree_and_distant_ones_have_nothing_in_common():
    alike = manifold(points(800, 0), points(800, 1))
    assert min(alike.precision, alike.recall, alike.coverage) > 0.9
    assert alike.density == pytest.approx(1, abs=0.1)
    assert manifold(points(100, 0), points(100, 1, 50.0)) == (0, 0, 0, 0)


def test_one_image_again_and_again_is_precise_and_covers_nothing():
    real = points(400, 0)
    found = manifold(real, real[:1].expand(400, -1))
    assert found.precision == 1
    assert found.coverage < 0.05
    assert found.recall < 0.05


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="more than 5 images of each kind, got 5 and 100"):
        manifold(points(5, 0), points(100, 1))
