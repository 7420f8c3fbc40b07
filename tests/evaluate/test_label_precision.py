import numpy as np
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from scale_video.evaluate.bootstrap import resampled_counts
from scale_video.evaluate.label_precision import class_precisions, label_ranking_precisions, mean_average_precision


@pytest.fixture(params=["distinct", "tied"])
def videos(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, relevance and groups of 60 videos, six of which have no class, and of one class nobody has."""
    rng = np.random.default_rng(3)
    relevant = rng.random((60, 5)) < 0.3
    relevant[:, 4] = False
    relevant[:6] = False
    scores = relevant + rng.normal(size=relevant.shape)
    if request.param == "tied":
        scores = scores.round()
    return scores, relevant, rng.integers(8, size=60)


def test_class_precisions_are_scikit_learns(videos) -> None:
    scores, relevant, _ = videos
    expected = [average_precision_score(relevant[:, c], scores[:, c]) for c in range(4)]
    np.testing.assert_allclose(class_precisions(scores, relevant), [*expected, 0], rtol=1e-12)


def test_the_mean_and_its_interval_equal_resamples_that_are_written_out(videos) -> None:
    scores, relevant, groups = videos
    found = mean_average_precision(scores, relevant, groups, num_resamples=40)
    assert found.value == pytest.approx(average_precision_score(relevant[:, :4], scores[:, :4], average="macro"))
    means = []
    for counts in resampled_counts(8, num_resamples=40, seed=0, chunk=7):
        for of_groups in counts:
            rows = np.concatenate(
                [np.flatnonzero(groups == group) for group in range(8) for _ in range(of_groups[group])]
            )
            occurs = np.flatnonzero(relevant[rows].any(axis=0))
            means.append(np.mean([average_precision_score(relevant[rows, c], scores[rows, c]) for c in occurs]))
    np.testing.assert_allclose((found.low, found.high), np.quantile(means, [0.025, 0.975]), rtol=1e-12)
    assert found.low < found.value < found.high


def test_resampled_counts_are_the_draws_of_the_other_intervals() -> None:
    drawn = np.random.default_rng(5).integers(9, size=(20, 9))
    counts = np.concatenate(list(resampled_counts(9, num_resamples=20, seed=5, chunk=6)))
    np.testing.assert_array_equal(counts, [np.bincount(row, minlength=9) for row in drawn])


def test_a_single_group_has_no_interval(videos) -> None:
    scores, relevant, groups = videos
    found = mean_average_precision(scores, relevant, np.zeros_like(groups))
    assert (found.low, found.high) == (0.0, 1.0)


def test_label_rankings_are_scikit_learns(videos) -> None:
    scores, relevant, _ = videos
    found = label_ranking_precisions(scores, relevant)
    assert found.mean() == pytest.approx(label_ranking_average_precision_score(relevant, scores))
    assert (found[:6] == 1).all()
