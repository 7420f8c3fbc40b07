import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from scale_video.extract.datasets.edited_videos import MANIFEST_NAME, RENDERER_VERSION, DemoParameters, video_specs
from scale_video.extract.datasets.registry import DATASETS, list_dataset


def test_folder(tmp_path):
    (tmp_path / "a b.mp4").touch()
    assert list_dataset("folder", tmp_path).ids == ("a b.mp4",)


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.mp4").touch()
    assert list_dataset("folder", Path("~")).ids == ("a.mp4",)


def test_ucf101_with_lists_elsewhere(tmp_path):
    (tmp_path / "videos/A").mkdir(parents=True)
    (tmp_path / "videos/A/v_A_g01_c01.avi").touch()
    (tmp_path / "videos/A/v_A_g02_c01.avi").touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n")
    (lists / "trainlist03.txt").write_text("A/v_A_g02_c01.avi 1\n")
    (lists / "testlist03.txt").write_text("A/v_A_g01_c01.avi\n")
    assert list_dataset("ucf101", tmp_path / "videos", split_lists=lists).splits["3"].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "UCF-101",
            "no data set 'UCF-101'; there are: demo, demo-hard, demo-control, ucf101, hmdb51, kinetics400, "
            "kinetics600, kinetics700, ssv2, lvu, folder, table; did you mean 'ucf101'",
        ),
        ("demo_hard", "did you mean 'demo-hard'"),
        ("kinetics-400", "did you mean 'kinetics400'"),
        ("epic", r"no data set 'epic'; there are: .*table; one of your own needs its --table \(TABLE=\)$"),
    ],
)
def test_no_such_data_set(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        list_dataset(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "table"])
def test_a_root_that_is_missing_or_a_file(tmp_path, name):
    with pytest.raises(ValueError, match=r"no such folder: '.*nowhere'"):
        list_dataset(name, tmp_path / "nowhere")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"'.*a.mp4' is a file"):
        list_dataset(name, tmp_path / "a.mp4")


def render_names(root: Path, variant: str) -> None:
    """A rendering as its listing sees it: the manifest, and files of the right names."""
    parameters = DemoParameters(variant=variant, num_train=12, num_test=12)
    manifest = {"renderer_version": RENDERER_VERSION, "parameters": asdict(parameters)}
    (root / MANIFEST_NAME).write_text(json.dumps(manifest))
    for spec in video_specs(parameters):
        (root / spec.relative_path).parent.mkdir(parents=True, exist_ok=True)
        (root / spec.relative_path).touch()


@pytest.mark.parametrize("name", ["demo", "demo-hard", "demo-control"])
def test_renderings(tmp_path, name):
    render_names(tmp_path, name)
    table = list_dataset(name, tmp_path)
    assert table.num_videos == 24
    assert table.in_split("1", "train").size == 12


def test_a_rendering_of_another_name(tmp_path):
    render_names(tmp_path, "demo-hard")
    with pytest.raises(ValueError, match=r"'.*' holds 'demo-hard', not 'demo'; name that data set, or another folder"):
        list_dataset("demo", tmp_path)


def test_a_folder_without_a_rendering(tmp_path):
    with pytest.raises(ValueError, match="holds no rendered data set"):
        list_dataset("demo", tmp_path)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400", "ssv2", "folder"])
def test_an_empty_folder(tmp_path, name):
    with pytest.raises(ValueError, match="no videos beneath"):
        list_dataset(name, tmp_path)


@pytest.mark.parametrize("name", ["demo", "folder"])
def test_lists_where_none_are_taken(tmp_path, name):
    with pytest.raises(
        ValueError, match=f"--split-lists is for ucf101, hmdb51, .*, lvu; leave it out for data set '{name}'"
    ):
        list_dataset(name, tmp_path, split_lists=tmp_path)


def make_kinetics(root: Path, *, train: str, validation: str) -> Path:
    """Videos by the letters of their classes, a file each, of which ``-`` has no label."""
    for part, classes in (("train", train), ("val", validation)):
        names = [f"{part}{number:02d}" for number in range(len(classes))]
        lines = [f"{letter.strip('-')},{name},0,10,{part}\n" for letter, name in zip(classes, names, strict=True)]
        (root / f"{part}.csv").write_text("label,youtube_id,time_start,time_end,split\n" + "".join(lines))
        for name in names:
            (root / f"{name}_000000_000010.mp4").touch()
    (root / "extra.mp4").touch()
    return root


@pytest.mark.parametrize(
    ("train", "validation", "messages"),
    [
        ("abc", "cba", []),
        ("abb", "acdd", ["split '1': 2 classes have test videos but no training video: 'c', 'd'"]),
        ("aaa", "aa", ["split '1': all labelled training videos are of one class, 'a': no probe can learn"]),
        ("abab", "--", ["split '1': 2 of 2 test videos have no label"]),
        ("ab-", "ab", ["split '1': 1 of 3 training videos have no label"]),
        ("ab", "", ["split '1' has no test videos: nothing can be probed on it"]),
        ("", "ab", ["split '1' has no training videos: nothing can be probed on it"]),
    ],
)
def test_gaps_of_splits_are_said_in_a_line_each(tmp_path, caplog, train, validation, messages):
    make_kinetics(tmp_path, train=train, validation=validation)
    with caplog.at_level(logging.WARNING):
        list_dataset("kinetics600", tmp_path)
    assert [record.message for record in caplog.records if record.name.endswith("split_gaps")] == messages


@pytest.mark.parametrize("name", ["kinetics400", "kinetics600", "kinetics700"])
def test_kinetics_with_lists_elsewhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "all").mkdir()
    make_kinetics(tmp_path / "all", train="ab", validation="a")
    (tmp_path / "lists").mkdir()
    for path in (tmp_path / "all").glob("*.csv"):
        path.rename(tmp_path / "lists" / path.name)
    table = list_dataset(name, tmp_path / "all", split_lists=Path("~/lists"))
    assert table.splits["1"].tolist() == [0, 1, 1, 3]
