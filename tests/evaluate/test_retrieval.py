import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from scale_video.evaluate import neighbours, retrieval
from scale_video.evaluate.full_ranking import FullRanking, sorted_precisions
from scale_video.evaluate.retrieval import recalled, retrieve


def cosines(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    mean = train.mean(axis=0)
    a, b = (side - mean for side in (test.astype(np.float64), train.astype(np.float64)))
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def slow_average_precision(similarities: np.ndarray, relevant: np.ndarray) -> float:
    """Go down the ranking; at each relevant video, the share of relevant ones so far."""
    num_relevant, precisions = 0, []
    for rank, row in enumerate(np.argsort(-similarities, kind="stable"), start=1):
        if relevant[row]:
            num_relevant += 1
            precisions.append(num_relevant / rank)
    return sum(precisions) / len(precisions)


@pytest.fixture
def sides(make_videos):
    return make_videos(120, seed=0, num_classes=5, spread=2.0), make_videos(50, seed=1, num_classes=5, spread=2.0)


@pytest.mark.parametrize(("block", "columns"), [(2**27, 8192), (7 * 120, 120), (1, 50)])
def test_equals_a_loop_and_scikit_learns(sides, block: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_SIMILARITIES", block)
    monkeypatch.setattr(neighbours, "_PRODUCT_COLUMNS", columns)
    train, test = sides
    ranking = retrieve(train.vectors, train.labels, test.vectors, test.labels)
    similarities = cosines(train.vectors, test.vectors)
    for query, row in enumerate(similarities):
        relevant = train.labels == test.labels[query]
        assert ranking.nearest[query].tolist() == np.argsort(-row, kind="stable")[:50].tolist()
        assert ranking.average_precision[query] == pytest.approx(slow_average_precision(row, relevant))
        assert ranking.average_precision[query] == pytest.approx(average_precision_score(relevant, row))
    for depth in (1, 5, 50):
        expected = [
            any(train.labels[column] == label for column in np.argsort(-row, kind="stable")[:depth])
            for row, label in zip(similarities, test.labels, strict=True)
        ]
        assert recalled(ranking, train.labels, test.labels, depth=depth).tolist() == expected


def test_equally_similar_videos_share_a_threshold() -> None:
    rng = np.random.default_rng(0)
    train = np.repeat(rng.normal(size=(15, 3)).astype(np.float32), 4, axis=0)  # every vector four times
    labels = rng.integers(3, size=60)
    test = rng.normal(size=(10, 3)).astype(np.float32)
    ranking = retrieve(train, labels, test, np.arange(10) % 3)
    for query, row in enumerate(cosines(train, test).round(9)):
        expected = average_precision_score(labels == query % 3, row)
        assert ranking.average_precision[query] == pytest.approx(expected)


def test_all_alike_is_the_share_of_the_class() -> None:
    train = np.ones((8, 2), dtype=np.float32)
    ranking = retrieve(train, np.arange(8) % 4, train[:2], np.array([0, 3]))
    assert ranking.average_precision.tolist() == [0.25, 0.25]
    assert ranking.nearest.tolist() == [list(range(8))] * 2


def test_a_query_without_label_or_without_a_video_of_its_class_scores_nothing(sides) -> None:
    train, test = sides
    labels = np.where(np.arange(50) < 25, -1, 7)
    ranking = retrieve(train.vectors, train.labels, test.vectors, labels)
    assert not ranking.average_precision.any()
    assert not recalled(ranking, train.labels, labels, depth=50).any()


def test_test_labels_change_no_ranking(sides) -> None:
    train, test = sides
    plain, other = (
        retrieve(train.vectors, train.labels, test.vectors, labels) for labels in (test.labels, -test.labels)
    )
    np.testing.assert_array_equal(plain.nearest, other.nearest)


@pytest.mark.parametrize("lead", [0, 1])  # of the query's class: none, and so much that the others need no order
@pytest.mark.parametrize("decimals", [1, 7])  # with many equal similarities, and with none
def test_ranking_is_that_of_a_stable_sort(decimals: int, lead: float) -> None:
    rng = np.random.default_rng(0)
    labels, queries = rng.integers(9, size=3000), np.array([3, 3, 8, -1, 12, 0])
    noise = rng.normal(size=(6, 3000)) / 5
    noise[labels == queries[:, None]] += lead
    similarities = torch.from_numpy(noise.round(decimals).astype(np.float32))
    ranking = FullRanking(labels, depth=50).of(similarities, queries)
    np.testing.assert_array_equal(ranking.nearest, np.argsort(-similarities.numpy(), axis=1, kind="stable")[:, :50])
    relevant = [np.flatnonzero(labels == label) for label in queries]
    assert ranking.average_precision == pytest.approx(sorted_precisions(similarities, relevant))
    assert ranking.average_precision[[3, 4]].tolist() == [0, 0]
    for query in (0, 1, 2, 5):
        expected = average_precision_score(labels == queries[query], similarities[query].numpy())
        assert ranking.average_precision[query] == pytest.approx(expected)
