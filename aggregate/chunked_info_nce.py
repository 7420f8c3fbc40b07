"""InfoNCE of vectors without all their similarities at once, for a CPU.

At the paper's sizes the logits of masked clips are 67 MB. Logits, softmax and the gradients of both are written to main
memory and read again, and the system clears that memory anew at every step: half the time goes there, the other half
into products of matrices. Here a few rows of logits at a time stay in the cache, and what they contribute to the
gradient is computed beside their loss.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scale_video.aggregate.info_nce import Contrast

LOGITS_PER_CHUNK: Final = 2**21
"""8 MiB in float32."""


def chunked_info_nce(rows: Tensor, candidates: Tensor, positives: Tensor, *, temperature: float) -> Contrast:
    """``info_nce`` of ``similarity_logits``: the same values and gradients but for the last bits.

    Args:
        rows: L2-normalised, shape (M, P).
        candidates: L2-normalised, shape (candidates, P).
        positives: Row of each row's positive in ``candidates``, shape (M,), int64.
        temperature: Positive scale.

    Returns:
        Means over rows; both are 0 without any row, and the gradient as well.
    """
    loss, accuracy = _ChunkedInfoNce.apply(rows, candidates, positives, temperature)  # type: ignore[no-untyped-call]
    return Contrast(loss, accuracy, len(rows), len(candidates))


class _ChunkedInfoNce(torch.autograd.Function):
    """Loss and accuracy; the gradients of the loss are known by the time that it is."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, candidates: Tensor, positives: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Go through the rows, a chunk at a time."""
        loss, hits = rows.new_zeros(()), rows.new_zeros(())
        of_rows, of_candidates = torch.empty_like(rows), torch.zeros_like(candidates)  # gradients
        rows_per_chunk = max(1, LOGITS_PER_CHUNK // max(1, len(candidates)))
        for first in range(0, len(rows), rows_per_chunk):
            chunk = slice(first, first + rows_per_chunk)
            scaled, own = rows[chunk] / temperature, positives[chunk, None]
            logits = scaled @ candidates.T  # (chunk, candidates)
            top = logits.argmax(dim=1, keepdim=True)
            hits += (top == own).sum()
            softmax = logits.softmax(dim=1)
            # the top one of a softmax is at least 1 / candidates, so that its logarithm is finite; of the others' not
            loss += (logits.gather(1, top) - softmax.gather(1, top).log() - logits.gather(1, own)).sum()
            by_logits = softmax.scatter_add_(1, own, torch.full_like(own, -1, dtype=softmax.dtype))
            torch.mm(by_logits, candidates, out=of_rows[chunk])
            torch.addmm(of_candidates, by_logits.T, scaled, out=of_candidates)
        num_rows = max(1, len(rows))
        ctx.save_for_backward(of_rows.div_(num_rows * temperature), of_candidates.div_(num_rows))
        accuracy = hits / num_rows
        ctx.mark_non_differentiable(accuracy)
        return loss / num_rows, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, by_accuracy: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass found."""
        of_rows, of_candidates = ctx.saved_tensors
        return of_rows * by_loss, of_candidates * by_loss, None, None
