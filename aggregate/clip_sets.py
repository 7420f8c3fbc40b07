"""Drawing what one step of pre-training sees: two disjoint sets of clips a video, and which of them are masked.

Everything is drawn for a whole batch at once, from a generator that belongs to one epoch. So an epoch's batches follow
from (seed, epoch) alone, and training that is resumed between two epochs continues as if it had never stopped.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

SETS_PER_VIDEO: Final = 2
"""S: the set loss contrasts first sets with second sets."""

Masking = Literal["exact", "independent"]
"""``exact``: the same number of clips in every set. ``independent``: each clip by itself, as in the paper."""


def derived_seed(*entropy: int) -> int:
    """A seed that is unrelated to those of any other entropy; for example of (seed, epoch)."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator that all draws of one epoch come from."""
    return torch.Generator().manual_seed(derived_seed(seed, epoch))


def random_order(valid: Tensor, generator: torch.Generator) -> Tensor:
    """Each video's clips in random order, all valid ones before the others.

    Args:
        valid: Shape (N, K), bool.
        generator: Where the order comes from.

    Returns:
        Clip indices, shape (N, K), int64. Every order of the valid clips is equally likely.
    """
    keys = torch.rand(valid.shape, generator=generator)  # in [0, 1)
    return (keys + ~valid).argsort(dim=1)


def draw_clip_sets(valid: Tensor, *, clips_per_set: int, generator: torch.Generator) -> Tensor:
    """Draw S disjoint sets of valid clips from every video, without replacement.

    Args:
        valid: Shape (N, K), bool.
        clips_per_set: Clips of one set.
        generator: Where the draw comes from.

    Returns:
        Clip indices, shape (N, S, clips_per_set), int64.

    Raises:
        ValueError: a video has fewer valid clips than its sets need.
    """
    needed = SETS_PER_VIDEO * clips_per_set
    fewest = int(valid.sum(dim=1).min())
    if fewest < needed:
        raise ValueError(
            f"clips_per_set ({clips_per_set}) x {SETS_PER_VIDEO} sets needs {needed} valid clips, "
            f"but a video has {fewest}; leave such videos out"
        )
    return random_order(valid, generator)[:, :needed].reshape(-1, SETS_PER_VIDEO, clips_per_set)


def draw_sets_of_views(valid: Sequence[Tensor], *, clips_per_set: int, generator: torch.Generator) -> Tensor:
    """Draw the sets of every video: two disjoint ones of a single view, or one of each of two views.

    Args:
        valid: One or S tensors of shapes (N, K) and (N, K'), bool.
        clips_per_set: Clips of one set.
        generator: Where the draw comes from.

    Returns:
        Clip indices, shape (N, S, clips_per_set), int64; those of set s count the clips of its own view.

    Raises:
        ValueError: a video has fewer valid clips than its sets need.
    """
    if len(valid) == 1:
        return draw_clip_sets(valid[0], clips_per_set=clips_per_set, generator=generator)
    fewest = min(int(of_view.sum(dim=1).min()) for of_view in valid)
    if fewest < clips_per_set:
        raise ValueError(
            f"a set of one view needs {clips_per_set} valid clips, but a video has {fewest}; leave such videos out"
        )
    return torch.stack([random_order(of_view, generator)[:, :clips_per_set] for of_view in valid], dim=1)


def draw_masked_clips(
    num_sets: int, clips_per_set: int, *, masking: Masking, fraction: float, generator: torch.Generator
) -> Tensor:
    """Draw the clips that the model has to predict.

    Args:
        num_sets: Sets of the batch, N * S.
        clips_per_set: K.
        masking: How they are drawn.
        fraction: Part of the clips that is masked, in (0, 1): of ``exact`` draws ``num_masked`` in every set.
        generator: Where the draw comes from.

    Returns:
        Indices into the batch's N * S * K clips, shape (M,), int64, each at most once. Of independent draws M varies,
        and may be 0.
    """
    if masking == "independent":
        return (torch.rand(num_sets * clips_per_set, generator=generator) < fraction).nonzero().squeeze(1)
    order = torch.rand((num_sets, clips_per_set), generator=generator).argsort(dim=1)
    first_clips = torch.arange(num_sets)[:, None] * clips_per_set
    return (order[:, : num_masked(clips_per_set, fraction)] + first_clips).flatten()


def num_masked(clips_per_set: int, fraction: float) -> int:
    """Masked clips of a set of exact draws: the nearest number to the fraction, at least 1. ``8, .25 -> 2``."""
    return max(1, round(clips_per_set * fraction))
