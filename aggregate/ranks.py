"""Several processes that train on parts of one batch as one process would on the whole: candidates cross over.

Each rank contrasts its own rows with the candidates of all. The loss of a rank is scaled so that the mean over ranks,
which is what gradients are averaged to, is the loss of the whole batch.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from scale_video.aggregate.info_nce import Contrast


def num_ranks() -> int:
    """Processes that train together; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(rows: Tensor, counts: Sequence[int] | None = None) -> tuple[Tensor, int]:
    """The rows of all ranks, one rank after the other, with the gradient; and where the own ones begin.

    Args:
        rows: Shape (n, …).
        counts: n of each rank; None: all ranks have equally many.
    """
    if num_ranks() == 1:
        return rows, 0
    from scale_video.aggregate.rank_exchange import gather_rows

    together: tuple[Tensor, int] = gather_rows(rows, counts)
    return together


def counts_of_ranks(count: int, *, device: torch.device) -> list[int]:
    """A number of each rank, by rank; of several ranks it waits for the device."""
    if num_ranks() == 1:
        return [count]
    from scale_video.aggregate.rank_exchange import gather_counts

    counts: list[int] = gather_counts(count, device)
    return counts


def part_of_batch(contrast: Contrast, counts: Sequence[int] | None = None) -> Contrast:
    """A rank's contrast of its own rows as its part of the whole batch's: the mean over ranks is that of all rows.

    Args:
        contrast: Means over the own rows.
        counts: Rows of each rank; None: all have equally many.
    """
    if num_ranks() == 1:
        return contrast
    if counts is None:
        return contrast._replace(num_rows=contrast.num_rows * num_ranks())
    weight = contrast.num_rows * num_ranks() / max(1, sum(counts))
    return contrast._replace(loss=contrast.loss * weight, accuracy=contrast.accuracy * weight, num_rows=sum(counts))


def mean_of_ranks(values: Tensor) -> Tensor:
    """The mean over ranks, without gradient."""
    if num_ranks() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / num_ranks()
