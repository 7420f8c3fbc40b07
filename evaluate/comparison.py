"""Is one representation better than another? The difference on the same test videos, with an interval and a p-value.

The videos of one group (film, recording) are right or wrong together, so both work on groups:

- The interval is a percentile bootstrap of the difference: groups are drawn again, and with each drawn video come its
  scores under both representations.
- The p-value is of a randomisation test. Were both equally good, then swapping their scores within a group would change
  nothing; p is the share of all such swaps whose difference is at least as large as the one found. Where every group is
  one video and scores are right or wrong, this is McNemar's exact test.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import bootstrap_means

NUM_SWAPS = 9999
"""Swaps that are drawn where there are too many to go through all of them."""

_MAX_EXACT_GROUPS = 13  # 2**13 swaps, fewer than would be drawn
_CHUNK_SIGNS = 2**22  # signs at a time


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the second of two representations is than the first."""

    value: float
    """Mean score of the second minus that of the first: in [-1, 1], of squared errors in their unit."""
    low: float
    """Ends of the 95 % interval. A single test group has none: -1 and 1, or where a score is above 1, minus and plus
    the largest score, which no difference exceeds."""
    high: float
    p: float
    """Of the two-sided test that they are equally good."""


def compare_paired(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    groups: NDArray[Any],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compare the scores of two representations on the same test videos.

    Args:
        first: Scores in [0, 1], or squared errors, shape (N,), N >= 1.
        second: Likewise, of the same videos in the same order.
        groups: Group of each video, shape (N,).
        num_resamples: Of the bootstrap.
        confidence: Share of the resamples inside the interval.
        seed: Seeds resamples and swaps.

    Raises:
        ValueError: no videos, or unequal lengths.
    """
    if len(first) == 0 or not len(first) == len(second) == len(groups):
        raise ValueError(
            f"a comparison needs the scores of the same videos, got {len(first)} and {len(second)} scores "
            f"and {len(groups)} groups"
        )
    gains = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    group_of_row = np.unique(groups, return_inverse=True)[1]
    group_gains = np.bincount(group_of_row, weights=gains).astype(np.float64)
    high = max(1.0, float(np.max(first)), float(np.max(second)))
    low = -high
    if len(group_gains) > 1:
        means = bootstrap_means(gains, groups, num_resamples=num_resamples, seed=seed)
        low, high = (float(end) for end in np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Difference(float(gains.mean()), low, high, _p_of_swaps(group_gains, seed=seed))


def compare_per_class(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    groups: NDArray[Any],
    labels: NDArray[np.integer[Any]],
) -> dict[int, tuple[Difference, int]]:
    """``compare_paired`` over the test videos of each class, and how many these are; by class, rising."""
    found = {}
    for label in np.unique(labels):
        of_class = labels == label
        difference = compare_paired(first[of_class], second[of_class], groups[of_class])
        found[int(label)] = (difference, int(of_class.sum()))
    return found


def _p_of_swaps(group_gains: NDArray[np.float64], *, seed: int) -> float:
    """Share of the sign changes of the groups' gains whose sum is at least as far from 0 as the sum itself."""
    moving = group_gains[group_gains != 0]
    least = abs(moving.sum()) * (1 - 1e-9)  # equal sums may differ in the last digit, added in another order
    if len(moving) <= _MAX_EXACT_GROUPS:
        swaps = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        return float((abs((1 - 2 * swaps) @ moving) >= least).mean())
    rng = np.random.default_rng(seed)
    num_as_large = 0
    chunk = max(1, _CHUNK_SIGNS // len(moving))
    for first in range(0, NUM_SWAPS, chunk):
        signs = 1 - 2 * rng.integers(2, size=(min(chunk, NUM_SWAPS - first), len(moving)), dtype=np.int8)
        num_as_large += int((abs(signs @ moving) >= least).sum())
    return (1 + num_as_large) / (1 + NUM_SWAPS)  # the swaps drawn, and the one that was found
