import logging
import shutil
from pathlib import Path

import av
import pytest

from scale_video.extract.datasets.kinetics import list_kinetics

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
TRAIN = HEADER + (
    "abseiling,0347ZoDXyP0,95,105,train,0\n"
    "abseiling,_-dash_id__,1,11,train,1\n"
    '"playing guitar",gGnLo2gkAAA,7,17,train,0\n'
    '"playing guitar",gGnLo2gkAAA,100,110,train,0\n'
)
VALIDATION = HEADER + 'abseiling,-3B32lodo2M,59,69,val,0\n"playing guitar",_dbcJuKJQNs,40,50,val,0\n'
TEST = HEADER + "abseiling,testtesttes,0,10,test,0\n"
NAMES = (
    "-3B32lodo2M_000059_000069.mp4",
    "0347ZoDXyP0_000095_000105.mp4",
    "_-dash_id___000001_000011.mp4",
    "_dbcJuKJQNs_000040_000050.mp4",
    "gGnLo2gkAAA_000007_000017.mp4",
    "gGnLo2gkAAA_000100_000110.mp4",
)
LABELS = (0, 0, 0, 1, 1, 1)
CODES = (3, 1, 1, 3, 1, 1)
FOLDERS = {3: "val", 1: "train"}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, make_painted_video):
    return make_painted_video(tmp_path_factory.mktemp("kinetics") / "a.mp4", num_frames=6)


def write_lists(folder: Path, *, train: str = TRAIN, validation: str = VALIDATION, **others: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"train": train, "val": validation, **others}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


@pytest.fixture
def data(tmp_path, encoded):
    """Files side by side, lists in ``annotations``, as the mirror of the data set unpacks."""
    root = tmp_path / "k400"
    for name, code in zip(NAMES, CODES, strict=True):
        (root / FOLDERS[code]).mkdir(parents=True, exist_ok=True)
        shutil.copy(encoded, root / FOLDERS[code] / name)
    write_lists(root / "annotations")
    return root


def test_files_side_by_side(data, caplog):
    table = list_kinetics(data, dataset="kinetics400")
    assert table.ids == NAMES
    assert table.paths == tuple(f"{FOLDERS[code]}/{name}" for name, code in zip(NAMES, CODES, strict=True))
    with av.open(str(data / table.paths[0])) as container:
        assert container.streams.video[0].frames == 6
    assert table.class_names == {"label": ("abseiling", "playing guitar")}
    assert table.labels["label"].tolist() == list(LABELS)
    assert {name: codes.tolist() for name, codes in table.splits.items()} == {"1": list(CODES)}
    assert caplog.text == ""


def test_a_group_is_a_youtube_video(data):
    (data / "train/my_own_clip.mp4").touch()
    groups = list_kinetics(data, dataset="kinetics400").groups
    ids = ("-3B32lodo2M", "0347ZoDXyP0", "_-dash_id__", "_dbcJuKJQNs", "gGnLo2gkAAA", "gGnLo2gkAAA", "my_own_clip")
    assert groups == ids


def move_into_class_folders(data: Path, *, sign: str) -> None:
    for name, label, code in zip(NAMES, LABELS, CODES, strict=True):
        folder = data / FOLDERS[code] / ("abseiling", f"playing{sign}guitar")[label]
        folder.mkdir(exist_ok=True)
        (data / FOLDERS[code] / name).rename(folder / name)


@pytest.mark.parametrize("sign", [" ", "_"])
def test_class_folders(data, sign, caplog):
    move_into_class_folders(data, sign=sign)
    (data / f"train/playing{sign}guitar/unlisted001_000000_000010.mp4").touch()
    table = list_kinetics(data, dataset="kinetics600")
    assert table.ids == (*NAMES, "unlisted001_000000_000010.mp4")
    assert table.labels["label"].tolist() == [*LABELS, 1]
    assert table.splits["1"].tolist() == [*CODES, 0]
    assert [record.message for record in caplog.records] == [
        f"1 of 7 videos are in no list of {data / 'annotations'}: they belong to no split"
    ]


def test_a_folder_that_contradicts_the_list(data, caplog):
    move_into_class_folders(data, sign="_")
    (data / "val/abseiling" / NAMES[0]).rename(data / "val/playing_guitar" / NAMES[0])
    assert list_kinetics(data, dataset="kinetics400").labels["label"].tolist() == list(LABELS)
    assert "1 videos lie in the folder of another class than the lists say; the lists count" in caplog.text


def test_replacements_of_damaged_files(data, encoded, caplog):
    """The mirror's replacements come in a folder without classes, beside the damaged files."""
    move_into_class_folders(data, sign=" ")
    folder = data / "replacement/replacement_for_corrupted_k400"
    folder.mkdir(parents=True)
    (data / "train/abseiling" / NAMES[1]).write_bytes(b"damaged")
    (data / "train/abseiling" / NAMES[2]).unlink()
    for name in NAMES[1:3]:
        shutil.copy(encoded, folder / name)
    with caplog.at_level(logging.INFO):
        table = list_kinetics(data, dataset="kinetics400")
    assert table.ids == NAMES
    assert table.paths[1:3] == tuple(f"replacement/replacement_for_corrupted_k400/{name}" for name in NAMES[1:3])
    assert table.labels["label"].tolist() == list(LABELS)
    assert "1 videos are read from their replacements" in caplog.text


def test_two_files_of_one_name(data, encoded):
    shutil.copy(encoded, data / "val" / NAMES[1])
    with pytest.raises(ValueError, match=rf"'train/{NAMES[1]}' and 'val/{NAMES[1]}' are the same video by name"):
        list_kinetics(data, dataset="kinetics400")


def test_missing_videos_are_counted(data, caplog):
    (data / "train" / NAMES[1]).unlink()
    (data / "train" / NAMES[5]).unlink()
    table = list_kinetics(data, dataset="kinetics700")
    assert table.num_videos == 4
    assert table.splits["1"].tolist() == [3, 1, 3, 1]
    assert f"train.csv: 2 of 4 videos are not beneath {data} (such as 0347ZoDXyP0_000095_000105)" in caplog.text
    assert "val.csv" not in caplog.text


def test_none_of_the_listed_videos_is_there(data):
    shutil.rmtree(data / "train")
    (data / "val" / NAMES[0]).rename(data / "val/other.mp4")
    (data / "val" / NAMES[3]).unlink()
    with pytest.raises(
        ValueError, match=r"none of the videos that train.csv, val.csv name \(such as '0347ZoDXyP0_000095_"
    ):
        list_kinetics(data, dataset="kinetics400")


def test_files_named_after_the_youtube_video_alone(data):
    (data / "train" / NAMES[1]).rename(data / "train/0347ZoDXyP0.mkv")
    table = list_kinetics(data, dataset="kinetics400")
    row = table.ids.index("0347ZoDXyP0.mkv")
    assert (table.labels["label"][row], table.splits["1"][row], table.groups[row]) == (0, 1, "0347ZoDXyP0")


def test_the_official_test_part_is_a_split_of_its_own(data, encoded, caplog):
    write_lists(data / "annotations", test=TEST)
    assert list_kinetics(data, dataset="kinetics400").splits.keys() == {"1"}  # none of its videos is there
    assert caplog.text == ""
    (data / "test").mkdir()
    shutil.copy(encoded, data / "test/testtesttes_000000_000010.mp4")
    table = list_kinetics(data, dataset="kinetics400")
    assert table.splits["1"].tolist() == [*CODES, 0]
    assert table.splits["official_test"].tolist() == [2, 1, 1, 2, 1, 1, 3]
    assert table.labels["label"].tolist() == [*LABELS, 0]


def test_a_test_list_without_labels(data, encoded, caplog):
    write_lists(data / "annotations", test="youtube_id,time_start,time_end,split\ntesttesttes,0,10,test\n")
    shutil.copy(encoded, data / "testtesttes_000000_000010.mp4")
    table = list_kinetics(data, dataset="kinetics400")
    assert table.splits.keys() == {"1"}
    assert table.labels["label"].tolist() == [*LABELS, -1]
    assert caplog.text == ""  # listed, though without a part in a split


@pytest.mark.parametrize(
    ("train", "validation"),
    [("kinetics_train.csv", "kinetics_val.csv"), ("kinetics_700_train.csv", "kinetics_700_val.csv"),
     ("k400train.csv", "validate.csv"), ("Train.csv", "kinetics-400_validation.csv")],
)  # fmt: skip
def test_names_of_the_lists(data, train, validation):
    folder = data / "annotations"
    (folder / "train.csv").rename(folder / train)
    (folder / "val.csv").rename(folder / validation)
    for other in ("kinetics_400_labels.csv", "trainval.csv", "train_or_val.csv", "._train.csv"):
        (folder / other).write_text("id,name\n")
    assert list_kinetics(data, dataset="kinetics400").splits["1"].tolist() == list(CODES)


@pytest.mark.parametrize("place", [".", "..", "../annotations", "../kinetics400", "../kinetics400_2020", "annotations"])
def test_lists_are_found_in_and_beside_the_root(data, place):
    shutil.move(data / "annotations", data.parent / "away")
    write_lists(data / place)
    assert list_kinetics(data, dataset="kinetics400").splits["1"].tolist() == list(CODES)


def test_lists_can_be_given(data):
    shutil.move(data / "annotations", data.parent / "away")
    assert list_kinetics(data, dataset="kinetics400", split_lists=data.parent / "away").num_videos == 6
    with pytest.raises(ValueError, match=r"no train.csv in '.*', '.*', nor in a folder annotations or kinetics600 or"):
        list_kinetics(data, dataset="kinetics600")


def test_lists_that_are_ambiguous_or_not_there(data):
    write_lists(data / "annotations", kinetics_val=VALIDATION)
    with pytest.raises(ValueError, match=r"holds two validation lists, 'kinetics_val.csv' and 'val.csv'; leave one"):
        list_kinetics(data, dataset="kinetics400")
    for path in (data / "annotations").glob("*val.csv"):
        path.unlink()
    with pytest.raises(ValueError, match=r"holds 'train.csv', but no val.csv or validate.csv; add it"):
        list_kinetics(data, dataset="kinetics400")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("", r"train.csv: the first line must name .* but youtube_id, time_start, time_end is not in ''"),
        ("abseiling,0347ZoDXyP0,95,105,train\n", r"the first line must name the columns"),
        (HEADER + "abseiling,0347ZoDXyP0\n", r"train.csv:2: cannot read this line; it must hold 'label,youtube_id"),
        (HEADER + "abseiling,0347ZoDXyP0,soon,105,train,0\n", r"train.csv:2: cannot read this line"),
        (HEADER + "abseiling,0347ZoDXyP0,inf,105,train,0\n", r"train.csv:2: cannot read this line"),
        (HEADER + f"{'x' * 200_000},0347ZoDXyP0,1,105,train,0\n", r"train.csv:2: cannot read this line"),
    ],
)
def test_lines_that_are_not_understood(data, train, message):
    write_lists(data / "annotations", train=train)
    with pytest.raises(ValueError, match=message):
        list_kinetics(data, dataset="kinetics400")


def test_seconds_with_a_fraction_line_ends_and_blank_lines(data):
    text = TRAIN.replace(",95,105,", ",95.0,105.0,").replace("\n", "\r\n\r\n")
    (data / "annotations/train.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list_kinetics(data, dataset="kinetics400").splits["1"].tolist() == list(CODES)


def test_lists_of_another_release(data):
    extra = "".join(f"class {number},unavailable{number},0,10,train,0\n" for number in range(399))
    write_lists(data / "annotations", train=TRAIN + extra)
    with pytest.raises(ValueError, match=r"name 401 classes, but kinetics400 has 400; name the lists of that release"):
        list_kinetics(data, dataset="kinetics400")
    assert len(list_kinetics(data, dataset="kinetics600").class_names["label"]) == 401


def test_lists_without_labels(data):
    unlabelled = "youtube_id,time_start,time_end,split\n0347ZoDXyP0,95,105,train\n"
    write_lists(data / "annotations", train=unlabelled, validation=unlabelled)
    with pytest.raises(ValueError, match=r"the lists in '.*annotations' have no labels; take the official csv"):
        list_kinetics(data, dataset="kinetics400")


def test_videos_in_two_lists_are_never_trained_on(data, caplog):
    write_lists(data / "annotations", validation=VALIDATION + "abseiling,0347ZoDXyP0,95,105,val,0\n")
    table = list_kinetics(data, dataset="kinetics400")
    assert table.splits["1"].tolist() == [3, 3, 1, 3, 1, 1]
    assert "split '1': 1 videos of val.csv are in the list of another part too; they count as test" in caplog.text


def test_a_video_that_a_list_names_twice(data, caplog):
    write_lists(data / "annotations", train=TRAIN + "playing guitar,0347ZoDXyP0,95,105,train,0\n")
    assert list_kinetics(data, dataset="kinetics400").labels["label"].tolist() == list(LABELS)
    assert "train.csv: 1 lines give a video another label than a line before; the first counts" in caplog.text
