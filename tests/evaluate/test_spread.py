import numpy as np
import pytest

from scale_video.evaluate.bootstrap import bootstrap_interval
from scale_video.evaluate.spread import interval_of_mean, spread


def test_one_row_has_no_spread() -> None:
    found = spread({("1", 0): 0.4})
    assert (found.value, found.low, found.high) == (0.4, 0.4, 0.4)


def test_replicates_of_one_split() -> None:
    found = spread({("1", 0): 0.4, ("1", 1): 0.5, ("1", 2): 0.9})
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.4, 0.9))


def test_splits_of_one_replicate() -> None:
    found = spread({("1", None): 0.4, ("2", None): 0.5, ("3", None): 0.9})
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.4, 0.9))


def test_replicates_are_averaged_within_splits_and_ranged_over_splits() -> None:
    rows = {("1", 0): 0.8, ("1", 1): 0.9, ("2", 0): 0.6, ("2", 1): 0.7}
    found = spread(rows)
    of_seeds = [(rows["1", seed] + rows["2", seed]) / 2 for seed in (0, 1)]
    assert (found.value, found.low, found.high) == pytest.approx((0.75, min(of_seeds), max(of_seeds)))


def test_a_split_with_more_replicates_does_not_weigh_more() -> None:
    found = spread({("1", 0): 0.8, ("1", 1): 1.0, ("2", 0): 0.5})
    assert (found.value, found.ranged) == (pytest.approx(0.7), (0,))  # seed 1 was not tested on both


def test_interval_of_one_split_is_that_of_a_record() -> None:
    rng = np.random.default_rng(0)
    scores, groups = rng.integers(2, size=60).astype(float), np.array([f"film{index // 4}" for index in range(60)])
    assert interval_of_mean([scores], [groups]) == pytest.approx(bootstrap_interval(scores, groups))


def test_interval_of_two_splits_is_that_of_a_slow_bootstrap() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.random(20), rng.random(12)]
    groups = [
        np.array([f"g{index % 10}" for index in range(20)]),
        np.array([f"g{4 + index % 6}" for index in range(12)]),
    ]
    names = sorted(set(groups[0]) | set(groups[1]))
    draws = np.random.default_rng(7)
    means = []
    for drawn in draws.integers(len(names), size=(300, len(names))):
        of_splits = []
        for values, of in zip(scores, groups, strict=True):
            taken = [value for index in drawn for value, group in zip(values, of, strict=True) if group == names[index]]
            of_splits.append(np.mean(taken))
        means.append(np.mean(of_splits))
    found = interval_of_mean(scores, groups, num_resamples=300, seed=7)
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_a_split_of_one_group_has_no_interval() -> None:
    low, high = interval_of_mean([np.ones(3), np.zeros(2)], [np.array(["a", "b", "c"]), np.array(["d", "d"])])
    assert (low, high) == (-np.inf, np.inf)
