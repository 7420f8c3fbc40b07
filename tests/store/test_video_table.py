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


def test_unknown_splits_and_parts_are_named(small: ModuleType) -> None:
    videos = small.make_videos()
    with pytest.raises(ValueError, match="no split '2' in this data set; it has: 1"):
        videos.in_split("2", "train")
    with pytest.raises(ValueError, match="no split '1' in this data set; it has: none"):
        VideoTable(ids=("a",), paths=("a",), groups=("a",)).in_split("1", "train")
    with pytest.raises(ValueError, match="part 'dev' is none of none, train, validation, test"):
        videos.in_split("1", "dev")
