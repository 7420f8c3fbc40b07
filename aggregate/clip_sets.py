"""Drawing what one step of pre-training sees: disjoint sets of clips a video, and which of them are masked.

Everything is drawn for a whole batch at once, from keys (``counter_random.py``) that belong to an epoch and a video.
So what is drawn follows from (seed, epoch, video) alone, and training that is resumed goes on as if it had never
stopped.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scale_video.aggregate.counter_random import NUM_KEYS

Masking = Literal["exact", "independent"]
"""``exact``: the same number of clips in every set. ``independent``: each clip by itself, as in the paper."""


def random_order(valid: Tensor, keys: Tensor) -> Tensor:
    """Each video's clips in random order, all valid ones before the others.

    Args:
        valid: Shape (N, K), bool.
        keys: Random keys, shape (N, K).

    Returns:
        Clip indices, shape (N, K), int64. Every order of the valid clips is equally likely.
    """
    return keys.masked_fill(~valid, NUM_KEYS - 1).argsort(dim=1)


def draw_sets(valid: Sequence[Tensor], keys: Sequence[Tensor], *, sets_per_video: int, clips_per_set: int) -> Tensor:
    """Draw the sets of every video without replacement: disjoint ones of a single view, or one of each of two views.

    Args:
        valid: One or S tensors of shapes (N, K) and (N, K'), bool. Every video has clips enough: S * clips_per_set in
            a single view, clips_per_set in each of several.
        keys: Random keys of the same shapes.
        sets_per_video: S.
        clips_per_set: Clips of one set.

    Returns:
        Clip indices, shape (N, S, clips_per_set), int64; of several views, those of set s count the clips of view s.
    """
    orders = [random_order(of_view, of_clips) for of_view, of_clips in zip(valid, keys, strict=True)]
    if len(orders) == 1:
        return orders[0][:, : sets_per_video * clips_per_set].reshape(-1, sets_per_video, clips_per_set)
    return torch.stack([order[:, :clips_per_set] for order in orders], dim=1)


def draw_masked_clips(keys: Tensor, *, masking: Masking, fraction: float) -> Tensor:
    """Draw the clips that the model has to predict.

    Args:
        keys: Random keys of the clips of every set of the batch, shape (N * S, K).
        masking: How they are drawn.
        fraction: Part of the clips that is masked, in (0, 1): of ``exact`` draws ``num_masked`` in every set.

    Returns:
        Indices into the batch's N * S * K clips, shape (M,), int64, each at most once. Of independent draws M varies,
        and may be 0.
    """
    if masking == "independent":
        return (keys < int(fraction * NUM_KEYS)).flatten().nonzero().squeeze(1)
    num_sets, clips_per_set = keys.shape
    first_clips = torch.arange(num_sets, device=keys.device)[:, None] * clips_per_set
    return (keys.argsort(dim=1)[:, : num_masked(clips_per_set, fraction)] + first_clips).flatten()


def num_masked(clips_per_set: int, fraction: float) -> int:
    """Masked clips of a set of exact draws: the nearest number to the fraction, at least 1. ``8, .25 -> 2``."""
    return max(1, round(clips_per_set * fraction))
