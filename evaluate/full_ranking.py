"""What a query's full ranking tells: its nearest videos, and its average precision.

Both follow from the similarities in rising order: the k-th largest bounds the nearest, and a relevant video's place is
the number of videos that are at least as similar. On a CPU threads take a query each, since a row is too short to be
sorted by two, and NumPy sorts one (with vector instructions) in a sixteenth of torch's time.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.evaluate.neighbours import largest_columns


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one pass over the training videos tells of the test videos."""

    nearest: NDArray[np.int64]
    """Most similar training rows of each test row, nearest first, shape (N_test, min(depth, N))."""
    average_precision: NDArray[np.float64]
    """Shape (N_test,): the mean, over the training videos of the query's class, of the share of that class among all
    that are at least as similar; 0 for a query whose class no training video has."""


class FullRanking:
    """Of queries among the same N videos.

    Args:
        labels: Classes of the N videos, shape (N,).
        depth: Nearest videos that are asked for, in [1, N].
    """

    def __init__(self, labels: NDArray[np.integer[Any]], *, depth: int) -> None:
        order = np.argsort(labels, kind="stable")
        classes, starts = np.unique(labels[order], return_index=True)
        self._rows_of_class = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
        self._depth = depth
        self._thread = threading.local()  # memory for a row: fresh pages of this size cost as much as the work on them

    def of(self, similarities: Tensor, query_labels: NDArray[np.integer[Any]]) -> Ranking:
        """Rank the videos for each query.

        Args:
            similarities: Of n queries with the N videos, shape (n, N), float32, finite.
            query_labels: Their classes, shape (n,).
        """
        relevant = [self._rows_of_class.get(int(label), _NONE) for label in query_labels]
        if similarities.device.type == "cpu":
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                found = list(pool.map(self._of_row, similarities.numpy(), relevant))
            nearest = np.stack([columns for columns, _ in found])
            return Ranking(nearest, np.array([precision for _, precision in found]))
        columns = largest_columns(similarities, self._depth)
        order = similarities.gather(1, columns).argsort(dim=1, descending=True, stable=True)
        return Ranking(columns.gather(1, order).cpu().numpy(), sorted_precisions(similarities, relevant))

    def _of_row(self, row: NDArray[np.float32], relevant: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        wanted = np.sort(row[relevant])
        rising = self._rising(row, at_least=wanted[0] if len(wanted) else None)
        candidates = np.flatnonzero(row >= rising[-self._depth])  # more than ``depth`` where the last are equal
        order = np.argsort(-row[candidates], kind="stable")[: self._depth]  # of equal ones the lower row is nearer
        return candidates[order], _average_precision(rising, wanted)

    def _rising(self, row: NDArray[np.float32], *, at_least: np.float32 | None) -> NDArray[np.float32]:
        """The similarities in rising order; only those that count, where they are few."""
        if at_least is not None:
            counts = row >= at_least
            if self._depth <= np.count_nonzero(counts) < len(row) // 4:
                return np.sort(row[counts])
        if not hasattr(self._thread, "row"):
            self._thread.row = np.empty_like(row)
        rising: NDArray[np.float32] = self._thread.row
        np.copyto(rising, row)
        rising.sort()
        return rising


_NONE = np.empty(0, dtype=np.int64)


def _average_precision(rising: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Of relevant videos with ``wanted`` similarities, rising, among all that are as similar as the first of them."""
    if not len(wanted):
        return 0.0
    wanted_at_least = len(wanted) - np.searchsorted(wanted, wanted)
    return float((wanted_at_least / (len(rising) - np.searchsorted(rising, wanted))).mean())


def sorted_precisions(similarities: Tensor, relevant: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Average precisions on any device.

    Args:
        similarities: Shape (n, N).
        relevant: Columns of the relevant videos of each row.
    """
    rising = similarities.sort(dim=1).values
    precisions = torch.zeros(len(similarities), dtype=torch.float64, device=similarities.device)
    for query, columns in enumerate(relevant):
        if len(columns):
            wanted = similarities[query, torch.from_numpy(columns).to(similarities.device)].sort().values
            at_least = rising.shape[1] - torch.searchsorted(rising[query], wanted)
            wanted_at_least = len(wanted) - torch.searchsorted(wanted, wanted)
            precisions[query] = (wanted_at_least.double() / at_least).mean()
    found: NDArray[np.float64] = precisions.cpu().numpy()
    return found
