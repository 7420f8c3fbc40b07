"""What the splits of a listed data set lack for a probe: said when it is listed, not after a day of extraction."""

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.video_table import VideoTable

logger = logging.getLogger(__name__)

_NUM_SHOWN: Final = 5
"""Names in a message."""
_PARTS: Final = {"train": "training", "validation": "validation", "test": "test"}


def warn_of_gaps(videos: VideoTable) -> None:
    """Warn, in a line each, of what a probe on a split will lack or be misled by.

    That is: parts without videos or with unlabelled ones, training videos that are all alike, classes that never train,
    and groups on both sides. Features can be extracted all the same, and of several splits another may be whole: so
    nothing is refused.
    """
    for split in videos.splits:
        for part in ("train", "test"):
            if videos.in_split(split, part).size == 0:
                logger.warning("split %r has no %s videos: nothing can be probed on it", split, _PARTS[part])
        _warn_of_shared_groups(videos, split)
        for column in _columns_of(split, videos):
            _warn_of_column(videos, split, column)


def _columns_of(split: str, videos: VideoTable) -> list[str]:
    """The columns that are probed on a split: of several tasks, each with a split of its name, that task's."""
    if own := videos.own_column(split):
        return [own]
    columns = sorted([*videos.labels, *videos.label_sets, *videos.targets])
    return [name for name in columns if name.partition("_")[2] not in videos.splits]


def _warn_of_shared_groups(videos: VideoTable, split: str) -> None:
    train, test = ({videos.groups[row] for row in videos.in_split(split, part)} for part in ("train", "test"))
    if shared := sorted(train & test):
        logger.warning(
            "split %r: %d groups have training and test videos, so that scores are too good: %s",
            split,
            len(shared),
            _shown(shared),
        )


def _warn_of_column(videos: VideoTable, split: str, column: str) -> None:
    where = f"split {split!r}" if column == "label" else f"split {split!r}, column {column!r}"
    known, what = _known(videos, column)
    rows = {part: videos.in_split(split, part) for part in _PARTS}
    for part, spoken in _PARTS.items():
        if num_unknown := int((~known[rows[part]]).sum()):
            logger.warning("%s: %d of %d %s videos have no %s", where, num_unknown, rows[part].size, spoken, what)
    labelled = {part: of_part[known[of_part]] for part, of_part in rows.items()}
    _warn_of_sameness(videos, labelled["train"], column, where=where)
    if column in videos.targets or labelled["train"].size == 0:
        return
    names = videos.class_names[column]
    train, test = (_classes(videos, column, labelled[part]) for part in ("train", "test"))
    if untrained := [names[index] for index in np.setdiff1d(test, train)]:
        logger.warning(
            "%s: %d classes have test videos but no training video: %s", where, len(untrained), _shown(untrained)
        )


def _known(videos: VideoTable, column: str) -> tuple[NDArray[np.bool_], str]:
    """Which videos have a value, and what it is called."""
    if column in videos.targets:
        return np.isfinite(videos.targets[column]), "number"
    if column in videos.label_sets:
        return np.asarray((videos.label_sets[column] >= 0).all(axis=1)), "labels"
    return videos.labels[column] >= 0, "label"


def _warn_of_sameness(videos: VideoTable, train: NDArray[np.int64], column: str, *, where: str) -> None:
    """Of labelled training videos that are all alike."""
    if column in videos.labels:
        if (classes := _classes(videos, column, train)).size == 1:
            only = videos.class_names[column][classes[0]]
            logger.warning("%s: all labelled training videos are of one class, %r: no probe can learn", where, only)
        return
    values = videos.targets[column] if column in videos.targets else videos.label_sets[column]
    if train.size and (values[train] == values[train[0]]).all():
        what = "number" if column in videos.targets else "set of classes"
        logger.warning("%s: all labelled training videos have the same %s: no probe can learn", where, what)


def _classes(videos: VideoTable, column: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes that labelled videos have, ascending."""
    if column in videos.labels:
        return np.unique(videos.labels[column][rows]).astype(np.int64)
    return np.flatnonzero((videos.label_sets[column][rows] == 1).any(axis=0))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NUM_SHOWN])) + (", …" if len(names) > _NUM_SHOWN else "")
