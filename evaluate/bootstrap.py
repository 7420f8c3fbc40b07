"""How far a test score would move with another draw of test videos: a percentile bootstrap over groups.

Efron's percentile interval, with groups (films, recordings) as the units that are drawn again: the videos of one group
are right or wrong together, and drawing single videos would promise more certainty than there is. It speaks of the test
videos only; the spread between training seeds is not in it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_DRAWS = 2**22  # drawn group indices at a time: 32 MiB


def bootstrap_interval(
    correct: NDArray[Any],
    groups: NDArray[Any],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Estimate an interval for the mean of ``correct``.

    Each resample draws as many groups as there are, with replacement, and divides the sum of ``correct`` over their
    videos by the number of these. One group alone cannot be drawn in another way: the interval is then (0, 1).

    Args:
        correct: Whether a test video was classified right, or a share in [0, 1], shape (N,), N >= 1.
        groups: Group of each test video, shape (N,), strings or integers.
        num_resamples: Resamples, at least 1.
        confidence: Share of the resamples inside the interval, in (0, 1).
        seed: Seeds the draws. The same groups under the same seed are drawn the same way for every representation.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: no videos, unequal lengths, a value outside [0, 1], or a parameter out of its range.
    """
    if len(correct) == 0 or len(correct) != len(groups):
        raise ValueError(f"correct and groups need one value per test video, got {len(correct)} and {len(groups)}")
    if not ((correct >= 0) & (correct <= 1)).all():
        raise ValueError(f"correct must lie in [0, 1], got values from {correct.min()} to {correct.max()}")
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"num_resamples must be at least 1 and confidence in (0, 1), got {num_resamples} and {confidence}"
        )
    group_of_row = np.unique(groups, return_inverse=True)[1]
    num_right = np.bincount(group_of_row, weights=correct)  # (G,)
    num_videos = np.bincount(group_of_row)  # (G,)
    num_groups = len(num_videos)
    if num_groups == 1:
        return 0.0, 1.0

    rng = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    chunk = max(1, _CHUNK_DRAWS // num_groups)
    for first in range(0, num_resamples, chunk):
        resamples = slice(first, min(first + chunk, num_resamples))
        drawn = rng.integers(num_groups, size=(resamples.stop - first, num_groups))
        means[resamples] = num_right[drawn].sum(axis=1) / num_videos[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
