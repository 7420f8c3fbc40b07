import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import KNeighborsClassifier

from scale_video.evaluate import knn
from scale_video.evaluate.knn import knn_predict, knn_scores


def slow_similarities(train: np.ndarray, test: np.ndarray) -> list[list[float]]:
    mean = [sum(column) / len(train) for column in train.astype(np.float64).T]
    rows = []
    for vector in test.astype(np.float64):
        row = []
        for other in train.astype(np.float64):
            a, b = vector - mean, other - mean
            lengths = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
            row.append(float(a @ b) / lengths if lengths > 0 else 0.0)
        rows.append(row)
    return rows


def slow_scores(similarities: list[list[float]], labels: np.ndarray, *, num_classes: int, k: int) -> np.ndarray:
    scores = np.zeros((len(similarities), num_classes))
    for row, similarity in enumerate(similarities):
        nearest = sorted(range(len(similarity)), key=lambda column: (-similarity[column], column))[:k]
        for column in nearest:
            scores[row, labels[column]] += math.exp(similarity[column] / 0.07)
        scores[row] /= scores[row].sum()
    return scores


@settings(max_examples=50)
@given(data=st.data())
def test_equals_a_loop(data: st.DataObject) -> None:
    num_train, num_test, dim = (data.draw(st.integers(1, top)) for top in (12, 5, 4))
    # Whole numbers times a power of two: the mean and the centred values have no rounding in which the two could part.
    values = st.integers(-8, 8).map(float)
    train = data.draw(hnp.arrays(np.float32, (num_train, dim), elements=values)) * np.float32(num_train)
    test = data.draw(hnp.arrays(np.float32, (num_test, dim), elements=values)) * np.float32(num_train)
    labels = data.draw(hnp.arrays(np.int32, num_train, elements=st.integers(0, 3)))
    k = data.draw(st.integers(1, 14))
    similarities = slow_similarities(train, test)
    for row in similarities:  # a near-tie at the border is decided by rounding, in the loop as well
        ordered = sorted(row, reverse=True)
        assume(k >= num_train or ordered[k - 1] - ordered[k] > 1e-5)
    expected = slow_scores(similarities, labels, num_classes=4, k=k)
    np.testing.assert_allclose(knn_scores(train, labels, test, num_classes=4, k=k), expected, atol=1e-4)


def test_equals_a_loop_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 40, 6)).astype(np.float32)
    labels = rng.integers(5, size=40)
    expected = slow_scores(slow_similarities(train, test), labels, num_classes=5, k=20)
    monkeypatch.setattr(knn, "_CHUNK_QUERIES", 7)
    scores = knn_scores(train, labels, test, num_classes=5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_equals_scikit_learns_with_the_same_weights() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.normal(size=(2, 50, 6)).astype(np.float32)
    labels = np.arange(50) % 4
    mean = train.mean(axis=0)
    theirs = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    theirs.fit(train - mean, labels)
    ours = knn_scores(train, labels, test, num_classes=4)
    np.testing.assert_allclose(ours, theirs.predict_proba(test - mean), atol=1e-4)


def test_of_equal_neighbours_the_lower_rows_vote() -> None:
    # Train and test are symmetric: rows 1 to 4 are equally far from the test vector, and only two of them may vote.
    train = np.array([[1, 0], [0, 1], [0, 1], [0, -1], [0, -1], [-1, 0]], dtype=np.float32)
    labels = np.array([0, 1, 2, 3, 4, 5])
    scores = knn_scores(train, labels, np.array([[1, 0]], dtype=np.float32), num_classes=6, k=3)
    assert (scores[0] > 0).tolist() == [True, True, True, False, False, False]
    assert scores[0, 1] == scores[0, 2]


def test_rows_with_and_without_ties_together() -> None:
    train = np.array([[1, 0], [0, 1], [0, -1], [-1, 0]], dtype=np.float32)
    test = np.array([[1, 0], [0.3, 1], [-1, 0]], dtype=np.float32)
    scores = knn_scores(train, np.arange(4), test, num_classes=4, k=2)
    assert (scores > 0).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [False, True, False, True],
    ]


def test_of_equal_votes_the_lower_class_wins() -> None:
    train = np.array([[1, 1], [1, -1], [-2, 0]], dtype=np.float32)
    prediction = knn_predict(train, np.array([2, 1, 0]), np.array([[1, 0]], dtype=np.float32), num_classes=3, k=2)
    assert prediction.classes.tolist() == [1]


def test_the_training_mean_itself_is_near_to_nothing() -> None:
    train = np.array([[2, 0], [0, 2]], dtype=np.float32)
    scores = knn_scores(train, np.array([0, 1]), np.array([[1, 1]], dtype=np.float32), num_classes=2)
    np.testing.assert_array_equal(scores, [[0.5, 0.5]])


def test_equal_training_videos_all_vote() -> None:
    same = np.full((3, 2), 0.1, dtype=np.float32)
    scores = knn_scores(same, np.array([0, 0, 1]), same[:1], num_classes=2)
    np.testing.assert_allclose(scores, [[2 / 3, 1 / 3]])


def test_centred_by_the_training_mean_on_both_sides() -> None:
    # Far from the origin everything points the same way; only the centred directions tell the classes apart.
    train = np.array([[101, 100], [99, 100]], dtype=np.float32)
    test = np.array([[105, 100], [103, 100]], dtype=np.float32)  # by its own mean the second would point left
    assert knn_predict(train, np.array([0, 1]), test, num_classes=2, k=1).classes.tolist() == [0, 0]


def test_low_temperatures_do_not_overflow() -> None:
    train = np.eye(3, dtype=np.float32)
    scores = knn_scores(train, np.arange(3), train, num_classes=3, temperature=1e-4)
    np.testing.assert_array_equal(scores, np.eye(3))


def test_k_is_lowered_and_said() -> None:
    train = np.eye(3, dtype=np.float32)
    prediction = knn_predict(train, np.arange(3), train, num_classes=3)
    assert prediction.hyperparameters == {"k": 3, "temperature": 0.07}
    assert prediction.note == "k lowered from 20 to 3, the number of training videos"
    assert knn_predict(train, np.arange(3), train, num_classes=3, k=3).note == ""


@pytest.mark.parametrize(("k", "temperature"), [(0, 0.07), (20, 0.0), (20, -1.0)])
def test_bad_parameters(k: int, temperature: float) -> None:
    train = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=f"got k={k} and temperature={temperature}"):
        knn_scores(train, np.arange(3), train, num_classes=3, k=k, temperature=temperature)


def test_a_class_that_nobody_voted_for_is_not_named() -> None:
    train = np.eye(3, dtype=np.float32)
    prediction = knn_predict(train, np.array([4, 6, 6]), train, num_classes=8, k=1)
    assert prediction.ranked.tolist() == [[4, -1, -1, -1, -1], [6, -1, -1, -1, -1], [6, -1, -1, -1, -1]]
    assert prediction.hits(np.array([4, 0, 6]), top=5).tolist() == [True, False, True]
    assert not prediction.hits(np.array([-1, -1, -1]), top=5).any()
