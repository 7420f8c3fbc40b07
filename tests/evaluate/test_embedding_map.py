import numpy as np
import pytest

from scale_video.evaluate.embedding_map import embedding_map, sample_rows


def nearest_agree(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points whose nearest neighbour has their label."""
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(axis=1)] == labels).mean())


def test_neighbours_stay_neighbours_and_the_map_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    means = rng.normal(size=(3, 32))
    vectors = (means[labels] + 0.2 * rng.normal(size=(60, 32))).astype(np.float32)
    found = embedding_map(vectors)
    assert found.shape == (60, 2)
    assert nearest_agree(found, labels) == 1.0
    np.testing.assert_array_equal(found, embedding_map(vectors))


def test_length_says_nothing_as_for_knn() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 8))
    vectors -= vectors.mean(axis=0)
    vectors = np.concatenate([vectors, -vectors])  # so that the mean is 0, and stays 0 when all are doubled
    np.testing.assert_allclose(embedding_map(vectors), embedding_map(2 * vectors), rtol=1e-5)


def test_sample() -> None:
    np.testing.assert_array_equal(sample_rows(5, at_most=5), np.arange(5))
    rows = sample_rows(100, at_most=30)
    assert len(set(rows.tolist())) == 30
    np.testing.assert_array_equal(rows, np.sort(rows))
    np.testing.assert_array_equal(rows, sample_rows(100, at_most=30))


def test_too_few() -> None:
    with pytest.raises(ValueError, match="a map needs at least 8 videos, got 7"):
        embedding_map(np.zeros((7, 3)))
