"""A part of the training videos on which hyper-parameters are chosen, so that the test videos have no say in them.

Whole groups are held out: clips of one film or recording look alike, and a probe that has seen one of them would be
judged on its memory. (SCALE's published code chooses the best epoch and the best pooling on the test videos.) Where a
split has a validation part of its own, that is used instead.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE_GROUP_IN = 10
"""One group in so many is held out; with fewer groups there is no hold-out."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A division of training rows into those to fit on and those to choose on."""

    fit: NDArray[np.int64]
    """Rows to fit on, ascending; every class occurs among them."""
    held: NDArray[np.int64]
    """Rows to choose on, ascending; none when no hold-out is possible."""
    num_refit: int
    """The first so many rows are fitted on once everything is chosen: all, or those before a validation part."""
    note: str = ""
    """Why ``held`` is empty, in one line; empty otherwise."""


def hold_out_groups(labels: NDArray[np.integer[Any]], groups: NDArray[Any], *, seed: int) -> HoldOut:
    """Hold out a tenth of the groups, spread over the classes.

    Groups are dealt with systematic sampling: shuffled within their main class, so that a class of G groups gives
    G / 10 of them, rounded up or down at random. A group without which a class would be missing from the rows to fit
    on is passed over.

    Args:
        labels: Class of each training row, shape (N,).
        groups: Group of each training row, shape (N,), strings or integers.
        seed: Seeds the shuffle; equal seeds give equal divisions.

    Returns:
        The division; without held-out rows if there are fewer than ten groups, or no group can be spared.
    """
    class_of_row = np.unique(labels, return_inverse=True)[1]
    group_of_row = np.unique(groups, return_inverse=True)[1]
    group_sizes = np.bincount(group_of_row)
    every_row = np.arange(len(labels))
    none = every_row[:0]
    if len(group_sizes) < ONE_GROUP_IN:
        return HoldOut(
            every_row, none, len(labels), f"no hold-out: {len(group_sizes)} training groups, fewer than {ONE_GROUP_IN}"
        )

    rows_of_group = np.split(np.argsort(group_of_row, kind="stable"), np.cumsum(group_sizes)[:-1])
    left = np.bincount(class_of_row)  # rows still there to fit on, per class
    held: list[NDArray[np.int64]] = []
    for group in _stratified_order(class_of_row, group_of_row, np.random.default_rng(seed)):
        taken = np.bincount(class_of_row[rows_of_group[group]], minlength=len(left))
        if (taken < left).all():
            left -= taken
            held.append(rows_of_group[group])
        if len(held) == len(group_sizes) // ONE_GROUP_IN:
            break
    if not held:
        return HoldOut(every_row, none, len(labels), "no hold-out: every training group is the only one of some class")
    held_rows = np.sort(np.concatenate(held))
    return HoldOut(np.setdiff1d(every_row, held_rows), held_rows, len(labels))


def validation_part(num_train: int, num_validation: int) -> HoldOut:
    """The division where a split has a validation part, whose rows follow those of the training part.

    Its videos are never fitted on, as benchmarks that have one prescribe.
    """
    return HoldOut(np.arange(num_train), num_train + np.arange(num_validation), num_train)


def no_choice(num_train: int) -> HoldOut:
    """The division where there is nothing to choose."""
    return HoldOut(np.arange(num_train), np.arange(0), num_train)


def _stratified_order(
    class_of_row: NDArray[np.int64], group_of_row: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Groups in an order whose every beginning holds about the same share of each class's groups.

    # class a has 4 groups, b has 2; random offsets .3 and .6: keys a .08 .33 .58 .83, b .30 .80 -> a b a a b a
    """
    num_classes = int(class_of_row.max()) + 1
    pairs, counts = np.unique(group_of_row * num_classes + class_of_row, return_counts=True)
    group_of_pair, class_of_pair = np.divmod(pairs, num_classes)
    by_count = np.lexsort((class_of_pair, -counts, group_of_pair))
    first_of_group = by_count[np.unique(group_of_pair[by_count], return_index=True)[1]]
    main_class = class_of_pair[first_of_group]  # most frequent one; the lower of two equally frequent ones

    groups_per_class = np.bincount(main_class, minlength=num_classes)
    shuffled = rng.permutation(len(main_class))
    by_class = shuffled[np.argsort(main_class[shuffled], kind="stable")]
    classes = main_class[by_class]
    rank = np.arange(len(by_class)) - (np.cumsum(groups_per_class) - groups_per_class)[classes]
    key = (rank + rng.random(num_classes)[classes]) / groups_per_class[classes]
    return by_class[np.argsort(key, kind="stable")]
