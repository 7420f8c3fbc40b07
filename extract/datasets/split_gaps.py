"""What the splits of a listed data set lack for a probe: said when it is listed, not after a day of extraction."""

import logging
from typing import Final

import numpy as np

from scale_video.store.video_table import VideoTable

logger = logging.getLogger(__name__)

_NUM_SHOWN: Final = 5
"""Names in a message."""


def warn_of_gaps(videos: VideoTable) -> None:
    """Warn, in a line each, of parts without videos or labels, of a single class, and of classes that never train.

    Features can be extracted all the same, and of several splits another may be whole: so nothing is refused.
    """
    label = videos.labels["label"]
    names = videos.class_names["label"]
    for split in videos.splits:
        rows_of = {part: videos.in_split(split, part) for part in ("train", "test")}
        classes = {}
        for part, rows in rows_of.items():
            what = "training" if part == "train" else "test"
            if rows.size == 0:
                logger.warning("split %r has no %s videos: nothing can be probed on it", split, what)
            elif num_unlabelled := int((label[rows] < 0).sum()):
                logger.warning("split %r: %d of %d %s videos have no label", split, num_unlabelled, rows.size, what)
            classes[part] = np.unique(label[rows][label[rows] >= 0])
        if classes["train"].size == 1:
            only = names[classes["train"][0]]
            logger.warning(
                "split %r: all labelled training videos are of one class, %r: no probe can learn", split, only
            )
        untrained = [names[index] for index in np.setdiff1d(classes["test"], classes["train"])]
        if untrained and classes["train"].size:
            shown = ", ".join(map(repr, untrained[:_NUM_SHOWN])) + (", …" if len(untrained) > _NUM_SHOWN else "")
            logger.warning(
                "split %r: %d classes have test videos but no training video: %s", split, len(untrained), shown
            )
