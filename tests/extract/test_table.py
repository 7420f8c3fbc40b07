"""Tables of videos: what each column becomes, and mistakes named by file and line."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scale_video.extract.datasets.registry import list_dataset
from scale_video.extract.datasets.table import list_table
from scale_video.extract.datasets.table_file import read_table_file
from scale_video.store.video_table import VideoTable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for name in ("a.mp4", "b.mp4", "c.mp4", "é/d;1.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def listed(root: Path, text: str, *, name: str = "t.csv", encoding: str = "utf-8") -> VideoTable:
    table = root.parent / name
    table.write_bytes(text.encode(encoding))
    return list_table(root, table=table)


def test_every_kind_of_column(root: Path) -> None:
    videos = listed(
        root,
        "path,split,split_two,label,label_scene,labels,target_views,group,start_seconds,end\n"
        "a.mp4,train,val,run,9,dog;cat,10.5,g1,,5\n"
        "a.mp4,Training,,jump,10,;,,g1,5,7.25\n"
        "./b.mp4,test,dev,,-1,,-3e2,,0.5,\n"
        "\n"
        "é/d;1.mp4,none,TEST,run,,cat,nan,,0,\n",
    )
    assert videos.ids == ("a.mp4#-5", "a.mp4#5-7.25", "b.mp4#0.5-", "é/d;1.mp4")
    assert videos.paths == ("a.mp4", "a.mp4", "b.mp4", "é/d;1.mp4")
    assert videos.groups == ("g1", "g1", "b.mp4", "é/d;1.mp4")
    assert {name: codes.tolist() for name, codes in videos.splits.items()} == {"1": [1, 1, 3, 0], "two": [2, 0, 2, 3]}
    assert videos.class_names == {
        "label": ("jump", "run"),
        "label_scene": ("-1", "9", "10"),
        "labels": ("cat", "dog"),
    }
    assert videos.labels["label"].tolist() == [1, 0, -1, 1]
    assert videos.labels["label_scene"].tolist() == [1, 2, 0, -1]
    assert videos.label_sets["labels"].tolist() == [[1, 1], [0, 0], [-1, -1], [1, 0]]
    np.testing.assert_array_equal(videos.targets["target_views"], np.array([10.5, np.nan, -300, np.nan], np.float32))
    np.testing.assert_array_equal(videos.start_seconds, [np.nan, 5, 0.5, np.nan])
    np.testing.assert_array_equal(videos.end_seconds, [5, 7.25, np.nan, np.nan])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_line_ends_and_marks(root: Path, separator: str, encoding: str) -> None:
    text = 'path|label|target\r\na.mp4| x |1\r\n"é/d;1.mp4"|"y, z"|2\r\n'.replace("|", separator)
    videos = listed(root, text, encoding=encoding)
    assert videos.paths == ("a.mp4", "é/d;1.mp4")
    assert videos.class_names["label"] == ("x", "y, z")
    assert videos.targets["target"].tolist() == [1, 2]


def test_a_file_is_spelled_as_it_is_and_called_in_nfc(root: Path) -> None:
    (root / "e\u0301.mp4").touch()
    videos = listed(root, "path\ne\u0301.mp4\n")
    assert (videos.ids, videos.paths, videos.groups) == (("\u00e9.mp4",), ("e\u0301.mp4",), ("\u00e9.mp4",))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "-2.5", "1e1"], ("-2.5", "9", "10", "1e1")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["10", "9", "nan"], ("10", "9", "nan")),
    ],
)
def test_numbers_stay_in_their_order(root: Path, names: list[str], expected: tuple[str, ...]) -> None:
    videos = listed(root, "path,labels\na.mp4," + ";".join(names) + "\n")
    assert videos.class_names["labels"] == expected


def test_parquet_is_the_same_table(root: Path) -> None:
    columns = {
        "path": ["a.mp4", "b.mp4", "c.mp4"],
        "label": pa.array([2, None, 10], pa.int64()),
        "label_pandas": [2.0, float("nan"), 10.0],
        "labels": [["x", "y"], None, []],
        "target": [1.5, None, 3.0],
        "start_seconds": [0.0, 2.5, None],
        "split": pa.array(["train", None, "test"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), root.parent / "t.parquet")
    parquet = list_table(root, table=root.parent / "t.parquet")
    text = "path,label,label_pandas,labels,target,start,split\n"
    csv = listed(root, text + "a.mp4,2,2,x;y,1.5,0,train\nb.mp4,,,,,2.5,\nc.mp4,10,10,;,3,,test\n")
    assert parquet.ids == csv.ids == ("a.mp4", "b.mp4#2.5-", "c.mp4")
    assert parquet.class_names == csv.class_names
    for name in ("labels", "label_sets", "targets", "splits"):
        for column, values in getattr(csv, name).items():
            np.testing.assert_array_equal(getattr(parquet, name)[column], values, strict=True)


def test_an_element_of_a_list_is_never_read_as_two(root: Path) -> None:
    columns = {"path": ["a.mp4", "b.mp4"], "labels": [["sun"], ["sun", "rain; heavy"]]}
    pq.write_table(pa.table(columns), root.parent / "t.parquet")
    with pytest.raises(
        ValueError, match=r"t\.parquet:2: column 'labels': 'rain; heavy' holds ';', which stands between"
    ):
        list_table(root, table=root.parent / "t.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.mp4,x\n", r"t\.csv: no column is called 'path'; the first line must name the columns \(path, "),
        ("", r"t\.csv: holds no rows"),
        ("path\n", r"t\.csv: holds no rows"),
        ("path,label,label\na.mp4,x,y\n", r"t\.csv: two columns are called 'label'; rename one"),
        ("path,start,start_seconds\na.mp4,1,1\n", r"two columns are of 'start_seconds'; leave one"),
        ("path,split,split_1\na.mp4,train,test\n", r"two columns are of 'split_1'; leave one"),
        ("path,label_a b\na.mp4,x\n", r"t\.csv: column 'label_a b': the name of what it holds 'a b' must consist of"),
        ("path,label\na.mp4,x,y\n", r"t\.csv:2: has 3 cells, but the first line names 2 columns; put quotes"),
        ("path,label\na.mp4,x\nb.mp4\n", r"t\.csv:3: has 1 cells"),
        ("path,label\n,x\n", r"t\.csv:2: column 'path': is empty; name a file beneath"),
        ("path\na.mp4\n/etc/passwd\n", r"t\.csv:3: column 'path': .*'/etc/passwd' leads out of the folder"),
        ("path\na.mp4\n../x.mp4\n", r"t\.csv:3: column 'path': .*'\.\./x\.mp4' leads out of the folder"),
        ("path\nC:\\a.mp4\n", r"t\.csv:2: column 'path': .* leads out of the folder"),
        (
            "path,start\na.mp4,1:30\n",
            r"t\.csv:2: column 'start_seconds': '1:30' is no number; it must be seconds, such",
        ),
        ("path,start\na.mp4,-1\n", r"t\.csv:2: column 'start_seconds': '-1' is before the beginning of the file"),
        ("path,end\na.mp4,inf\n", r"t\.csv:2: column 'end_seconds': 'inf' is too large; it must be seconds"),
        ("path,end\na.mp4,0\n", r"t\.csv:2: the part ends at 0 s, but begins at 0 s; repair it"),
        ("path,start,end\na.mp4,,\nb.mp4,3,2\n", r"t\.csv:3: the part ends at 2 s, but begins at 3 s; repair it"),
        (
            "path,target\na.mp4,many\n",
            r"t\.csv:2: column 'target': 'many' is no number; it must be a number to predict",
        ),
        ("path,target\na.mp4,1e39\n", r"t\.csv:2: column 'target': '1e39' is too large"),
        ("path,split\na.mp4,train\nb.mp4,eval\n", r"t\.csv:3: column 'split_1': 'eval' is no part of a split; write"),
        (
            "path,start\na.mp4,\na.mp4,0\n",
            r"t\.csv:3: 'a\.mp4' is in line 2 already; a video, or a part of one, has one",
        ),
        ("path\nx.mp4\ny.mp4\n", r"t\.csv: none of its 2 files is beneath '.*videos': 'x\.mp4', 'y\.mp4'; name the"),
        ('path\na.mp4\n"b.mp4\nc.mp4\n', r"t\.csv:4: is not csv: unexpected end of data"),
    ],
)
def test_mistakes_are_named_by_line(root: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        listed(root, text)


def test_files_that_are_no_tables(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no such table: '.*nowhere\.csv'; name a csv or Parquet file by --table"):
        list_table(root, table=root / "nowhere.csv")
    with pytest.raises(ValueError, match=r"latin\.csv: is not UTF-8 \(byte 5\); save it as csv in UTF-8"):
        listed(root, "path\né.mp4\n", name="latin.csv", encoding="latin-1")
    with pytest.raises(ValueError, match=r"t\.parquet: cannot be read as Parquet: "):
        listed(root, "path\na.mp4\n", name="t.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"Parquet is read by pyarrow: pip install 'scale-video\[parquet\]', or write"):
        listed(root, "", name="t.pq")


def test_what_is_left_out_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        videos = listed(root, "path,lable,Note,label,split\na.mp4,x,hm,,train\ngone.mp4,y,,,test\n")
    assert videos.labels == {}
    assert videos.paths == ("a.mp4", "gone.mp4")
    messages = [record.message for record in caplog.records]
    assert "t.csv: column 'label' is empty and left out" in messages[0]
    assert "columns that mean nothing here are left out: 'lable', 'note' (known: path, group, split" in messages[1]
    assert "1 of 2 files are not beneath" in messages[2]
    assert "and will be recorded as missing: 'gone.mp4'" in messages[2]
    assert len(messages) == 3


def test_gaps_are_said_for_each_label(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        listed(
            root,
            "path,split,split_mood,label_scene,label_mood\n"
            "a.mp4,train,train,in,glad\n"
            "b.mp4,train,train,out,sad\n"
            "c.mp4,test,test,up,\n",
        )
    assert [record.message for record in caplog.records] == [
        "split '1', column 'label_scene': 1 classes have test videos but no training video: 'up'",
        "split 'mood', column 'label_mood': 1 of 1 test videos have no label",
    ]


def test_gaps_are_said_of_sets_numbers_and_groups(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        listed(
            root,
            "path,group,split,split_mood,split_age,label,labels,labels_mood,target_age\n"
            "a.mp4,f,train,train,train,x,sun;sea,glad,3\n"
            "b.mp4,g,train,train,train,y,sea,glad,3\n"
            "é.mp4,h,val,val,none,,sun,glad;sad,\n"
            "c.mp4,f,test,test,test,x,rain,sad,\n",
        )
    both_sides = "1 groups have training and test videos, so that scores are too good: 'f'"
    assert [record.message for record in caplog.records if record.name.endswith("split_gaps")] == [
        f"split '1': {both_sides}",
        "split '1': 1 of 1 validation videos have no label",
        "split '1', column 'labels': 1 classes have test videos but no training video: 'rain'",
        f"split 'age': {both_sides}",
        "split 'age', column 'target_age': 1 of 1 test videos have no number",
        "split 'age', column 'target_age': all labelled training videos have the same number: no probe can learn",
        f"split 'mood': {both_sides}",
        "split 'mood', column 'labels_mood': all labelled training videos have the same set of classes: no probe can "
        "learn",
        "split 'mood', column 'labels_mood': 1 classes have test videos but no training video: 'sad'",
    ]


def test_names_of_data_sets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = root.parent / "t.csv"
    table.write_text("path\na.mp4\n")
    monkeypatch.setenv("HOME", str(root.parent))
    for name in ("table", "mine", "my-films.2"):
        assert list_dataset(name, Path("~/videos"), table=Path("~/t.csv")).ids == ("a.mp4",)
    with pytest.raises(ValueError, match="data set 'table' needs a table of its videos; name it by --table"):
        list_dataset("table", root)
    for name in ("ucf101", "folder", "demo-mine"):
        with pytest.raises(ValueError, match=f"'{name}' is a data set that needs no table; leave --table out, or call"):
            list_dataset(name, root, table=table)
    with pytest.raises(ValueError, match=r"data set '\.\./up' must consist of a-z"):
        list_dataset("../up", root, table=table)
    with pytest.raises(ValueError, match="--split-lists is for ucf101"):
        list_dataset("mine", root, table=table, split_lists=root)


def test_lines_are_those_of_the_file(root: Path) -> None:
    table = root.parent / "t.csv"
    table.write_text('path,group\na.mp4,"two\nlines"\n\nb.mp4,g\n')
    file = read_table_file(table)
    assert list(file.lines) == [3, 5]
    assert file.where(1) == f"{table}:5"
    assert file.columns["group"] == ("two\nlines", "g")
