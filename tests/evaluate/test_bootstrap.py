import numpy as np
import pytest
from scipy.stats import binom

from scale_video.evaluate import bootstrap
from scale_video.evaluate.bootstrap import bootstrap_interval


def slow_bootstrap(correct: np.ndarray, groups: np.ndarray, *, num_resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = sorted(set(groups.tolist()))
    means = []
    for _ in range(num_resamples):
        drawn = [names[number] for number in rng.integers(len(names), size=len(names))]
        values = [value for name in drawn for value, group in zip(correct, groups, strict=True) if group == name]
        means.append(sum(values) / len(values))
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


@pytest.mark.parametrize("chunk", [2**22, 10, 1])
def test_equals_a_loop(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CHUNK_DRAWS", chunk)
    rng = np.random.default_rng(0)
    correct = rng.random(30) < 0.6
    groups = np.array([f"g{number}" for number in rng.integers(7, size=30)])
    ours = bootstrap_interval(correct, groups, num_resamples=100, seed=3)
    assert ours == pytest.approx(slow_bootstrap(correct, groups, num_resamples=100, seed=3))


def test_of_coin_flips_is_about_binomial() -> None:
    correct = np.arange(400) < 280
    low, high = bootstrap_interval(correct, np.arange(400))
    assert [low, high] == pytest.approx(binom.ppf([0.025, 0.975], 400, 0.7) / 400, abs=0.006)


def test_errors_may_be_above_one_and_a_single_group_reaches_the_largest() -> None:
    errors = np.random.default_rng(0).exponential(size=30) * 100
    groups = np.arange(30) // 4
    ours = bootstrap_interval(errors, groups, num_resamples=100, seed=3, bounded=False)
    assert ours == pytest.approx(slow_bootstrap(errors, groups, num_resamples=100, seed=3))
    assert bootstrap_interval(errors, np.zeros(30), bounded=False) == (0.0, errors.max())
    with pytest.raises(ValueError, match=r"must lie at or above 0, got values from -1\.0 to 2\.0"):
        bootstrap_interval(np.array([-1.0, 2.0]), np.arange(2), bounded=False)


def test_groups_that_go_together_widen_it() -> None:
    correct = np.arange(400) % 40 < 28  # ten alternating runs of right and wrong
    correct = np.sort(correct)
    single = bootstrap_interval(correct, np.arange(400))
    grouped = bootstrap_interval(correct, np.arange(400) // 20)
    assert grouped[1] - grouped[0] > 3 * (single[1] - single[0])
    assert grouped[0] < 0.7 < grouped[1]


def test_confidence_widens_it() -> None:
    correct = np.arange(100) < 50
    wide, narrow = (bootstrap_interval(correct, np.arange(100), confidence=c) for c in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_shares_count_as_they_are() -> None:
    assert bootstrap_interval(np.full(10, 0.25), np.arange(10)) == (0.25, 0.25)


def test_one_group_knows_nothing() -> None:
    assert bootstrap_interval(np.array([True, False]), np.array(["a", "a"])) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("correct", "groups", "message"),
    [
        (np.array([]), np.array([]), "one value per test video, got 0 and 0"),
        (np.array([True]), np.array([1, 2]), "one value per test video, got 1 and 2"),
        (np.array([0.5, 1.5]), np.array([1, 2]), r"must lie in \[0, 1\], got values from 0.5 to 1.5"),
        (np.array([0.5, np.nan]), np.array([1, 2]), r"must lie in \[0, 1\], got values from nan to nan"),
    ],
)
def test_bad_values(correct: np.ndarray, groups: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(correct, groups)


@pytest.mark.parametrize(("num_resamples", "confidence"), [(0, 0.95), (10, 1.0), (10, 0.0)])
def test_bad_parameters(num_resamples: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=f"got {num_resamples} and {confidence}"):
        bootstrap_interval(np.ones(3), np.arange(3), num_resamples=num_resamples, confidence=confidence)


def test_per_class_is_the_estimate_of_each_class_alone() -> None:
    rng = np.random.default_rng(0)
    scores, groups, labels = rng.random(60), rng.integers(12, size=60), rng.integers(3, size=60) * 2
    found = bootstrap.estimate_per_class(scores, groups, labels)
    assert list(found) == [0, 2, 4]
    for label, (estimate, number) in found.items():
        chosen = labels == label
        assert number == chosen.sum()
        assert estimate.value == pytest.approx(scores[chosen].mean())
        assert (estimate.low, estimate.high) == bootstrap_interval(scores[chosen], groups[chosen])
