import logging
from pathlib import Path

import pytest

from scale_video.extract.datasets.ucf101 import list_ucf101

VIDEOS = (
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
    "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    "HandstandPushups/v_HandStandPushups_g08_c02.avi",
)
LISTS = {
    "classInd.txt": "1 ApplyEyeMakeup\n2 HandstandPushups\n",
    "trainlist01.txt": f"{VIDEOS[1]} 1\n{VIDEOS[3]} 2\n",
    "testlist01.txt": f"{VIDEOS[0]}\n{VIDEOS[2]}\n",
    "trainlist02.txt": f"{VIDEOS[0]} 1\n{VIDEOS[2]} 2\n",
    "testlist02.txt": f"{VIDEOS[1]}\n{VIDEOS[3]}\n",
}


def write_videos(folder: Path, *videos: str) -> Path:
    for video in videos or VIDEOS:
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        (folder / video).touch()
    return folder


def write_lists(folder: Path, **changes: str) -> Path:
    """The lists with those of the given names (without ``.txt``) changed; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (LISTS | {f"{name}.txt": text for name, text in changes.items()}).items():
        if text is not None:
            (folder / name).write_text(text)
    return folder


@pytest.fixture
def data(tmp_path):
    """The original layout: ``UCF-101`` and ``ucfTrainTestlist`` side by side."""
    write_videos(tmp_path / "UCF-101")
    write_lists(tmp_path / "ucfTrainTestlist")
    return tmp_path


def test_original_layout(data):
    table = list_ucf101(data / "UCF-101")
    assert table.ids == VIDEOS
    assert table.paths == VIDEOS
    assert table.groups == (
        "ApplyEyeMakeup_g01",
        "ApplyEyeMakeup_g08",
        "HandStandPushups_g01",
        "HandStandPushups_g08",
    )
    assert table.class_names == {"label": ("ApplyEyeMakeup", "HandstandPushups")}
    assert table.labels["label"].tolist() == [0, 0, 1, 1]
    assert {name: codes.tolist() for name, codes in table.splits.items()} == {"1": [3, 1, 3, 1], "2": [1, 3, 1, 3]}


def test_ids_are_the_same_from_the_parent_and_paths_lead_to_the_files(data):
    table = list_ucf101(data)
    assert table.ids == VIDEOS
    assert all((data / path).is_file() for path in table.paths)
    assert table.splits["1"].tolist() == list_ucf101(data / "UCF-101").splits["1"].tolist()


@pytest.mark.parametrize("place", ["UCF-101", "UCF-101/ucfTrainTestlist", "."])
def test_lists_are_found_in_and_beside_the_root(tmp_path, place):
    write_videos(tmp_path / "UCF-101")
    write_lists(tmp_path / place)
    assert sorted(list_ucf101(tmp_path / "UCF-101").splits) == ["1", "2"]
    assert sorted(list_ucf101(tmp_path).splits) == ["1", "2"]


@pytest.mark.parametrize("given", ["lists", "lists/ucfTrainTestlist"])
def test_lists_can_be_given(tmp_path, given):
    write_videos(tmp_path / "videos")
    lists = write_lists(tmp_path / "lists/ucfTrainTestlist")
    assert list_ucf101(tmp_path / "videos", split_lists=tmp_path / given).splits.keys() == {"1", "2"}
    assert lists.is_dir()


def test_other_line_ends_blank_lines_and_backslashes(data):
    train = f"\r\n{VIDEOS[1]} 1\r\n\r\n  {VIDEOS[3]} 2  \r\n".replace("/", "\\")
    (data / "ucfTrainTestlist/trainlist01.txt").write_bytes(b"\xef\xbb\xbf" + train.encode())
    assert list_ucf101(data).splits["1"].tolist() == [3, 1, 3, 1]


def test_spellings_and_extensions_of_other_releases(tmp_path):
    """Lists that spell HandstandPushups in three ways, of videos that were encoded anew."""
    write_videos(
        tmp_path, "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.mp4", "HandStandPushups/v_HandstandPushups_g01_c01.mp4"
    )
    write_lists(
        tmp_path,
        trainlist01="HandstandPushups/v_HandStandPushups_g01_c01.avi 2\n",
        testlist01="ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n",
        trainlist02=None,
        testlist02=None,
    )
    table = list_ucf101(tmp_path)
    assert table.splits["1"].tolist() == [3, 1]
    assert table.labels["label"].tolist() == [0, 1]


def test_videos_in_no_list_are_kept_and_counted(data, caplog):
    extra = ("ApplyEyeMakeup/v_ApplyEyeMakeup_g09_c01.avi", "Trailers/film.avi")
    write_videos(data / "UCF-101", *extra)
    with caplog.at_level(logging.WARNING):
        table = list_ucf101(data)
    rows = [table.ids.index(video) for video in extra]
    assert "2 of 6 videos are in no list" in caplog.text
    assert all((codes[rows] == 0).all() for codes in table.splits.values())
    assert table.labels["label"][rows].tolist() == [0, -1]
    assert [table.groups[row] for row in rows] == ["ApplyEyeMakeup_g09", "Trailers/film.avi"]


def test_nothing_is_said_when_all_videos_are_listed(data, caplog):
    list_ucf101(data)
    assert caplog.text == ""


def test_missing_root(tmp_path):
    with pytest.raises(ValueError, match=r"no such folder: '.*UCF-101'"):
        list_ucf101(tmp_path / "UCF-101")


def test_no_videos(data, tmp_path):
    with pytest.raises(ValueError, match=r"no videos beneath '.*ucfTrainTestlist'"):
        list_ucf101(tmp_path / "ucfTrainTestlist")


def test_no_lists(tmp_path):
    write_videos(tmp_path / "data/UCF-101")
    places = "'.*data/UCF-101', '.*data/UCF-101/UCF-101', '.*data'"
    with pytest.raises(ValueError, match=rf"no classInd.txt in {places}, nor in a ucfTrainTestlist there; name the"):
        list_ucf101(tmp_path / "data/UCF-101")
    with pytest.raises(ValueError, match=r"no classInd.txt in '[^']*there', nor .* UCF101's lists with --split-lists"):
        list_ucf101(tmp_path / "data/UCF-101", split_lists=tmp_path / "there")


def test_no_train_and_test_lists(data):
    for path in (data / "ucfTrainTestlist").glob("*list0*.txt"):
        path.unlink()
    with pytest.raises(ValueError, match=r"'.*ucfTrainTestlist' holds classInd.txt, but no trainlist01.txt and test"):
        list_ucf101(data)


def test_half_a_split(data):
    (data / "ucfTrainTestlist/testlist02.txt").unlink()
    with pytest.raises(ValueError, match=r"split 2 has no testlist02.txt in '.*ucfTrainTestlist'; add it"):
        list_ucf101(data)


def test_lists_that_name_videos_which_do_not_exist(data):
    for video in VIDEOS:
        (data / "UCF-101" / video).unlink()
    write_videos(data / "UCF-101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g25_c07.avi")
    named = f"{VIDEOS[1]}, {VIDEOS[3]}, {VIDEOS[0]}, …"
    with pytest.raises(ValueError, match=rf"^4 videos of the lists in .* are not beneath .*: {named}; complete the"):
        list_ucf101(data)
    write_videos(data / "UCF-101", *VIDEOS[1:])
    with pytest.raises(ValueError, match=rf"^1 videos of the lists in .*: {VIDEOS[0]}; .* with --split-lists$"):
        list_ucf101(data)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "classInd",
            "1 ApplyEyeMakeup\nHandstandPushups\n",
            "classInd.txt:2: cannot read 'HandstandPushups'; a line is",
        ),
        ("classInd", "1 A\n\n1 B\n", "classInd.txt:3: class 1 is 'A' already"),
        ("classInd", "1 A\n3 B\n", "classInd.txt: class numbers must run from 1 to 2 without gaps"),
        (
            "trainlist01",
            "\nv_A_g01_c01.avi 1\n",
            "trainlist01.txt:2: cannot read 'v_A_g01_c01.avi 1'; a line is '<class>",
        ),
        ("testlist02", f"{VIDEOS[0]} eye\n", "testlist02.txt:1: cannot read '.* eye'"),
        ("testlist01", "Archery/v_Archery_g01_c01.avi\n", "testlist01.txt:1: class 'Archery' is not in classInd.txt"),
        (
            "trainlist01",
            f"{VIDEOS[1]} 2\n",
            "trainlist01.txt:1: 'ApplyEyeMakeup' is class 2 here, but 1 in classInd.txt",
        ),
        ("testlist01", f"{VIDEOS[1]}\n", "testlist01.txt:1: '.*g08_c01.avi' is in the training list of this split too"),
        *(
            (
                "testlist01",
                f"{path} 1\n",
                r"testlist01.txt:1: '.*v_x_g01_c01.avi' leads out of the folder of the videos",
            )
            for path in (
                "../v_x_g01_c01.avi",
                "../../etc/v_x_g01_c01.avi",
                "ApplyEyeMakeup/../../v_x_g01_c01.avi",
                "..\\v_x_g01_c01.avi",
                "/etc/v_x_g01_c01.avi",
                "\\\\server\\v_x_g01_c01.avi",
                "C:\\films\\v_x_g01_c01.avi",
                "c:/v_x_g01_c01.avi",
                "~/v_x_g01_c01.avi",
            )
        ),
    ],
)
def test_lines_that_cannot_be_right(tmp_path, name, text, message):
    write_videos(tmp_path / "UCF-101")
    write_lists(tmp_path / "ucfTrainTestlist", **{name: text})
    with pytest.raises(ValueError, match=message):
        list_ucf101(tmp_path)


def test_one_video_in_two_places(data):
    write_videos(data / "UCF-101", f"copy/{VIDEOS[0]}")
    with pytest.raises(ValueError, match=rf"'UCF-101/{VIDEOS[0]}' and 'UCF-101/copy/{VIDEOS[0]}' are the same video"):
        list_ucf101(data)
