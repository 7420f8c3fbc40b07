"""What the splits of a listed data set lack for a probe: said when it is listed, not after a day of extraction."""

import logging
from typing import Final

import numpy as np

from scale_video.store.video_table import VideoTable

logger = logging.getLogger(__name__)

_NUM_SHOWN: Final = 5
"""Names in a message."""
_PARTS: Final = {"train": "training", "test": "test"}


def warn_of_gaps(videos: VideoTable) -> None:
    """Warn, in a line each, of parts without videos or labels, of a single class, and of classes that never train.

    Features can be extracted all the same, and of several splits another may be whole: so nothing is refused.
    """
    for split in videos.splits:
        for part in ("train", "test"):
            if videos.in_split(split, part).size == 0:
                logger.warning("split %r has no %s videos: nothing can be probed on it", split, _PARTS[part])
        for column in _columns_of(split, videos):
            _warn_of_labels(videos, split, column)


def _columns_of(split: str, videos: VideoTable) -> list[str]:
    """The label columns that are probed on a split: of several tasks, each with a split of its name, that task's."""
    own = f"label_{split}"
    if own in videos.labels:
        return [own]
    return [name for name in sorted(videos.labels) if name.removeprefix("label_") not in videos.splits]


def _warn_of_labels(videos: VideoTable, split: str, column: str) -> None:
    label, names = videos.labels[column], videos.class_names[column]
    where = f"split {split!r}" if column == "label" else f"split {split!r}, column {column!r}"
    classes = {}
    for part, what in _PARTS.items():
        rows = videos.in_split(split, part)
        if num_unlabelled := int((label[rows] < 0).sum()):
            logger.warning("%s: %d of %d %s videos have no label", where, num_unlabelled, rows.size, what)
        classes[part] = np.unique(label[rows][label[rows] >= 0])
    if classes["train"].size == 1:
        only = names[classes["train"][0]]
        logger.warning("%s: all labelled training videos are of one class, %r: no probe can learn", where, only)
    untrained = [names[index] for index in np.setdiff1d(classes["test"], classes["train"])]
    if untrained and classes["train"].size:
        shown = ", ".join(map(repr, untrained[:_NUM_SHOWN])) + (", …" if len(untrained) > _NUM_SHOWN else "")
        logger.warning("%s: %d classes have test videos but no training video: %s", where, len(untrained), shown)
