"""The average precision of a query over a full ranking, without ranking in full.

It needs, for each relevant video, how many videos are at least as similar. On a GPU all similarities are sorted, which
is quick there. On a CPU they are counted in narrow bins instead, a third of a sort's time; threads take a query each,
since a single one is too short a piece of work to be shared.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST_BINS = 2**16  # what a processor keeps near


class AveragePrecisions:
    """Of queries among the same N videos."""

    def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
        """Remember which videos are of which class.

        Args:
            labels: Classes of the N videos, shape (N,).
        """
        order = np.argsort(labels, kind="stable")
        classes, starts = np.unique(labels[order], return_index=True)
        self._rows_of_class = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
        self._scratch = _Scratch(len(labels))

    def of(self, similarities: Tensor, query_labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Compute the average precision of each query.

        Args:
            similarities: Of n queries with the N videos, shape (n, N), float32.
            query_labels: Their classes, shape (n,).

        Returns:
            Shape (n,): the mean, over the videos of the query's class, of the share of that class among all videos that
            are at least as similar; 0 where the class has no video.
        """
        asked = [query for query, label in enumerate(query_labels) if int(label) in self._rows_of_class]
        relevant = [self._rows_of_class[int(query_labels[query])] for query in asked]
        precisions = np.zeros(len(query_labels))
        if similarities.device.type == "cpu":
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                rows = similarities.numpy()
                precisions[asked] = list(pool.map(lambda query, of: self._counted(rows[query], of), asked, relevant))
        else:
            precisions[asked] = sorted_precisions(similarities[asked], relevant)
        return precisions

    def _counted(self, similarities: NDArray[np.float32], relevant: NDArray[np.int64]) -> float:
        wanted = np.sort(similarities[relevant])
        wanted_at_least = len(wanted) - np.searchsorted(wanted, wanted)
        return float((wanted_at_least / num_at_least(similarities, wanted, self._scratch)).mean())


class _Scratch(threading.local):
    """Memory that every query of a thread uses again: fresh pages of this size cost more than the work on them."""

    def __init__(self, num_columns: int) -> None:
        self.scaled = np.empty(num_columns, dtype=np.float32)
        self.bins = np.empty(num_columns, dtype=np.intp)
        self.is_rival = np.empty(num_columns, dtype=np.bool_)


def num_at_least(
    similarities: NDArray[np.float32], wanted: NDArray[np.float32], scratch: _Scratch
) -> NDArray[np.int64]:
    """How many similarities are at least as large as each wanted one; exact.

    A wanted one is compared with those of its own bin alone, its rivals; of the bins above all count.

    Args:
        similarities: Shape (N,).
        wanted: Rising, shape (R,); values that occur among the similarities.
        scratch: Of N columns.
    """
    num_bins = min(_MOST_BINS, max(2, len(similarities) // 4))
    low = similarities.min()
    scale = np.float32(num_bins - 1) / max(similarities.max() - low, np.float32(1e-30))

    def bins_of(values: NDArray[np.float32], scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        np.subtract(values, low, out=scaled)  # rounding keeps the order: a larger value is never in a lower bin
        np.multiply(scaled, scale, out=scaled)
        return np.minimum(scaled, np.float32(num_bins - 1), out=scaled)

    np.copyto(scratch.bins, bins_of(similarities, scratch.scaled), casting="unsafe")
    counts = np.bincount(scratch.bins, minlength=num_bins)
    wanted_bins = bins_of(wanted, np.empty_like(wanted)).astype(np.intp)
    rival_bins, place = np.unique(wanted_bins, return_inverse=True)
    holds_rivals = np.zeros(num_bins, dtype=np.bool_)
    holds_rivals[rival_bins] = True
    holds_rivals.take(scratch.bins, out=scratch.is_rival, mode="clip")  # without a mode, take copies its output
    rivals = np.sort(similarities[scratch.is_rival])
    in_bins_above = len(similarities) - counts.cumsum()[wanted_bins]
    rivals_in_bins_above = len(rivals) - counts[rival_bins].cumsum()[place]
    found: NDArray[np.int64] = in_bins_above + len(rivals) - np.searchsorted(rivals, wanted) - rivals_in_bins_above
    return found


def sorted_precisions(similarities: Tensor, relevant: list[NDArray[np.int64]]) -> list[float]:
    """Average precisions by sorting all similarities, on any device.

    Args:
        similarities: Shape (n, N).
        relevant: Columns of the relevant videos of each row, at least one.
    """
    rising = similarities.sort(dim=1).values
    precisions = []
    for row, ordered, columns in zip(similarities, rising, relevant, strict=True):
        wanted = row[torch.from_numpy(columns).to(row.device)].sort().values
        at_least = len(row) - torch.searchsorted(ordered, wanted)
        precisions.append(((len(wanted) - torch.searchsorted(wanted, wanted)).double() / at_least).mean())
    return torch.stack(precisions).tolist() if precisions else []
