"""Retrieval: each test video queries the training videos, and its class says which of them are right.

As in the retrieval protocol of self-supervised video models (test queries train; Büchler et al., ECCV 2018, and after
it SCALE's comparisons): R@k is the share of queries with a video of their class among the k most similar ones. The mean
average precision is over the full ranking. Vectors are centred by the training mean and compared by cosine, as in k-NN.
Nothing is trained and nothing is chosen; training labels say what is right, and the ranking knows of no label at all.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.evaluate.full_ranking import FullRanking, Ranking
from scale_video.evaluate.neighbours import directions, similarities, training_mean

RECALL_DEPTHS = (1, 5, 10, 20, 50)

_BLOCK_SIMILARITIES = 2**28  # at a time: 1 GiB; a ranking needs whole rows
_BLOCK_QUERIES = 1024  # at most


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
    full_ranking = FullRanking(train_labels, depth=min(max(RECALL_DEPTHS), len(train)))
    num_queries = min(len(test), _BLOCK_QUERIES, max(1, _BLOCK_SIMILARITIES // len(train)))
    buffer = torch.empty(num_queries, len(train), device=device)
    rankings = []
    for first in range(0, len(test), num_queries):
        queries = directions(test[first : first + num_queries], mean, device=device)
        of_block = buffer[: len(queries)]  # (n, N)
        similarities(queries, gallery, out=of_block)
        rankings.append(full_ranking.of(of_block, test_labels[first : first + num_queries]))
    return Ranking(
        nearest=np.concatenate([ranking.nearest for ranking in rankings]),
        average_precision=np.concatenate([ranking.average_precision for ranking in rankings]),
    )


def recalled(
    ranking: Ranking, train_labels: NDArray[np.integer[Any]], test_labels: NDArray[np.integer[Any]], *, depth: int
) -> NDArray[np.bool_]:
    """Whether one of the first ``depth`` training videos has the query's class, shape (N_test,)."""
    found: NDArray[np.bool_] = (train_labels[ranking.nearest[:, :depth]] == test_labels[:, None]).any(axis=1)
    return found
