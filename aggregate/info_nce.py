"""InfoNCE on given logits: find the positive among candidates. Both pre-training tasks are instances of it."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Contrast(NamedTuple):
    """How well the positives were told from the other candidates."""

    loss: Tensor
    """Mean cross-entropy, scalar."""
    accuracy: Tensor
    """Fraction of rows whose positive has the highest logit, scalar, without gradient."""
    num_rows: int
    num_candidates: int
    """Columns; an accuracy of 1 / num_candidates is chance."""
    spread: Tensor | None = None
    """``spread_of`` the rows' vectors, scalar, without gradient; None where nobody looks."""


def similarity_logits(rows: Tensor, candidates: Tensor, *, temperature: float) -> Tensor:
    """Cosine similarities over temperature, in full precision under autocast too.

    Args:
        rows: L2-normalised, shape (M, P).
        candidates: L2-normalised, shape (candidates, P).
        temperature: Positive scale.

    Returns:
        Shape (M, candidates).
    """
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ candidates.T / temperature


def info_nce(logits: Tensor, positives: Tensor) -> Contrast:
    """Classify each row into the column of its positive.

    Args:
        logits: Similarities over temperature, shape (M, candidates).
        positives: Column of each row's positive, shape (M,), int64.

    Returns:
        Means over rows; both are 0 without any row (independent draws may mask nothing), and the gradient as well.
    """
    num_rows, num_candidates = logits.shape
    if num_rows == 0:
        return Contrast(logits.sum(), logits.detach().sum(), num_rows, num_candidates)
    hits = logits.detach().argmax(dim=1) == positives
    return Contrast(F.cross_entropy(logits, positives), hits.to(logits.dtype).mean(), num_rows, num_candidates)


def spread_of(vectors: Tensor) -> Tensor:
    """How far vectors lie apart: the mean over dimensions of the standard deviation, times sqrt(P).

    About 1 where they point in all directions alike, 0 where all are the same: collapsed. Source: Chen and He,
    *Exploring simple Siamese representation learning* (CVPR 2021), section 4.1.

    Args:
        vectors: L2-normalised, shape (M, P).

    Returns:
        Scalar, float32, without gradient; 0 without any vector.
    """
    num_vectors, dim = vectors.shape
    if num_vectors == 0:
        return vectors.new_zeros((), dtype=torch.float32)
    values = vectors.detach().float()
    deviations = (values - values.mean(dim=0)).square().mean(dim=0).sqrt()  # Tensor.std takes 30 times as long
    return deviations.mean() * math.sqrt(dim)
