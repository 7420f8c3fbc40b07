"""The most similar training videos of each test video, at any size: what k-NN and retrieval look at.

Similarities are a matrix product, which is all that should cost time. So they are computed in blocks that bound the
memory, each in products of a shape that is fast, and the k largest of a block are found in two steps: first the maximum
of every ``_GROUP`` columns, one pass at the speed of memory; then the k groups with the largest maxima hold the k
largest values.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK_SIMILARITIES = 2**27  # at a time: 512 MiB; blocks so wide that the candidates of each are few
_BLOCK_QUERIES = 1024  # at most
_PRODUCT_COLUMNS = 8192  # of one product
_MIN_LENGTH = 1e-12  # a vector without a direction stays 0
_GROUP = 64  # columns of which the maximum is taken first


def training_mean(train: NDArray[np.float32]) -> NDArray[np.float32]:
    """The point that both sides are centred by, shape (D,)."""
    mean: NDArray[np.float32] = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def directions(vectors: NDArray[np.float32], mean: NDArray[np.float32], *, device: str) -> Tensor:
    """Centred vectors of length 1, or of length 0, shape (N, D)."""
    # Not NumPy's difference: its memory, in huge pages, can cost more than all that follows where memory is fragmented.
    centred = torch.from_numpy(vectors).to(device) - torch.from_numpy(mean).to(device)
    return centred.div_(torch.linalg.vector_norm(centred, dim=1, keepdim=True).clamp_min_(_MIN_LENGTH))


def similarities(queries: Tensor, videos: Tensor, *, out: Tensor) -> None:
    """Products of all queries and videos, (n, D) and (N, D) -> (n, N), in pieces that a processor's cache likes."""
    for first in range(0, len(videos), _PRODUCT_COLUMNS):
        piece = slice(first, first + _PRODUCT_COLUMNS)
        torch.mm(queries, videos[piece].T, out=out[:, piece])


def nearest_rows(train: Tensor, test: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k rows of ``train`` with the largest products with each row of ``test``.

    Of equal products the one with the lower row is nearer.

    Args:
        train: Shape (N, D).
        test: Shape (n, D), on the same device.
        k: In [1, N].

    Returns:
        The products, falling, and the rows that they are with, both of shape (n, k).
    """
    num_queries = min(len(test), _BLOCK_QUERIES)
    columns_per_block = max(k, _BLOCK_SIMILARITIES // max(1, num_queries))
    values, rows = (torch.empty(len(test), k, dtype=dtype, device=test.device) for dtype in (test.dtype, torch.int64))
    buffer = torch.empty(num_queries * min(len(train), columns_per_block), dtype=test.dtype, device=test.device)
    for first_query in range(0, len(test), _BLOCK_QUERIES):
        queries = test[first_query : first_query + _BLOCK_QUERIES]
        best_values, best_rows = values[:0, :0], rows[:0, :0]
        for first in range(0, len(train), columns_per_block):
            block = train[first : first + columns_per_block]
            products = buffer[: len(queries) * len(block)].view(len(queries), len(block))
            similarities(queries, block, out=products)
            columns = largest_columns(products, min(k, len(block)))
            found_values, found_rows = products.gather(1, columns), columns + first
            if first:  # those of earlier blocks have lower rows and stand first, so ties go to them
                found_values = torch.cat([best_values, found_values], dim=1)
                found_rows = torch.cat([best_rows, found_rows], dim=1)
                kept = largest_columns(found_values, k)
                found_values, found_rows = found_values.gather(1, kept), found_rows.gather(1, kept)
            best_values, best_rows = found_values, found_rows
        order = best_values.argsort(dim=1, descending=True, stable=True)  # by row before: equal ones stay so
        values[first_query : first_query + _BLOCK_QUERIES] = best_values.gather(1, order)
        rows[first_query : first_query + _BLOCK_QUERIES] = best_rows.gather(1, order)
    return values, rows


def largest_columns(values: Tensor, k: int) -> Tensor:
    """Columns of the k largest values of each row, ascending; ties at the border go to the lower column.

    ``topk`` leaves open which of several equal values it returns. That matters only where the k-th and the next value
    are equal, so these rare rows alone are looked through in full.

    Args:
        values: Shape (n, N).
        k: In [1, N].

    Returns:
        Shape (n, k).
    """
    top_values, top_columns = _topk(values, min(k + 1, values.shape[1]))
    largest = top_columns[:, :k].sort(dim=1).values
    tied = (top_values[:, k - 1 : k] == top_values[:, k:]).any(dim=1)  # none where k is the number of columns
    if tied.any():
        kth = top_values[tied, k - 1 : k]
        above = values[tied] > kth
        equal = values[tied] == kth
        vacant = k - above.sum(dim=1, keepdim=True)
        chosen = above | (equal & (equal.cumsum(dim=1) <= vacant))
        largest[tied] = chosen.nonzero()[:, 1].view(-1, k)
    return largest


def _topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``values.topk(k, dim=1)``, faster where there are many columns."""
    num_groups = values.shape[1] // _GROUP
    if num_groups < 4 * k:
        found = values.topk(k, dim=1)
        return found.values, found.indices
    grouped = values[:, : num_groups * _GROUP].view(len(values), num_groups, _GROUP)
    groups = grouped.amax(dim=2).topk(k, dim=1).indices  # (n, k)
    candidates = grouped.gather(1, groups[:, :, None].expand(-1, -1, _GROUP)).flatten(1)  # (n, k * _GROUP)
    columns = (groups[:, :, None] * _GROUP + torch.arange(_GROUP, device=values.device)).flatten(1)
    rest = values[:, num_groups * _GROUP :]
    if rest.shape[1]:
        candidates = torch.cat([candidates, rest], dim=1)
        of_rest = torch.arange(num_groups * _GROUP, values.shape[1], device=values.device)
        columns = torch.cat([columns, of_rest.expand(len(values), -1)], dim=1)
    found = candidates.topk(k, dim=1)
    return found.values, columns.gather(1, found.indices)
