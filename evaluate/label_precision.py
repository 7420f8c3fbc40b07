"""Scores of videos that have any number of classes: average precision by class, and by video.

The mean average precision ranks the test videos of each class, so it is no mean of scores of single videos: its
interval comes from resampling groups and ranking anew. For paired comparisons there is the label ranking average
precision beside it, which ranks the classes of each video (Tsoumakas et al., 2010). Both are scikit-learn's.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import Estimate, resampled_counts

_CHUNK_VALUES = 2**22  # weights of videos in resamples at a time


def class_precisions(scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each class over the ranking of all videos; 0 where no video has the class.

    Args:
        scores: Shape (N, C); equal scores share a threshold.
        relevant: Which videos have which class, shape (N, C).

    Returns:
        Shape (C,).
    """
    once = np.ones((1, len(scores)), dtype=np.int64)
    return np.array([_weighted(scores[:, c], relevant[:, c], once)[0] for c in range(scores.shape[1])])


def mean_average_precision(
    scores: NDArray[np.floating[Any]],
    relevant: NDArray[np.bool_],
    groups: NDArray[Any],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of the average precisions of those classes that a test video has, with an interval over groups.

    In a resample each video counts as often as its group was drawn, and the mean is over the classes that occur in it.

    Args:
        scores: Of the labelled test videos, shape (N, C).
        relevant: Shape (N, C); at least one is true.
        groups: Shape (N,).
        num_resamples: Of the bootstrap.
        confidence: Share of the resamples inside the interval.
        seed: Seeds the resamples; they are those of ``bootstrap_interval``.

    Returns:
        The value in [0, 1]; the interval is (0, 1) where there is a single group.
    """
    present = np.flatnonzero(relevant.any(axis=0))
    value = float(class_precisions(scores[:, present], relevant[:, present]).mean())
    group_of_row = np.unique(groups, return_inverse=True)[1]
    num_groups = int(group_of_row.max()) + 1
    if num_groups == 1:
        return Estimate(value, 0.0, 1.0)
    means = []
    chunk = max(1, _CHUNK_VALUES // max(num_groups, len(scores)))
    for counts in resampled_counts(num_groups, num_resamples=num_resamples, seed=seed, chunk=chunk):
        weights = counts[:, group_of_row]  # (R, N)
        precisions = np.stack([_weighted(scores[:, c], relevant[:, c], weights) for c in present], axis=1)
        occurs = weights @ relevant[:, present].astype(np.int64) > 0  # (R, C)
        means.append(precisions.sum(axis=1)[occurs.any(axis=1)] / occurs.sum(axis=1)[occurs.any(axis=1)])
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def precision_per_class(
    scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_], groups: NDArray[Any]
) -> dict[int, tuple[Estimate, int]]:
    """Average precision of each class that a test video has, and how many have it; by class, rising.

    The interval is over groups of all videos, as all are ranked; resamples without the class are left out.

    Args:
        scores: Of the labelled test videos, shape (N, C).
        relevant: Which videos have which class, shape (N, C).
        groups: Shape (N,).
    """
    return {
        c: (mean_average_precision(scores[:, [c]], relevant[:, [c]], groups), int(relevant[:, c].sum()))
        for c in np.flatnonzero(relevant.any(axis=0)).tolist()
    }


def label_ranking_precisions(scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How well the classes of each video are ranked above the others.

    Args:
        scores: Shape (N, C).
        relevant: Shape (N, C).

    Returns:
        Shape (N,): the mean, over the video's classes, of the share of its classes among all with at least that score;
        1 where it has none of the classes.
    """
    precisions = np.ones(len(scores))
    for row in np.flatnonzero(relevant.any(axis=1)):
        of_classes, wanted = np.sort(scores[row]), np.sort(scores[row, relevant[row]])
        num_at_least = len(of_classes) - np.searchsorted(of_classes, wanted)
        num_wanted = len(wanted) - np.searchsorted(wanted, wanted)
        precisions[row] = (num_wanted / num_at_least).mean()
    return precisions


def _weighted(
    scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Average precision of one class when video n counts weights[r, n] times; (N,), (N,), (R, N) -> (R,)."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    found = (weights[:, order] * relevant[order]).cumsum(axis=1)[:, last_of_tie]  # (R, thresholds)
    retrieved = weights[:, order].cumsum(axis=1)[:, last_of_tie]
    gained = np.diff(found, axis=1, prepend=0)
    total = (gained * found / np.maximum(retrieved, 1)).sum(axis=1)
    precision: NDArray[np.float64] = total / np.maximum(found[:, -1], 1)
    return precision
