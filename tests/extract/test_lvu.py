"""LVU from a miniature of its official layout."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from scale_video.extract.datasets.lvu import list_lvu
from scale_video.extract.datasets.lvu_lists import TASKS, find_lvu_lists, read_lvu_list
from scale_video.extract.datasets.registry import list_dataset
from scale_video.store.video_table import VideoTable

CLASS_HEADER = "class_id class_name youtube_id imdb_id"
LISTS = {
    "scene": {
        "train": f"{CLASS_HEADER}\n0 office aaaaaaaaaaa tt1\n5 restaurant -bbbbbbbbbb tt1\n",
        "val": f"{CLASS_HEADER}\n5 restaurant ccccccccccc tt2\n",
        "test": f"{CLASS_HEADER}\n2 school ddddddddddd tt3\n0 office gone_______ tt3\n",
    },
    "writer": {
        "train": f"{CLASS_HEADER}\n0 \\N ddddddddddd tt3\n",
        "val": f"{CLASS_HEADER}\n",
        "test": f"{CLASS_HEADER}\n7 Jane van  Dyke aaaaaaaaaaa tt1\n",
    },
    "like_ratio": {
        "train": "like_count dislike_count youtube_id imdb_id\n300 100 aaaaaaaaaaa tt1\n0 0 ccccccccccc tt2\n",
        "val": "like_count dislike_count youtube_id imdb_id\n1 3 ddddddddddd tt3\n",
        "test": "like_count dislike_count youtube_id imdb_id\n7 0 -bbbbbbbbbb tt1\n",
    },
    "view_count": {
        "train": "view_count youtube_id imdb_id\n1 aaaaaaaaaaa tt1\n",
        "val": "view_count youtube_id imdb_id\n0 ccccccccccc tt2\n",
        "test": "view_count youtube_id imdb_id\n1009922 ddddddddddd tt3\n",
    },
}
FILES = ("aaaaaaaaaaa.mp4", "more/-bbbbbbbbbb.mkv", "ccccccccccc.mp4", "A Scene [ddddddddddd].webm", "unlisted.mp4")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for task, parts in LISTS.items():
        folder = tmp_path / "lvu_1.0" / task
        folder.mkdir(parents=True)
        for part, text in parts.items():
            (folder / f"{part}.csv").write_text(text)
    for name in FILES:
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "videos"


def by_id(videos: VideoTable, column: object) -> dict[str, object]:
    return {video_id[:3]: value for video_id, value in zip(videos.ids, list(column), strict=True)}  # type: ignore[call-overload]


def test_each_task_has_its_own_column_and_split(root: Path) -> None:
    videos = list_dataset("lvu", root)
    assert videos.ids == (
        "-bbbbbbbbbb.mkv", "A Scene [ddddddddddd].webm", "aaaaaaaaaaa.mp4", "ccccccccccc.mp4", "unlisted.mp4",
    )  # fmt: skip
    assert videos.paths[0] == "more/-bbbbbbbbbb.mkv"
    assert videos.groups == ("tt1", "tt3", "tt1", "tt2", "unlisted.mp4")
    assert videos.class_names == {
        "label_scene": ("office", "school", "restaurant"),  # official numbers 0, 2, 5
        "label_writer": ("\\N", "Jane van Dyke"),
    }
    assert set(videos.splits) == {"scene", "writer", "like_ratio", "view_count"}
    assert by_id(videos, videos.labels["label_scene"]) == {"-bb": 2, "A S": 1, "aaa": 0, "ccc": 2, "unl": -1}
    assert by_id(videos, videos.splits["scene"]) == {"-bb": 1, "A S": 3, "aaa": 1, "ccc": 2, "unl": 0}
    assert by_id(videos, videos.labels["label_writer"]) == {"-bb": -1, "A S": 0, "aaa": 1, "ccc": -1, "unl": -1}
    assert by_id(videos, videos.splits["writer"]) == {"-bb": 0, "A S": 1, "aaa": 3, "ccc": 0, "unl": 0}
    assert by_id(videos, videos.splits["like_ratio"]) == {"-bb": 3, "A S": 2, "aaa": 1, "ccc": 1, "unl": 0}


def test_numbers_are_those_of_the_official_code(root: Path) -> None:
    videos = list_lvu(root)
    nan = math.nan
    np.testing.assert_allclose(videos.targets["target_like_ratio"], [10, 2.5, 7.5, nan, nan])
    np.testing.assert_allclose(videos.targets["target_view_count"], [nan, np.log(1009922), 0, nan, nan], rtol=1e-6)


def test_what_is_missing_is_counted_for_each_task(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        list_lvu(root)
    assert [record.message for record in caplog.records] == [
        f"scene: 1 of 5 videos are not beneath {root} (such as gone_______); the others are used",
        f"1 of 5 videos are in no list of {root.parent / 'lvu_1.0'}: they belong to no split",
    ]


def test_gaps_are_said_of_a_task_alone(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        list_dataset("lvu", root)
    gaps = [record.message for record in caplog.records if record.name.endswith("split_gaps")]
    assert gaps == [
        "split 'scene', column 'label_scene': 1 classes have test videos but no training video: 'school'",
        "split 'writer', column 'label_writer': all labelled training videos are of one class, '\\\\N': no probe can "
        "learn",
        "split 'writer', column 'label_writer': 1 classes have test videos but no training video: 'Jane van Dyke'",
        "split 'like_ratio': 1 groups have training and test videos, so that scores are too good: 'tt1'",
        "split 'like_ratio', column 'target_like_ratio': 1 of 2 training videos have no number",
        "split 'like_ratio', column 'target_like_ratio': all labelled training videos have the same number: no probe "
        "can learn",
        "split 'view_count', column 'target_view_count': 1 of 1 validation videos have no number",
        "split 'view_count', column 'target_view_count': all labelled training videos have the same number: no probe "
        "can learn",
    ]


def test_lists_elsewhere(root: Path, tmp_path: Path) -> None:
    (tmp_path / "lvu_1.0").rename(tmp_path / "lists")
    assert list(list_lvu(root, split_lists=tmp_path / "lists").splits) == [
        "scene",
        "writer",
        "like_ratio",
        "view_count",
    ]
    with pytest.raises(
        ValueError, match=r"no relationship/train\.csv \(or that of another task\) in '.*videos', '.*',"
    ):
        list_lvu(root)
    (tmp_path / "lists/scene/val.csv").unlink()
    with pytest.raises(ValueError, match=r"'.*scene/val\.csv' is missing; unpack the official archive again"):
        find_lvu_lists(root, split_lists=tmp_path / "lists")


def test_none_of_the_videos(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x.mp4").touch()
    with pytest.raises(ValueError, match="none of the videos that scene, writer, like_ratio, view_count name"):
        list_lvu(tmp_path / "other")


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (
            "scene",
            "class_id,class_name,youtube_id,imdb_id\n",
            "the first line must be 'class_id class_name youtube_id imd",
        ),
        (
            "scene",
            f"{CLASS_HEADER}\nx office aaaaaaaaaaa tt1\n",
            r"train\.csv:2: cannot read 'x office aaaaaaaaaaa tt1'",
        ),
        (
            "scene",
            f"{CLASS_HEADER}\n\n0 aaaaaaaaaaa tt1\n",
            r"train\.csv:3: cannot read '0 aaaaaaaaaaa tt1'; a line is",
        ),
        ("view_count", "view_count youtube_id imdb_id\n3 4 aaaaaaaaaaa tt1\n", r"train\.csv:2: cannot read '3 4 aaa"),
        ("view_count", "view_count youtube_id imdb_id\nnan aaaaaaaaaaa tt1\n", r"train\.csv:2: cannot read 'nan aaa"),
        ("scene", f"{CLASS_HEADER}\n2 office aaaaaaaaaaa tt1\n", "call class 2 both 'office' and 'school'"),
        ("scene", f"{CLASS_HEADER}\n9 school aaaaaaaaaaa tt1\n", "give one class two numbers"),
    ],
)
def test_lists_that_are_not_understood(root: Path, task: str, text: str, message: str) -> None:
    (root.parent / "lvu_1.0" / task / "train.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        list_lvu(root)


def test_there_are_nine_tasks(root: Path) -> None:
    assert len(TASKS) == 9
    line = next(read_lvu_list(root.parent / "lvu_1.0/scene/train.csv", task="scene"))
    assert (line.youtube_id, line.film, line.class_id, line.class_name) == ("aaaaaaaaaaa", "tt1", 0, "office")
