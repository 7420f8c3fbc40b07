"""Which column is predicted where none is named."""

import numpy as np

from scale_video.pipelines.probe_target import usual_target
from scale_video.store.video_table import VideoTable


def test_the_column_of_the_split_goes_before_label() -> None:
    zeros = np.zeros(1, dtype=np.int32)
    videos = VideoTable(
        ids=("a",),
        paths=("a",),
        groups=("a",),
        labels={"label": zeros, "label_scene": zeros},
        class_names={"label": ("x",), "label_scene": ("y",)},
        targets={"target_likes": np.zeros(1, dtype=np.float32)},
    )
    assert [usual_target(videos, split=split) for split in ("scene", "likes", "1")] == [
        "label_scene",
        "target_likes",
        "label",
    ]
