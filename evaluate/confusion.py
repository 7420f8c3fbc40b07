"""Which class is taken for which: counts of predictions by true class, and the pairs that are mixed up most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Test videos of one class that were predicted to be of another."""

    label: int
    predicted: int
    num_videos: int
    """How many."""
    num_of_class: int
    """Of so many test videos of the class."""


def confusion_counts(
    labels: NDArray[np.integer[Any]], predictions: NDArray[np.integer[Any]], *, num_classes: int
) -> NDArray[np.int64]:
    """Count test videos by true class (rows) and predicted class (columns).

    Args:
        labels: In [0, num_classes), shape (N,).
        predictions: Likewise.
        num_classes: Of the data set.

    Returns:
        Shape (num_classes, num_classes).
    """
    cells = np.asarray(labels, dtype=np.int64) * num_classes + predictions
    counts: NDArray[np.int64] = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts


def confusion_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each row of ``confusion_counts`` divided by its sum; a class without test videos is NaN."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    return shares


def most_confused(counts: NDArray[np.int64], *, at_most: int) -> list[ConfusedPair]:
    """The pairs with the largest share of the true class's videos, largest first; of equal ones the one with more."""
    shares = confusion_shares(counts)
    pairs = [(int(row), int(column)) for row, column in np.argwhere(counts > 0) if row != column]
    pairs.sort(key=lambda pair: (-shares[pair], -counts[pair], pair))
    return [
        ConfusedPair(row, column, int(counts[row, column]), int(counts[row].sum())) for row, column in pairs[:at_most]
    ]
