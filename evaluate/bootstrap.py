"""How far a test score would move with another draw of test videos: a percentile bootstrap over groups.

Efron's percentile interval, with groups (films, recordings) as the units that are drawn again: the videos of one group
are right or wrong together, and drawing single videos would promise more certainty than there is. It speaks of the test
videos only; the spread between training seeds is not in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_DRAWS = 2**22  # drawn group indices at a time: 32 MiB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean score of test videos with its interval."""

    value: float
    """In [0, 1]; a squared error may be larger."""
    low: float
    """Ends of the 95 % bootstrap interval over test groups."""
    high: float


def estimate(scores: NDArray[Any], groups: NDArray[Any], *, bounded: bool = True) -> Estimate:
    """The mean of scores with ``bootstrap_interval``; arguments and errors are those of it."""
    low, high = bootstrap_interval(scores, groups, bounded=bounded)
    return Estimate(float(scores.mean()), low, high)


def estimate_per_class(
    scores: NDArray[Any], groups: NDArray[Any], labels: NDArray[np.integer[Any]]
) -> dict[int, tuple[Estimate, int]]:
    """An estimate over the test videos of each class, and how many these are; by class, rising.

    Args:
        scores: Of the labelled test videos, shape (N,).
        groups: Their groups, shape (N,).
        labels: Their classes, shape (N,).
    """
    found = {}
    for label in np.unique(labels):
        of_class = labels == label
        found[int(label)] = (estimate(scores[of_class], groups[of_class]), int(of_class.sum()))
    return found


def bootstrap_interval(
    correct: NDArray[Any],
    groups: NDArray[Any],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    bounded: bool = True,
) -> tuple[float, float]:
    """Estimate an interval for the mean of ``correct``.

    Each resample draws as many groups as there are, with replacement, and divides the sum of ``correct`` over their
    videos by the number of these. One group alone cannot be drawn in another way: the interval is then (0, 1), or ends
    at the largest value where values are not bounded.

    Args:
        correct: Whether a test video was classified right, or a share in [0, 1], shape (N,), N >= 1.
        groups: Group of each test video, shape (N,), strings or integers.
        num_resamples: Resamples, at least 1.
        confidence: Share of the resamples inside the interval, in (0, 1).
        seed: Seeds the draws. The same groups under the same seed are drawn the same way for every representation.
        bounded: Values must lie in [0, 1]. Squared errors don't, and are only not negative.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: no videos, unequal lengths, a value outside [0, 1], or a parameter out of its range.
    """
    if len(correct) == 0 or len(correct) != len(groups):
        raise ValueError(f"correct and groups need one value per test video, got {len(correct)} and {len(groups)}")
    if not ((correct >= 0) & (correct <= (1 if bounded else np.inf))).all():
        limits = "in [0, 1]" if bounded else "at or above 0"
        raise ValueError(f"correct must lie {limits}, got values from {correct.min()} to {correct.max()}")
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"num_resamples must be at least 1 and confidence in (0, 1), got {num_resamples} and {confidence}"
        )
    if len(np.unique(groups)) == 1:
        return 0.0, 1.0 if bounded else float(correct.max())
    means = bootstrap_means(correct, groups, num_resamples=num_resamples, seed=seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_means(
    values: NDArray[Any], groups: NDArray[Any], *, num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Means of ``values`` over resampled groups, shape (num_resamples,); arguments as in ``bootstrap_interval``."""
    group_of_row = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(group_of_row, weights=values)  # (G,)
    num_videos = np.bincount(group_of_row)  # (G,)
    means = [
        sums[drawn].sum(axis=1) / num_videos[drawn].sum(axis=1)
        for drawn in _drawn_groups(len(num_videos), num_resamples=num_resamples, seed=seed)
    ]
    return np.concatenate(means)


def resampled_counts(num_groups: int, *, num_resamples: int, seed: int, chunk: int) -> Iterator[NDArray[np.int64]]:
    """How often each group is drawn in each of the resamples of ``bootstrap_means``, in chunks (R, num_groups)."""
    for drawn in _drawn_groups(num_groups, num_resamples=num_resamples, seed=seed, chunk=chunk):
        rows = np.arange(len(drawn))[:, None]
        counts = np.bincount((rows * num_groups + drawn).ravel(), minlength=len(drawn) * num_groups)
        yield counts.reshape(len(drawn), num_groups)


def _drawn_groups(
    num_groups: int, *, num_resamples: int, seed: int, chunk: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Groups of each resample, in chunks (R, num_groups); which these are does not depend on the chunks."""
    rng = np.random.default_rng(seed)
    chunk = chunk or max(1, _CHUNK_DRAWS // num_groups)
    for first in range(0, num_resamples, chunk):
        yield rng.integers(num_groups, size=(min(chunk, num_resamples - first), num_groups))
