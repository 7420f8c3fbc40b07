"""Retrieval: each test video queries the training videos, and its class says which of them are right.

As in the retrieval protocol of self-supervised video models (test queries train; Büchler et al., ECCV 2018, and after
it SCALE's comparisons): R@k is the share of queries with a video of their class among the k most similar ones. The mean
average precision is over the full ranking. Vectors are centred by the training mean and compared by cosine, as in k-NN.
Nothing is trained and nothing is chosen; training labels say what is right, and the ranking knows of no label at all.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.evaluate.neighbours import directions, largest_columns, training_mean

RECALL_DEPTHS = (1, 5, 10, 20, 50)

_BLOCK_SIMILARITIES = 2**25  # similarities at a time: 128 MiB; a ranking needs whole rows
_NUM_BINS = 2**16


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one pass over the training videos tells of the test videos."""

    nearest: NDArray[np.int64]
    """Most similar training rows of each test row, nearest first, shape (N_test, min(50, N))."""
    average_precision: NDArray[np.float64]
    """Shape (N_test,); 0 for a query whose class no training video has."""


def retrieve(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    test_labels: NDArray[np.integer[Any]],
    *,
    device: str = "cpu",
) -> Ranking:
    """Rank the training videos for each test video.

    Of equally similar training videos the one with the lower row is nearer in ``nearest``. In the average precision
    they share a threshold, as in scikit-learn's: it is the mean, over the training videos of the query's class, of the
    share of that class among all that are at least as similar.

    Args:
        train: Vectors of N training videos, shape (N, D), finite, N >= 1.
        train_labels: Their classes, shape (N,).
        test: Vectors of the queries, shape (N_test, D), finite.
        test_labels: Their classes, shape (N_test,); -1 for none.
        device: Torch device that computes.
    """
    mean = training_mean(train)
    gallery = directions(train, mean, device=device)  # (N, D)
    depth = min(max(RECALL_DEPTHS), len(train))
    rows_of_class = {
        int(label): torch.from_numpy(np.flatnonzero(train_labels == label)).to(device)
        for label in np.unique(test_labels[test_labels >= 0])
    }
    nearest = np.empty((len(test), depth), dtype=np.int64)
    precisions = np.zeros(len(test))
    num_queries = min(len(test), max(1, _BLOCK_SIMILARITIES // len(train)))
    buffer = torch.empty(num_queries, len(train), device=device)
    scratch = _Scratch.of(len(train), device=device)
    for first in range(0, len(test), num_queries):
        queries = directions(test[first : first + num_queries], mean, device=device)
        similarities = torch.mm(queries, gallery.T, out=buffer[: len(queries)])  # (n, N)
        columns = largest_columns(similarities, depth)
        order = similarities.gather(1, columns).argsort(dim=1, descending=True, stable=True)
        nearest[first : first + num_queries] = columns.gather(1, order).cpu().numpy()
        for query, label in enumerate(test_labels[first : first + num_queries]):
            if label >= 0 and len(relevant := rows_of_class[int(label)]):
                precisions[first + query] = _average_precision(similarities[query], relevant, scratch)
    return Ranking(nearest, precisions)


def recalled(
    ranking: Ranking, train_labels: NDArray[np.integer[Any]], test_labels: NDArray[np.integer[Any]], *, depth: int
) -> NDArray[np.bool_]:
    """Whether one of the first ``depth`` training videos has the query's class, shape (N_test,)."""
    found: NDArray[np.bool_] = (train_labels[ranking.nearest[:, :depth]] == test_labels[:, None]).any(axis=1)
    return found


class _Scratch(NamedTuple):
    """Memory that every query uses again: fresh pages of this size cost more than the arithmetic on them."""

    scaled: Tensor
    """Shape (N,), float32."""
    bins: Tensor
    """Shape (N,), int64."""
    is_rival: Tensor
    """Shape (N,), bool."""

    @classmethod
    def of(cls, num_columns: int, *, device: str) -> "_Scratch":
        return cls(
            *(torch.empty(num_columns, dtype=t, device=device) for t in (torch.float32, torch.int64, torch.bool))
        )


def _average_precision(similarities: Tensor, relevant: Tensor, scratch: _Scratch) -> float:
    """Mean over the relevant columns of (relevant ones at least as similar) / (all at least as similar)."""
    wanted = similarities[relevant].sort().values  # (R,), rising
    wanted_at_least = len(wanted) - torch.searchsorted(wanted, wanted)
    return float((wanted_at_least.double() / _num_at_least(similarities, wanted, scratch)).mean())


def _num_at_least(similarities: Tensor, wanted: Tensor, scratch: _Scratch) -> Tensor:
    """How many similarities are at least as large as each wanted one: exact, and without sorting all of them.

    Similarities are counted in narrow bins. A wanted one is compared with those of its own bin alone, its rivals; of
    the bins above all count.

    Args:
        similarities: Shape (N,).
        wanted: Rising, shape (R,); values that occur among the similarities.
        scratch: Of N columns.
    """
    low, high = similarities.aminmax()
    scale = (_NUM_BINS - 1) / (high - low).clamp(min=1e-30)
    # Rounding keeps the order, so a larger similarity is never in a lower bin.
    torch.sub(similarities, low, out=scratch.scaled).mul_(scale).clamp_(max=_NUM_BINS - 1)
    scratch.bins.copy_(scratch.scaled)
    counts = torch.bincount(scratch.bins, minlength=_NUM_BINS)
    wanted_bins = (wanted - low).mul_(scale).clamp_(max=_NUM_BINS - 1).long()
    rival_bins, place = torch.unique_consecutive(wanted_bins, return_inverse=True)
    holds_rivals = torch.zeros(_NUM_BINS, dtype=torch.bool, device=similarities.device)
    holds_rivals[rival_bins] = True
    torch.take(holds_rivals, scratch.bins, out=scratch.is_rival)
    rivals = similarities.masked_select(scratch.is_rival).sort().values
    in_bins_above = len(similarities) - counts.cumsum(0)[wanted_bins]
    rivals_in_bins_above = len(rivals) - counts[rival_bins].cumsum(0)[place]
    rivals_at_least = len(rivals) - torch.searchsorted(rivals, wanted)
    return in_bins_above + rivals_at_least - rivals_in_bins_above
