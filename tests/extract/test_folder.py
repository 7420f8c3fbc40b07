import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from scale_video.extract.datasets.folder import list_folder
from scale_video.extract.datasets.video_files import find_video_files

NFC, NFD = unicodedata.normalize("NFC", "Käse"), unicodedata.normalize("NFD", "Käse")


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def class_of(table, video_id: str) -> str:
    return table.class_names["label"][table.labels["label"][table.ids.index(video_id)]]


def test_class_folders_with_deeper_folders(tmp_path):
    table = list_folder(touch(tmp_path, "run/a.mp4", "run/film 1/b.mp4", "jump/é/c.mp4", "jump/d.mp4"))
    assert table.ids == ("jump/d.mp4", "jump/é/c.mp4", "run/a.mp4", "run/film 1/b.mp4")
    assert table.paths == table.ids
    assert table.groups == table.ids
    assert table.class_names == {"label": ("jump", "run")}
    assert table.labels["label"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "paths",
    [
        ("a.mp4", "b.mp4"),  # no folders
        ("a.mp4", "b.mp4", "run/c.mp4", "jump/d.mp4"),  # mixed, half and half
        ("run/a.mp4", "run/b.mp4"),  # a single folder
    ],
)
def test_without_two_classes_there_are_neither_labels_nor_splits(tmp_path, paths):
    table = list_folder(touch(tmp_path, *paths))
    assert table.num_videos == len(paths)
    assert table.labels == {}
    assert table.class_names == {}
    assert table.splits == {}


def test_only_videos_are_listed(tmp_path):
    names = "1.mp4 2.M4V 3.mov 4.AVI 5.mkv 6.webm 7.mpg 8.mpeg 9.ts a.mts b.wmv c.flv d.3gp e.ogv"
    videos = names.split(" ")
    others = ["x.txt", "x.mp4.txt", "mp4", ".hidden.mp4", "._x.mp4", ".cache/x.mp4", "x.mp4.partial", "y.partial/z.mp4"]
    touch(tmp_path, *videos, *others)
    (tmp_path / "folder.mp4").mkdir()
    assert [file.id for file in find_video_files(tmp_path)] == sorted(videos)


def test_train_and_test_folders_are_the_split(tmp_path):
    touch(tmp_path, "Train/run/a.mp4", "Train/jump/b.mp4", "test/run/deep/c.mp4", "validation/jump/d.mp4")
    table = list_folder(tmp_path)
    assert table.class_names == {"label": ("jump", "run")}
    assert class_of(table, "test/run/deep/c.mp4") == "run"
    assert [table.ids[row] for row in table.in_split("1", "train")] == ["Train/jump/b.mp4", "Train/run/a.mp4"]
    assert [table.ids[row] for row in table.in_split("1", "test")] == ["test/run/deep/c.mp4"]
    assert [table.ids[row] for row in table.in_split("1", "validation")] == ["validation/jump/d.mp4"]


def test_without_a_test_folder_val_is_the_test_part(tmp_path):
    table = list_folder(touch(tmp_path, "train/run/a.mp4", "train/jump/b.mp4", "val/run/c.mp4"))
    assert table.in_split("1", "test").tolist() == [table.ids.index("val/run/c.mp4")]
    assert table.in_split("1", "validation").size == 0


def test_train_and_test_folders_without_classes_have_a_split_but_no_labels(tmp_path):
    table = list_folder(touch(tmp_path, "train/a.mp4", "train/run/b.mp4", "test/jump/c.mp4", "test/d.mp4"))
    assert table.labels == {}
    assert table.splits["1"].tolist() == [3, 3, 1, 1]


@pytest.mark.parametrize("odd", ["replacement/jump/c.mp4", "stray.mp4"])
def test_something_beside_train_and_test_folders_is_refused(tmp_path, odd):
    touch(tmp_path, "train/run/a.mp4", "train/jump/b.mp4", "val/run/d.mp4", odd)
    name = odd.split("/")[0]
    with pytest.raises(ValueError, match=rf"holds train and test folders, but '{name}' beside them; move that into"):
        list_folder(tmp_path)


def test_strays_among_class_folders_get_no_label_and_a_warning(tmp_path, caplog):
    touch(tmp_path, *(f"{name}/{i}.mp4" for name in ("jump", "run") for i in range(5)), "a.mp4", "b.mp4")
    table = list_folder(tmp_path)
    label = dict(zip(table.ids, table.labels["label"].tolist(), strict=True))
    assert table.class_names["label"] == ("jump", "run")
    assert (label["a.mp4"], label["b.mp4"], label["jump/0.mp4"], label["run/0.mp4"]) == (-1, -1, 0, 1)
    assert "2 of 12 videos lie in no class folder ('a.mp4', 'b.mp4'); they get no label" in caplog.text
    test = {table.ids[row] for row in table.in_split("1", "test")}
    assert sorted(video_id.split("/")[0] for video_id in test) == ["jump", "run"]
    assert len(table.in_split("1", "train")) == 10


def test_strays_in_train_and_test_folders_get_no_label(tmp_path):
    touch(tmp_path, "train/a.mp4", "train/run/b.mp4", "test/jump/c.mp4", "test/run/d.mp4")
    table = list_folder(tmp_path)
    assert table.labels["label"].tolist() == [0, 1, -1, 1]  # ids: test/jump, test/run, train/a, train/run
    assert table.splits["1"].tolist() == [3, 3, 1, 1]


def test_too_many_strays_leave_no_labels_and_a_warning(tmp_path, caplog):
    assert list_folder(touch(tmp_path, "a.mp4", "b.mp4", "run/c.mp4", "jump/d.mp4")).labels == {}
    assert "2 of 4 videos lie in no class folder ('a.mp4', 'b.mp4'); so there are no labels at all" in caplog.text


@pytest.mark.parametrize(
    "paths",
    [("train/a.mp4", "bus/b.mp4"), ("test/a.mp4", "val/b.mp4")],  # a railway's train; no training part
)
def test_other_folders_of_such_names_are_classes(tmp_path, paths):
    table = list_folder(touch(tmp_path, *paths))
    assert table.class_names["label"] == tuple(sorted(path.split("/")[0] for path in paths))


def test_our_own_split_takes_a_fifth_of_each_class(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.mp4" for name, n in (("a", 50), ("b", 7), ("c", 2), ("d", 1)) for i in range(n)))
    table = list_folder(tmp_path)
    test = table.in_split("1", "test")
    assert np.bincount(table.labels["label"][test], minlength=4).tolist() == [10, 1, 1, 0]
    assert len(test) + len(table.in_split("1", "train")) == 60
    assert list_folder(tmp_path).splits["1"].tolist() == table.splits["1"].tolist()


def test_our_own_split_of_a_class_does_not_depend_on_other_classes(tmp_path):
    table = list_folder(touch(tmp_path, *(f"{name}/{i}.mp4" for name in "ab" for i in range(10))))
    more = list_folder(touch(tmp_path, *(f"0/{i}.mp4" for i in range(10))))
    test = {table.ids[row] for row in table.in_split("1", "test")}
    assert {more.ids[row] for row in more.in_split("1", "test")} - {f"0/{i}.mp4" for i in range(10)} == test


def test_ids_are_nfc_and_paths_as_they_are_spelled(tmp_path):
    table = list_folder(touch(tmp_path, f"{NFD}/1 2.mp4", "Brot/ü#1.mp4"))
    row = table.ids.index(f"{NFC}/1 2.mp4")
    assert unicodedata.normalize("NFC", table.paths[row]) == table.ids[row]
    assert (tmp_path / table.paths[row]).exists()
    assert table.class_names["label"] == ("Brot", NFC)


def test_two_spellings_of_one_name_are_refused(tmp_path):
    touch(tmp_path, f"{NFC}.mp4", f"{NFD}.mp4")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system holds them to be one name")
    with pytest.raises(ValueError, match=r"'K.*se.mp4' and 'K.*se.mp4' differ only in how Unicode spells them"):
        list_folder(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path, caplog):
    touch(tmp_path, "data/run/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "data/jump").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/run/up").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data/run/self").symlink_to(tmp_path / "data/run/self")
    (tmp_path / "data/run/link.mp4").symlink_to(tmp_path / "elsewhere/b.mp4")
    (tmp_path / "data/run/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "data/run/again.mp4").symlink_to("a.mp4")
    with caplog.at_level(logging.INFO):
        table = list_folder(tmp_path / "data")
    assert table.ids == ("jump/b.mp4", "run/a.mp4", "run/again.mp4", "run/gone.mp4", "run/link.mp4")
    # Neither the circle nor the link within the folder leads out of it.
    assert "3 symbolic links lead out of" in caplog.text
    assert "such as 'jump'" in caplog.text


def test_a_root_that_is_a_link_itself(tmp_path, caplog):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    (tmp_path / "real/b.mp4").symlink_to("a.mp4")
    with caplog.at_level(logging.INFO):
        assert list_folder(tmp_path / "data").ids == ("a.mp4", "b.mp4")
    assert "lead out" not in caplog.text


def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    touch(tmp_path, "a.mp4")
    assert list_folder(tmp_path).ids == ("a.mp4",)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(ValueError, match=r"the file name b'\\xff.mp4' is not UTF-8; rename it"):
        list_folder(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match=r"no such folder: '.*nowhere'; give the folder that holds the videos"):
        list_folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match=r"'.*a.mp4' is a file; give the folder"):
        list_folder(tmp_path / "a.mp4")


def test_an_empty_folder(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"no videos beneath '.*'; give the folder that holds them \(known: .*mp4"):
        list_folder(tmp_path)
