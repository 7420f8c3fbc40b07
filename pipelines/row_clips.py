"""What decodes the clips behind a row of a store, exactly as the extraction did."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_decoders import VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.worker_paths import video_path
from scale_video.store.read import FeatureStore
from scale_video.store.schema import AUGMENTATION_ARRAY


def row_order(
    store: FeatureStore,
    row: int,
    *,
    view: str,
    clips: NDArray[np.int64],
    num_frames: int,
    frame_size: int,
    root: Path,
) -> VideoOrder:
    """An order for some clips of a video.

    Args:
        store: That plans them.
        row: Of the video.
        view: Whose clips they are.
        clips: Which of the planned ones.
        num_frames: Of each clip, T.
        frame_size: Pixels of their side, S.
        root: Folder of the videos.

    Raises:
        StoreError: the plan cannot be read.
        ValueError: the video's path leads out of the root.
    """
    one_row, plan = slice(row, row + 1), store.plan_arrays(view)
    part = store.parts(one_row)
    augmentation = np.asarray(plan[AUGMENTATION_ARRAY][row])[clips] if AUGMENTATION_ARRAY in plan else None
    request = ClipRequest(
        np.asarray(plan["coordinates"][row])[clips],
        np.ones(len(clips), np.bool_),
        num_frames,
        frame_size,
        augmentation=augmentation,
        begin_seconds=float(part.begin_seconds[0]),
        until_seconds=float(part.end_seconds[0]),
    )
    path = video_path(str(root), str(store.column("path", one_row)[0]))
    return VideoOrder(path, float(store.column("duration_seconds", one_row)[0]), (request,))
