"""Several processes that train on parts of one batch as one process would on the whole: candidates cross over.

Each rank contrasts its own rows with the candidates of all. The loss of a rank is scaled so that the mean over ranks,
which is what gradients are averaged to, is the loss of the whole batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
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
    together: tuple[Tensor, int] = _gathered(rows, counts)
    return together


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gathered(rows: Tensor, counts: Sequence[int] | None) -> tuple[Tensor, int]:
    if counts is None:
        return _AllGather.apply(rows).flatten(0, 1), dist.get_rank() * len(rows)  # type: ignore[no-untyped-call]
    missing = max(counts) - len(rows)
    padded = F.pad(rows, (*[0, 0] * (rows.ndim - 1), 0, missing))
    of_ranks = _AllGather.apply(padded)  # type: ignore[no-untyped-call]  # (ranks, longest, …)
    together = torch.cat([part[:count] for part, count in zip(of_ranks, counts, strict=True)])
    return together, sum(counts[: dist.get_rank()])


def counts_of_ranks(count: int, *, device: torch.device) -> list[int]:
    """A number of each rank, by rank; of several ranks it waits for the device."""
    if num_ranks() == 1:
        return [count]
    counts: list[int] = _counts_of_ranks(count, device)
    return counts


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _counts_of_ranks(count: int, device: torch.device) -> list[int]:
    own = torch.full((1,), count, device=device)
    counts = [torch.zeros_like(own) for _ in range(num_ranks())]
    dist.all_gather(counts, own)
    return [int(of_rank) for of_rank in torch.cat(counts).tolist()]


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


class _AllGather(torch.autograd.Function):
    """Stacks a tensor of each rank; backwards, each rank gets the sum of what all ranks have for its part."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """(n, …) -> (ranks, n, …)."""
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """(ranks, n, …) -> (n, …)."""
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]
