import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from scale_video.evaluate.comparison import compare_paired


def slow_p(gains: np.ndarray, groups: np.ndarray) -> float:
    sums = [gains[groups == group].sum() for group in np.unique(groups)]
    found = abs(sum(sums))
    totals = [abs(sum(s * g for s, g in zip(signs, sums, strict=True))) for signs in
              itertools.product((1, -1), repeat=len(sums))]  # fmt: skip
    return float(np.mean([total >= found - 1e-12 for total in totals]))


def right_or_wrong(shares: tuple[float, float], *, num_videos: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.random(num_videos) < share).astype(np.float64) for share in shares]


@pytest.mark.parametrize("seed", range(4))
def test_equals_mcnemars_exact_test_where_every_video_is_a_group(seed: int) -> None:
    first, second = right_or_wrong((0.5, 0.6), num_videos=200, seed=seed)
    gained, lost = int((second > first).sum()), int((first > second).sum())
    found = compare_paired(first, second, np.arange(200))
    assert found.p == pytest.approx(binomtest(gained, gained + lost).pvalue, abs=0.015)  # 9999 swaps: 3 sigma
    assert found.value == pytest.approx((gained - lost) / 200)
    few = slice(0, 12)
    exact = compare_paired(first[few], second[few], np.arange(12))
    gained, lost = int((second > first)[few].sum()), int((first > second)[few].sum())
    assert exact.p == pytest.approx(binomtest(gained, gained + lost).pvalue if gained + lost else 1.0)


def test_equals_going_through_all_swaps_of_groups() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 40))
    groups = rng.integers(8, size=40)
    assert compare_paired(first, second, groups).p == pytest.approx(slow_p(second - first, groups))


def test_the_interval_is_that_of_a_loop() -> None:
    first, second = right_or_wrong((0.4, 0.7), num_videos=60, seed=0)
    groups = np.arange(60) // 5
    found = compare_paired(first, second, groups, num_resamples=50, seed=3)
    rng = np.random.default_rng(3)
    differences = []
    for _ in range(50):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in rng.integers(12, size=12)])
        differences.append(second[rows].mean() - first[rows].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_pairing_finds_what_single_intervals_hide() -> None:
    # Both right on the same half; the second on twelve videos more: their intervals overlap, the difference is sure.
    first = (np.arange(200) < 100).astype(float)
    second = (np.arange(200) < 112).astype(float)
    found = compare_paired(first, second, np.arange(200))
    assert 0 < found.low < 0.06 < found.high
    assert found.p < 0.001


def test_videos_that_go_together_are_no_evidence_each() -> None:
    first, second = np.zeros(100), np.r_[np.ones(20), np.zeros(80)]
    single = compare_paired(first, second, np.arange(100))
    grouped = compare_paired(first, second, np.arange(100) // 10)
    assert single.p < 0.001
    assert grouped.p == 0.5  # two groups that both gained: 2 of 4 swaps are as extreme
    assert grouped.high - grouped.low > single.high - single.low


def test_of_equals_nothing_is_found() -> None:
    scores = np.arange(10) % 2
    found = compare_paired(scores, scores, np.arange(10))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_is_uniform_where_there_is_no_difference() -> None:
    found = [compare_paired(*right_or_wrong((0.5, 0.5), num_videos=40, seed=seed), np.arange(40) // 4).p
             for seed in range(300)]  # fmt: skip
    assert np.mean(np.array(found) <= 0.05) < 0.09  # at most 5 %, and chance
    assert 0.4 < np.mean(found) < 0.65


def test_one_group_has_no_interval() -> None:
    found = compare_paired(np.zeros(3), np.ones(3), np.zeros(3))
    assert (found.low, found.high, found.p) == (-1, 1, 1)


def test_one_group_of_squared_errors_is_bounded_by_the_largest() -> None:
    found = compare_paired(np.array([90.0, 70.0]), np.array([4.0, 22.0]), np.zeros(2))
    assert (found.value, found.low, found.high) == (-67, -90, 90)


def test_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="scores of the same videos, got 2 and 3 scores and 3 groups"):
        compare_paired(np.zeros(2), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="got 0 and 0"):
        compare_paired(np.zeros(0), np.zeros(0), np.zeros(0))
