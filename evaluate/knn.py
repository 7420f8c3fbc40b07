"""Weighted k-nearest-neighbour classification, the protocol that trains nothing.

Source: the k-NN of SCALE's evaluation (ICCV 2023; k = 20, temperature .07, after Wu et al., CVPR 2018): vectors are
centred and L2-normalised, and the k most similar training videos vote with weight exp(cosine / temperature). Where we
depart: both sides are centred by the mean of the *training* videos (published: each side by its own mean, which lets
test videos influence each other).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.evaluate.neighbours import directions, nearest_rows, training_mean
from scale_video.evaluate.options import DEFAULT_K, DEFAULT_TEMPERATURE
from scale_video.evaluate.prediction import Outputs, Prediction, rank_classes

_CHUNK_QUERIES = 8192  # test videos on the device at a time


def knn_predict(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    *,
    num_classes: int,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    device: str = "cpu",
) -> Prediction:
    """Rank for each test video the classes by their votes; of equal classes the one with the lowest index is first.

    Arguments and errors are those of ``knn_scores``. The hyper-parameters hold the k that was used, and the note says
    so where it is smaller than the k that was asked for.
    """
    return ranked_by_votes(
        knn_shares(train, train_labels, test, num_classes=num_classes, k=k, temperature=temperature, device=device)
    )


def ranked_by_votes(shares: Outputs) -> Prediction:
    """The classes with the most votes, best first; none that nobody voted for."""
    ranked = rank_classes(shares.values)
    ranked[np.take_along_axis(shares.values, ranked, axis=1) == 0] = -1
    return Prediction(ranked, shares.hyperparameters, shares.note)


def knn_shares(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    *,
    num_classes: int,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    device: str = "cpu",
) -> Outputs:
    """As ``knn_predict``, but each class's share of the votes, shape (N_test, num_classes)."""
    scores = knn_scores(train, train_labels, test, num_classes=num_classes, k=k, temperature=temperature, device=device)
    used_k = min(k, len(train))
    return Outputs(scores, {"k": used_k, "temperature": temperature}, _lowered_note(k, used_k))


def knn_mean(
    train: NDArray[np.float32],
    train_targets: NDArray[Any],
    test: NDArray[np.float32],
    *,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    device: str = "cpu",
) -> Outputs:
    """Average the targets of the neighbours by the same weights: k-NN regression, and votes for sets of classes.

    Args:
        train: Vectors of N training videos, shape (N, D), finite, N >= 1.
        train_targets: Numbers, shape (N, T).
        test: Vectors of the test videos, shape (N_test, D), finite.
        k: As in ``knn_scores``.
        temperature: As in ``knn_scores``.
        device: Torch device that computes.

    Returns:
        Means of shape (N_test, T).
    """
    used_k = min(k, len(train))
    targets = torch.from_numpy(train_targets.astype(np.float64)).to(device)
    means = []
    for votes, neighbours in _votes(train, test, k=used_k, temperature=temperature, device=device):
        mean = torch.zeros(len(votes), targets.shape[1], dtype=torch.float64, device=device)
        for column in range(used_k):
            mean += votes[:, column, None] * targets[neighbours[:, column]]
        means.append(mean.cpu().numpy())
    hyperparameters = {"k": used_k, "temperature": temperature}
    return Outputs(np.concatenate(means), hyperparameters, _lowered_note(k, used_k))


def _lowered_note(k: int, used_k: int) -> str:
    return "" if used_k == k else f"k lowered from {k} to {used_k}, the number of training videos"


def knn_scores(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    *,
    num_classes: int,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Compute the share of votes that each class gets for each test video.

    A vector that equals the training mean has no direction: its similarity to everything is 0. Of training videos
    with bit-equal similarity the one with the lower row is nearer.

    Args:
        train: Vectors of N training videos, shape (N, D), finite, N >= 1.
        train_labels: Their classes in [0, num_classes), shape (N,).
        test: Vectors to classify, shape (N_test, D), finite.
        num_classes: Classes, columns of the result.
        k: Neighbours that vote; lowered to N where N is smaller.
        temperature: Divides the cosine similarities; positive.
        device: Torch device that computes; the result is the same up to rounding.

    Returns:
        Shape (N_test, num_classes), rows sum to 1: exp(cosine / temperature) summed over the neighbours of each class,
        divided by the sum over all k.

    Raises:
        ValueError: ``k`` < 1 or ``temperature`` <= 0.
    """
    if k < 1 or temperature <= 0:
        raise ValueError(f"k must be at least 1 and temperature positive, got k={k} and temperature={temperature}")
    k = min(k, len(train))
    labels = torch.from_numpy(train_labels.astype(np.int64)).to(device)
    scores = []
    for votes, neighbours in _votes(train, test, k=k, temperature=temperature, device=device):
        shares = torch.zeros(len(votes), num_classes, dtype=torch.float64, device=device)
        for column in range(k):  # one neighbour a row at a time, so that the order of summation is fixed on any device
            shares.scatter_add_(1, labels[neighbours[:, column : column + 1]], votes[:, column : column + 1])
        scores.append(shares.cpu().numpy())
    return np.concatenate(scores) if scores else np.empty((0, num_classes))


def _votes(
    train: NDArray[np.float32], test: NDArray[np.float32], *, k: int, temperature: float, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shares of the votes of the neighbours of some test videos at a time, and their rows, both of shape (n, k)."""
    mean = training_mean(train)
    train_directions = directions(train, mean, device=device)  # (N, D)
    for first in range(0, len(test), _CHUNK_QUERIES):
        queries = directions(test[first : first + _CHUNK_QUERIES], mean, device=device)
        similarities, neighbours = nearest_rows(train_directions, queries, k)
        yield torch.softmax(similarities.double() / temperature, dim=1), neighbours
