"""What several processes send each other in a step of training, which no compiler looks into.

A file of its own, which ``ranks.py`` imports where there are several: to keep a function from ``torch.compile`` loads
all of its compiler, which takes two seconds.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gather_rows(rows: Tensor, counts: Sequence[int] | None) -> tuple[Tensor, int]:
    """See ``ranks.gathered``."""
    if counts is None:
        return _AllGather.apply(rows).flatten(0, 1), dist.get_rank() * len(rows)  # type: ignore[no-untyped-call]
    missing = max(counts) - len(rows)
    padded = F.pad(rows, (*[0, 0] * (rows.ndim - 1), 0, missing))
    of_ranks = _AllGather.apply(padded)  # type: ignore[no-untyped-call]  # (ranks, longest, …)
    together = torch.cat([part[:count] for part, count in zip(of_ranks, counts, strict=True)])
    return together, sum(counts[: dist.get_rank()])


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gather_counts(count: int, device: torch.device) -> list[int]:
    """See ``ranks.counts_of_ranks``."""
    own = torch.full((1,), count, device=device)
    counts = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return [int(of_rank) for of_rank in torch.cat(counts).tolist()]


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
