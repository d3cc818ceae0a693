import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from capsulegan.evaluation import neighbours as module
from capsulegan.evaluation.neighbours import closeness, least, merged, neighbours


def points(count, features=12):
    return torch.randn(count, features, dtype=torch.float64)


@pytest.fixture(params=[2**26, 100, 1], ids=["one block", "blocks of a few", "blocks of one query"])
def block_elements(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", request.param)


@pytest.mark.usefixtures("block_elements")
@pytest.mark.parametrize("k", [1, 5, 40])
def test_neighbours_are_those_of_scikit_learn(k):
    queries, known = points(23), points(40)
    found = neighbours(queries, known, k)
    brute = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known.numpy())
    distances, indices = brute.kneighbors(queries.numpy())
    assert torch.equal(found.indices, torch.from_numpy(indices))
    torch.testing.assert_close(found.distances, torch.from_numpy(distances).square(), rtol=1e-10, atol=1e-10)


def test_float32_distances_of_images_are_accurate():
    queries, known = torch.rand(20, 784), torch.rand(50, 784)
    found = neighbours(queries, known, 7)
    exact = (queries.double()[:, None] - known.double()).square().sum(dim=2)
    torch.testing.assert_close(found.distances.double(), exact.gather(1, found.indices), rtol=1e-5, atol=0)


def test_all_points_are_returned_if_there_are_fewer_than_k():
    found = neighbours(points(3), points(4), 10)
    assert found.distances.shape == found.indices.shape == (3, 4)


def test_a_point_is_its_own_nearest_neighbour_at_no_distance():
    known = torch.rand(60, 64)
    found = neighbours(known, known, 3)
    assert torch.equal(found.indices[:, 0], torch.arange(60))
    assert (found.distances >= 0).all()
    assert found.distances[:, 0].max() < 1e-4


@pytest.mark.parametrize(("first", "second", "k"), [(30, 20, 7), (3, 20, 7), (30, 2, 7), (2, 3, 7)])
def test_merging_equals_searching_all_points_at_once(first, second, k):
    queries, a, b = points(11), points(first), points(second)
    found = merged(neighbours(queries, a, k), neighbours(queries, b, k), first, k)
    expected = neighbours(queries, torch.cat([a, b]), k)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.distances, expected.distances, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("columns", "k"), [(5, 3), (1400, 7), (1500, 7), (1533, 7), (4099, 20)])
def test_the_least_of_a_row_are_found_by_the_minima_of_groups(columns, k):
    values = torch.randn(30, columns, generator=torch.Generator().manual_seed(0))
    values[:, -1] = -9.0  # in the part that fills no group, where there is one
    found, where = least(values, k)
    assert torch.equal(found, values.sort(dim=1).values[:, :k])
    assert torch.equal(values.gather(1, where), found)


def test_closeness_is_the_square_of_the_distance_but_for_the_query_s_own():
    generator = torch.Generator().manual_seed(0)
    queries, points = torch.rand(20, 30, generator=generator), torch.rand(50, 30, generator=generator)
    expected = torch.cdist(queries.double(), points.double()).square()
    found = closeness(queries, points, points.square().sum(dim=1)) + queries.square().sum(dim=1, keepdim=True)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
