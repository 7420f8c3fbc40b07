"""One number for several rows: the mean over splits and over what was repeated, with how far it moves.

Rows of one measurement differ in the split and in the replicate: a pre-training seed, a draw of clips or of labels. The
mean goes over the replicates of each split first, then over splits, so that a split with more replicates does not
weigh more. Two spreads belong to it, and neither holds the other: the range of the replicates (or, where there is one
replicate, of the splits), and an interval over test groups.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_DRAWS = 2**22  # drawn group indices at a time: 32 MiB


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean and the range of what it is the mean of."""

    value: float
    low: float
    """Lowest and highest of what is averaged: of the replicates that were tested on all splits, each the mean over
    splits; or of the splits, where there is one replicate."""
    high: float
    ranged: tuple[Hashable, ...]
    """These replicates, or splits; with fewer than two of them, low and high say nothing."""


def spread(values: Mapping[tuple[str, Hashable], float]) -> Spread:
    """Average rows over replicates, then over splits.

    # {("1", 0): .8, ("1", 1): .9, ("2", 0): .6, ("2", 1): .7} -> value .75; replicates .7 and .8

    Args:
        values: (split, replicate) to the value of a row; at least one.
    """
    splits = sorted({split for split, _ in values})
    by_split = {split: {which: value for (of, which), value in values.items() if of == split} for split in splits}
    means = [float(np.mean(list(by_split[split].values()))) for split in splits]
    everywhere = set.intersection(*(set(found) for found in by_split.values()))
    replicates = {which for found in by_split.values() for which in found}
    ranged: dict[Hashable, float] = dict(zip(splits, means, strict=True))
    if len(replicates) > 1:
        ranged = {which: float(np.mean([by_split[split][which] for split in splits])) for which in everywhere}
    value = float(np.mean(means))
    return Spread(value, min(ranged.values(), default=value), max(ranged.values(), default=value), tuple(ranged))


def interval_of_mean(
    scores: Sequence[NDArray[np.floating[Any]]],
    groups: Sequence[NDArray[Any]],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap over groups of a mean over splits; of a single split it is ``bootstrap_interval``.

    A group (film, recording) that is tested in several splits is drawn for all of them at once.

    Args:
        scores: For each split the scores of its test videos, the mean over replicates, shape (N_split,).
        groups: For each split the groups of these videos, shape (N_split,).
        num_resamples: Resamples, at least 1.
        confidence: Share of the resamples inside the interval.
        seed: Seeds the draws.

    Returns:
        Lower and upper end; (-inf, inf) where a split has a single group, which cannot be drawn in another way.
    """
    if any(len(np.unique(of_split)) == 1 for of_split in groups):
        return -np.inf, np.inf
    group_of_row = np.unique(np.concatenate(groups), return_inverse=True)[1]
    num_groups = int(group_of_row.max()) + 1
    split_of_row = np.repeat(np.arange(len(groups)), [len(of_split) for of_split in groups])
    sums = np.zeros((len(groups), num_groups))
    counts = np.zeros((len(groups), num_groups))
    np.add.at(sums, (split_of_row, group_of_row), np.concatenate(scores))
    np.add.at(counts, (split_of_row, group_of_row), 1)
    rng = np.random.default_rng(seed)
    means = []
    chunk = max(1, _CHUNK_DRAWS // num_groups)
    for first in range(0, num_resamples, chunk):
        drawn = rng.integers(num_groups, size=(min(chunk, num_resamples - first), num_groups))
        drawn_counts = np.stack([counts_of_split[drawn].sum(axis=1) for counts_of_split in counts])  # (splits, R)
        drawn_sums = np.stack([sums_of_split[drawn].sum(axis=1) for sums_of_split in sums])
        with np.errstate(invalid="ignore"):  # a resample without a video of a split has no mean over splits
            means.append((drawn_sums / drawn_counts).mean(axis=0))
    resampled = np.concatenate(means)
    low, high = np.nanquantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
