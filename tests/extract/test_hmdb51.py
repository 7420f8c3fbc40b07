import logging
import shutil
from pathlib import Path

import av
import pytest

from scale_video.extract.datasets.hmdb51 import list_hmdb51

# Names as in the data set: of films and of the web, with all that its authors found in titles.
VIDEOS = {
    "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "211",
    "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_1.avi": "211",
    "brush_hair/Brushing_hair!!_brush_hair_u_nm_np2_le_goo_1.avi": "120",
    "cartwheel/(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi": "121",
    "cartwheel/Faith_Rewarded_cartwheel_f_nm_np1_ri_bad_53.avi": "212",
    "ride_bike/#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_ba_med_0.avi": "112",
    "ride_bike/Faith_Rewarded_ride_bike_f_nm_np2_ri_bad_7.avi": "221",
    "ride_bike/Blade;_Sun&Moon_(2)_ride_bike_h_nm_np1_fr_med_3.avi": "010",
}
IDS = tuple(sorted(VIDEOS))


def write_lists(folder: Path, **changes: str | None) -> Path:
    """Lists as the official ones end their lines: a blank after the flag; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in range(3):
        for class_name in {video.split("/")[0] for video in VIDEOS}:
            name = f"{class_name}_test_split{split + 1}"
            lines = [
                f"{video.split('/')[1]} {flags[split]} \n" for video, flags in VIDEOS.items() if class_name in video
            ]
            text = changes.get(name, "".join(lines))
            if text is not None:
                (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, make_painted_video):
    """A video of six frames as the data set has them."""
    return make_painted_video(tmp_path_factory.mktemp("hmdb") / "a.avi", num_frames=6, codec="mpeg4", codec_tag="XVID")


@pytest.fixture
def data(tmp_path, encoded):
    """Both archives unpacked side by side."""
    for video in VIDEOS:
        (tmp_path / "hmdb51_org" / video).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(encoded, tmp_path / "hmdb51_org" / video)
    write_lists(tmp_path / "testTrainMulti_7030_splits")
    return tmp_path


def test_original_layout(data, caplog):
    table = list_hmdb51(data / "hmdb51_org")
    assert table.ids == table.paths == IDS
    assert table.class_names == {"label": ("brush_hair", "cartwheel", "ride_bike")}
    assert table.labels["label"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    codes = {"0": 0, "1": 1, "2": 3}
    for column, split in enumerate(("1", "2", "3")):
        assert table.splits[split].tolist() == [codes[VIDEOS[video][column]] for video in IDS]
    assert caplog.text == ""


def test_a_group_is_a_film_over_all_classes(data):
    table = list_hmdb51(data)
    assert table.groups == (
        "April_09",
        "April_09",
        "Brushing_hair!!",
        "(Rad)Schlag_die_Bank!",
        "Faith_Rewarded",
        "#437_How_To_Ride_A_Bike",
        "Blade;_Sun&Moon_(2)",
        "Faith_Rewarded",
    )


def test_the_film_of_names_that_depart_from_the_scheme(data):
    odd = {
        "cartwheel/my own clip.avi": "cartwheel/my own clip.avi",
        "cartwheel/Big_Fish_ride_bike_f_nm_np1_ri_bad_1.avi": "Big_Fish",
        "cartwheel/Big_Fish_flying_f_nm_np1_ri_bad_2.avi": "Big_Fish_flying",
        "cartwheel/Troy_draw_sword_f_nm_np1_ri_bad_4.avi": "Troy",  # not the film Troy_draw, action sword
        "cartwheel/_cartwheel_f_nm_np1_ri_bad_3.avi": "cartwheel/_cartwheel_f_nm_np1_ri_bad_3.avi",
    }
    for split in (1, 2, 3):
        for class_name in ("draw_sword", "sword"):
            (data / f"testTrainMulti_7030_splits/{class_name}_test_split{split}.txt").touch()
    for video in odd:
        (data / "hmdb51_org" / video).touch()
    table = list_hmdb51(data)
    group_of = dict(zip(table.ids, table.groups, strict=True))
    assert {video: group_of[video] for video in odd} == odd


def test_trees_that_are_nested_once_more(data):
    """Each class has its own rar in the archive; some unpackers make a folder for each."""
    for folder in list((data / "hmdb51_org").iterdir()):
        folder.rename(data / "moved")
        folder.mkdir()
        (data / "moved").rename(folder / folder.name)
    table = list_hmdb51(data)
    assert table.ids == IDS
    assert table.paths[0] == f"hmdb51_org/brush_hair/{IDS[0]}"
    with av.open(str(data / table.paths[5])) as container:
        assert container.streams.video[0].codec_context.codec_tag == "XVID"
    assert table.splits["1"].tolist() == list_hmdb51(data / "hmdb51_org").splits["1"].tolist()


def test_videos_encoded_anew(data):
    for path in list((data / "hmdb51_org").rglob("*.avi")):
        path.rename(path.with_suffix(".mp4"))
    assert list_hmdb51(data).splits["2"].tolist() == [1, 1, 3, 3, 1, 1, 1, 3]


@pytest.mark.parametrize("place", ["hmdb51_org", "hmdb51_org/splits", "test_train_splits", "."])
def test_lists_are_found_in_and_beside_the_root(data, place):
    shutil.rmtree(data / "testTrainMulti_7030_splits")
    write_lists(data / place)
    assert sorted(list_hmdb51(data / "hmdb51_org").splits) == ["1", "2", "3"]


def test_lists_can_be_given(data):
    (data / "testTrainMulti_7030_splits").rename(data / "mine")
    assert sorted(list_hmdb51(data, split_lists=data / "mine").splits) == ["1", "2", "3"]
    with pytest.raises(ValueError, match=r"no <class>_test_split1.txt in '.*', '.*', nor in a folder testTrainMulti"):
        list_hmdb51(data / "hmdb51_org")
    with pytest.raises(ValueError, match=r"no <class>_test_split1.txt in '[^']*nowhere', nor .*with --split-lists"):
        list_hmdb51(data, split_lists=data / "nowhere")


def test_missing_and_unlisted_videos_are_counted(data, caplog):
    for video in IDS[:2]:
        (data / "hmdb51_org" / video).unlink()
    (data / "hmdb51_org/cartwheel/new.avi").touch()
    (data / "hmdb51_org/swim").mkdir()
    (data / "hmdb51_org/swim/new.avi").touch()
    with caplog.at_level(logging.WARNING):
        table = list_hmdb51(data)
    assert "2 of 8 videos are not beneath" in caplog.text
    assert "such as brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0" in caplog.text
    assert "2 of 8 videos are in no list of" in caplog.text
    rows = [table.ids.index("cartwheel/new.avi"), table.ids.index("swim/new.avi")]
    assert table.labels["label"][rows].tolist() == [1, -1]
    assert all((codes[rows] == 0).all() for codes in table.splits.values())


def test_none_of_the_listed_videos_is_there(data):
    shutil.rmtree(data / "hmdb51_org")
    (data / "hmdb51_org").mkdir()
    (data / "hmdb51_org/film.avi").touch()
    with pytest.raises(ValueError, match=r"none of the videos that .* name \(such as 'brush_hair/.*--split-lists"):
        list_hmdb51(data)


def test_a_class_without_a_list_in_one_split(data):
    (data / "testTrainMulti_7030_splits/cartwheel_test_split2.txt").unlink()
    with pytest.raises(
        ValueError, match=r"split 2 has no cartwheel_test_split2.txt in .*add it, or take that class out"
    ):
        list_hmdb51(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("April.avi\n", r"brush_hair_test_split1.txt:1: cannot read 'April.avi'; a line is '<file> <flag>'"),
        ("\nApril.avi 3\n", r":2: cannot read 'April.avi 3'"),
        ("../April.avi 1\n", r":1: '../April.avi' leads out of the folder"),
        ("April.avi 1\nMay.avi 1\nApril.avi 2\n", r":3: 'April.avi' is in line 1 already"),
    ],
)
def test_lines_that_are_not_understood(data, text, message):
    (data / "testTrainMulti_7030_splits/brush_hair_test_split1.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        list_hmdb51(data)


def test_other_line_ends_and_hidden_files_beside_the_lists(data):
    folder = data / "testTrainMulti_7030_splits"
    for path in list(folder.glob("*.txt")):
        path.write_bytes(b"\xef\xbb\xbf\r\n" + path.read_bytes().replace(b"\n", b"\r\n"))
        (folder / f"._{path.name}").write_bytes(b"\0\1")  # macOS leaves such
    assert list_hmdb51(data).splits["1"].tolist() == [3, 3, 1, 1, 3, 1, 0, 3]


def test_two_copies_of_one_video(data):
    shutil.copytree(data / "hmdb51_org", data / "hmdb51_org/copy")
    with pytest.raises(ValueError, match=r"are the same video by name; leave one of them, or give the folder of one"):
        list_hmdb51(data)
