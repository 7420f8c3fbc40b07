import json
import shutil
from pathlib import Path

import av
import pytest

from scale_video.extract.datasets.something_something import list_something_something

CLASSES = {  # the order of the numbers, not of the alphabet, counts
    "Pushing something from left to right": "1",
    "Pretending to open something without actually opening it": "2",
    "Closing something": "0",
}
TRAIN = [
    {
        "id": "78687",
        "label": "pushing potato from left to right",
        "template": "Pushing [something] from left to right",
        "placeholders": ["potato"],
    },
    {"id": "9", "label": "closing a box", "template": "Closing [something]", "placeholders": ["a box"]},
]
VALIDATION = [
    {"id": "1000", "template": "Pretending to open [something] without actually opening it"},
    {"id": 41, "template": "Closing [something]"},
]
TEST = [{"id": "7"}]
LISTS = {"labels": CLASSES, "train": TRAIN, "validation": VALIDATION, "test": TEST}
IDS = ("1000.webm", "41.webm", "7.webm", "78687.webm", "9.webm")


def write_lists(folder: Path, *, prefix: str = "something-something-v2-", **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (LISTS | changes).items():
        if value is not None:
            (folder / f"{prefix}{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, make_painted_video):
    """VP9 at 12 frames a second, as the data set has them."""
    path = tmp_path_factory.mktemp("ssv2") / "a.webm"
    return make_painted_video(path, num_frames=6, fps=12, codec="libvpx-vp9")


@pytest.fixture
def data(tmp_path, encoded):
    root = tmp_path / "20bn-something-something-v2"
    root.mkdir()
    for name in IDS:
        shutil.copy(encoded, root / name)
    write_lists(tmp_path)
    return root


def test_original_layout(data, caplog):
    table = list_something_something(data)
    assert table.ids == table.paths == table.groups == IDS
    with av.open(str(data / table.paths[0])) as container:
        assert container.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")
    assert table.class_names == {
        "label": (
            "Closing something",
            "Pushing something from left to right",
            "Pretending to open something without actually opening it",
        )
    }
    assert table.labels["label"].tolist() == [2, 0, -1, 1, 0]
    assert {name: codes.tolist() for name, codes in table.splits.items()} == {"1": [3, 3, 0, 1, 1]}
    assert caplog.text == ""


def test_ids_are_the_same_from_the_parent(data):
    table = list_something_something(data.parent)
    assert table.ids == IDS
    assert table.paths == tuple(f"20bn-something-something-v2/{name}" for name in IDS)


@pytest.mark.parametrize("place", ["labels", "20bn-something-something-v2/labels", "annotations"])
def test_names_and_places_of_todays_lists(data, place):
    for path in data.parent.glob("*.json"):
        path.unlink()
    write_lists(data.parent / place, prefix="", test=None)
    assert list_something_something(data).splits["1"].tolist() == [3, 3, 0, 1, 1]


def test_lists_can_be_given(data, tmp_path):
    for path in data.parent.glob("*.json"):
        path.unlink()
    lists = write_lists(tmp_path / "mine", prefix="")
    assert list_something_something(data, split_lists=lists).num_videos == 5
    with pytest.raises(ValueError, match=r"no labels.json or something-something-v2-labels.json in '.*--split-lists"):
        list_something_something(data)


def test_missing_and_unlisted_videos_are_counted(data, caplog):
    (data / "9.webm").unlink()
    (data / "holiday.mp4").touch()
    table = list_something_something(data)
    assert table.labels["label"].tolist() == [2, 0, -1, 1, -1]
    assert f"something-something-v2-train.json: 1 of 2 videos are not beneath {data} (such as 9)" in caplog.text
    assert "1 of 5 videos are in no list of" in caplog.text


def test_none_of_the_listed_videos_is_there(data):
    for path in data.iterdir():
        path.rename(path.with_name(f"v{path.name}"))
    with pytest.raises(
        ValueError, match=r"none of the videos that .*-train.json, .*-validation.json name \(such as '78687'"
    ):
        list_something_something(data)


def test_two_files_of_one_name(data):
    (data / "9.mp4").touch()
    with pytest.raises(ValueError, match=r"'9.mp4' and '9.webm' are the same video by name"):
        list_something_something(data)


def test_lists_that_are_ambiguous_or_not_there(data):
    write_lists(data.parent, prefix="", labels=None, validation=None, test=None)
    with pytest.raises(ValueError, match=r"holds both 'something-something-v2-train.json' and 'train.json'; leave one"):
        list_something_something(data)
    (data.parent / "train.json").unlink()
    (data.parent / "something-something-v2-validation.json").unlink()
    with pytest.raises(ValueError, match=r"but no something-something-v2-validation.json; add it"):
        list_something_something(data)


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("labels", [], r"labels.json: must give each class its number"),
        ("labels", {"Closing something": "five"}, r"labels.json: must give each class its number"),
        ("labels", {"Closing something": None}, r"labels.json: must give each class its number"),
        ("labels", {}, r"labels.json: names no class; take the official file"),
        ("labels", {"Closing something": "1"}, r"class numbers must run from 0 to 0 without gaps"),
        ("labels", {"Closing something": "0", "Opening something": "0"}, r"run from 0 to 1 without gaps"),
        ("train", {"78687": "Closing something"}, r"train.json: must be a list of videos"),
        ("train", [{"video": "78687"}], r"train.json: video 1 has no 'id'; take the official list"),
        ("train", ["78687"], r"train.json: video 1 has no 'id'"),
        ("train", [{"id": "9", "template": "Eating [something]"}],
         r"the template 'Eating \[something\]' of video '9' is no class of the labels"),
        ("train", [{"id": "9", "template": 5}], r"the template 5 of video '9' is no class"),
    ],
)  # fmt: skip
def test_lists_that_are_not_understood(data, what, value, message):
    write_lists(data.parent, **{what: value})
    with pytest.raises(ValueError, match=message):
        list_something_something(data)


def test_a_list_that_is_no_json(data):
    (data.parent / "something-something-v2-train.json").write_text('[{"id": "78687", ')
    with pytest.raises(ValueError, match=r"-train.json is no JSON \(.*\); download it again"):
        list_something_something(data)
