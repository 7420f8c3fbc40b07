from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scale_video.store.video_table import VideoTable, video_row_index


def test_rows_of_a_split(small: ModuleType) -> None:
    videos = small.make_videos()
    assert videos.num_videos == 7
    assert videos.in_split("1", "train").tolist() == [0, 1, 2]
    assert videos.in_split("1", "test").tolist() == [3, 4, 5]
    assert video_row_index(videos.ids)[videos.ids[3]] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ()}, "at least one video, got none"),
        ({"paths": ("a",)}, "column 'paths' has 1 values for 7 videos"),
        ({"ids": ("a",) * 7}, "video id 'a' occurs twice; ids must be unique"),
        ({"ids": ("a\udcff", *"bcdefg")}, "id .* is no valid Unicode"),
        ({"groups": ("a\udcff", *"bcdefg")}, "group .* is no valid Unicode"),
        ({"paths": ("/a", *"bcdefg")}, "path '/a' must be relative, and lie beneath the data root"),
        ({"paths": ("a/../../b", *"bcdefg")}, r"path 'a/\.\./\.\./b' must be relative"),
        ({"labels": {"class": np.zeros(7, np.int32)}, "class_names": {}}, "'class' must be called 'label' or 'label_<"),
        ({"targets": {"views": np.zeros(7, np.float32)}}, "target column 'views' must be called 'target' or 'target_<"),
        ({"targets": {"target_A": np.zeros(7, np.float32)}}, "target column 'target_A' must consist of"),
        ({"targets": {"target": np.zeros(6, np.float32)}}, "column 'target' has 6 values for 7 videos"),
        ({"targets": {"target": np.full(7, np.inf, np.float32)}}, "column 'target' has an infinite target"),
        (
            {"label_sets": {"labels": np.zeros((7, 2), np.int8)}},
            r"column 'labels' must be of shape \(videos, classes\).*, got \(7, 2\) for 0 class names",
        ),
        (
            {
                "label_sets": {"labels": np.full((7, 1), 2, np.int8)},
                "class_names": {"label": ("a", "b"), "labels": ("x",)},
            },
            r"column 'labels' must hold -1, 0 or 1, got \[2, 2\]",
        ),
        ({"start_seconds": np.full(7, -1.0)}, "start_seconds must be 0 or more, and finite, or NaN .*; got -1"),
        ({"end_seconds": np.full(7, np.inf)}, "end_seconds must be 0 or more, and finite, or NaN .*; got inf"),
        ({"end_seconds": np.zeros(7)}, "a part must end after it begins, got 0 to 0 seconds"),
        (
            {"start_seconds": np.arange(7.0), "end_seconds": np.array([1, 2, 3, 3, np.nan, 6, 7])},
            "a part must end after it begins, got 3 to 3 seconds",
        ),
        (
            {"labels": {"label_a/b": np.zeros(7, np.int32)}, "class_names": {"label_a/b": ("x",)}},
            "label column 'label_a/b' must consist of",
        ),
        ({"labels": {}}, "class_names of label, but there is no such label column"),
        ({"class_names": {"label": ("jump",)}}, r"column 'label' has values in \[-1, 1\], but 1 classes"),
        ({"class_names": {"label": ("a\udcff", "b")}}, "class name .* is no valid Unicode"),
        ({"splits": {"../1": np.zeros(7, np.uint8)}}, r"split '\.\./1' must consist of"),
        ({"splits": {"1": np.full(7, 4, np.uint8)}}, "split '1' has the unknown code 4"),
    ],
)
def test_what_is_no_table_is_refused(small: ModuleType, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small.make_videos(), **changes)


def test_parts_of_files(small: ModuleType) -> None:
    videos = small.make_rich_videos()
    assert videos.parts.begin_seconds.tolist() == [0, 0, 2, 3.5, 0, 0.125, 1]
    assert videos.parts.end_seconds.tolist() == [np.inf, 2, 3.5, np.inf, np.inf, 0.25, 60]
    assert [path + videos.parts.suffix(row) for row, path in enumerate(videos.paths)] == list(videos.ids)
    assert videos.parts.any
    assert not small.make_videos().parts.any


def test_some_of_the_rows(small: ModuleType) -> None:
    videos = small.make_rich_videos().take(np.array([5, 1]))
    assert videos.ids == ("klasse ß/1 视频.mp4#0.125-0.25", "klasse ß/0 视频.mp4#-2")
    assert videos.label_sets["labels"].tolist() == [[-1, 1], [0, 0]]
    assert videos.targets["target_views"].tolist() == [np.float32(5 / 3), np.float32(1 / 3)]
    np.testing.assert_array_equal(videos.start_seconds, [0.125, np.nan])
    np.testing.assert_array_equal(videos.end_seconds, [0.25, 2])


def test_unknown_splits_and_parts_are_named(small: ModuleType) -> None:
    videos = small.make_videos()
    with pytest.raises(ValueError, match="no split '2' in this data set; it has: 1"):
        videos.in_split("2", "train")
    with pytest.raises(ValueError, match="no split '1' in this data set; it has: none"):
        VideoTable(ids=("a",), paths=("a",), groups=("a",)).in_split("1", "train")
    with pytest.raises(ValueError, match="part 'dev' is none of none, train, validation, test"):
        videos.in_split("1", "dev")


def test_the_column_of_a_split_is_called_after_it() -> None:
    zeros, names = np.zeros(2, dtype=np.int32), {"label": ("a",), "label_scene": ("a",), "labels_tags": ("a",)}
    videos = VideoTable(
        ids=("a", "b"),
        paths=("a", "b"),
        groups=("a", "b"),
        labels={"label": zeros, "label_scene": zeros},
        class_names=names,
        label_sets={"labels_tags": np.zeros((2, 1), dtype=np.int8)},
        targets={"target_scene": np.zeros(2, dtype=np.float32), "target_likes": np.zeros(2, dtype=np.float32)},
    )
    found = {split: videos.own_column(split) for split in ("scene", "tags", "likes", "1", "")}
    assert found == {"scene": "label_scene", "tags": "labels_tags", "likes": "target_likes", "1": None, "": None}
