"""Weighted k-nearest-neighbour classification, the protocol that trains nothing.

Source: the k-NN of SCALE's evaluation (ICCV 2023; k = 20, temperature .07, after Wu et al., CVPR 2018): vectors are
centred and L2-normalised, and the k most similar training videos vote with weight exp(cosine / temperature). Where we
depart: both sides are centred by the mean of the *training* videos (published: each side by its own mean, which lets
test videos influence each other).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scale_video.evaluate.prediction import Prediction

DEFAULT_K = 20
DEFAULT_TEMPERATURE = 0.07

_CHUNK_SIMILARITIES = 2**24  # similarities at a time: 64 MiB


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
    """Give each test video the class with the most votes; of equal classes the one with the lowest index.

    Arguments and errors are those of ``knn_scores``. The hyper-parameters hold the k that was used, and the note says
    so where it is smaller than the k that was asked for.
    """
    scores = knn_scores(train, train_labels, test, num_classes=num_classes, k=k, temperature=temperature, device=device)
    used_k = min(k, len(train))
    note = "" if used_k == k else f"k lowered from {k} to {used_k}, the number of training videos"
    return Prediction(scores.argmax(axis=1), {"k": used_k, "temperature": temperature}, note)


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
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train_directions = _directions(train, mean, device)  # (N, D)
    labels = torch.from_numpy(train_labels.astype(np.int64)).to(device)
    scores = np.empty((len(test), num_classes))
    chunk = max(1, _CHUNK_SIMILARITIES // len(train))
    for first in range(0, len(test), chunk):
        rows = slice(first, first + chunk)
        similarities = _directions(test[rows], mean, device) @ train_directions.T  # (n, N)
        neighbours = _nearest(similarities, k)  # (n, k)
        votes = torch.softmax(similarities.gather(1, neighbours).double() / temperature, dim=1)
        shares = torch.zeros(len(votes), num_classes, dtype=torch.float64, device=device)
        for column in range(k):  # one neighbour a row at a time, so that the order of summation is fixed on any device
            shares.scatter_add_(1, labels[neighbours[:, column : column + 1]], votes[:, column : column + 1])
        scores[rows] = shares.cpu().numpy()
    return scores


def _directions(vectors: NDArray[np.float32], mean: NDArray[np.float32], device: str) -> Tensor:
    """Centred vectors of length 1, or of length 0."""
    return F.normalize(torch.from_numpy(vectors - mean).to(device), dim=1)


def _nearest(similarities: Tensor, k: int) -> Tensor:
    """Columns of the k largest values of each row; ties at the border go to the lower column.

    ``topk`` leaves open which of several equal values it returns. That matters only where the k-th and the next value
    are equal, so these rare rows alone are looked through in full.
    """
    values, columns = similarities.topk(min(k + 1, similarities.shape[1]), dim=1)
    nearest = columns[:, :k]
    tied = (values[:, k - 1 : k] == values[:, k:]).any(dim=1)  # none where k is the number of columns
    if tied.any():
        kth = values[tied, k - 1 : k]
        above = similarities[tied] > kth
        equal = similarities[tied] == kth
        vacant = k - above.sum(dim=1, keepdim=True)
        chosen = above | (equal & (equal.cumsum(dim=1) <= vacant))
        nearest[tied] = chosen.nonzero()[:, 1].view(-1, k)
    return nearest
