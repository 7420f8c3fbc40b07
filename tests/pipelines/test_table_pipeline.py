"""Tables of videos and LVU through the command line, with real files: parts, labels, numbers, failures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray
from click.testing import CliRunner, Result

from scale_video.pipelines.cli import main
from scale_video.pipelines.preset import load_preset
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores

Cli = Callable[..., Result]
FAST = ("--backbone", "motion3d", "--workers", 1, "--threads", "--no-estimate")
SHORT = ("--views", "grid", "--set", "views.grid.span_seconds=0.8")
CUTS = {"0-2": (0, 50), "2-4": (50, 100), "3.2-": (80, 120)}
TABLE = """path,split,label,labels,target,start_seconds,end_seconds,note
whole.mp4,train,x,a;b,1.5,,2,why
whole.mp4,train,y,a,2,2,4,
whole.mp4,test,x,;,,3.2,,
whole.mp4,test,y,,-1,4.8,9,
gone.mp4,none,,,,,,
""" + "".join(f"{name}.mkv,none,,,,,,\n" for name in CUTS)


@pytest.fixture(scope="module")
def parts_tests(module_at: Callable[[str], ModuleType]) -> ModuleType:
    """The painted videos, and the cutting of them, of the extraction's tests."""
    painted, parts = module_at("extract/conftest.py"), module_at("extract/test_parts.py")
    parts.write_painted_video = painted.write_painted_video
    return parts


@pytest.fixture(scope="module")
def root(parts_tests: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 4.8 seconds, and files that were cut to parts of it."""
    root = tmp_path_factory.mktemp("videos")
    parts_tests.write_painted_video(root / "whole.mp4", num_frames=120, fps=25, gop_size=30, draw=parts_tests.noisy)
    for name, (first, stop) in CUTS.items():
        parts_tests.cut(root / "whole.mp4", root / f"{name}.mkv", first=first, stop=stop)
    (root / "table.csv").write_text(TABLE)
    return root


@pytest.fixture(scope="module")
def extracted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What is printed of the table's extraction into ``mine.zarr``."""
    store = tmp_path_factory.mktemp("stores") / "mine.zarr"
    given = ("--dataset", "mine", "--data", root, "--table", root / "table.csv", "--store", store)
    given += ("--runs", store.parent / "runs")
    result = CliRunner().invoke(main, ["extract", *map(str, (*given, *FAST, *SHORT)), "--max-failures=2", "--json"])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def store(extracted: Result) -> Path:
    return Path(json.loads(extracted.stdout)["store"])


def test_features_of_parts_are_those_of_files_that_were_cut(store: Path) -> None:
    clips = FeatureStore.open(store).read_features("grid", "motion3d")
    assert clips.valid.all(axis=1).tolist() == [True, True, True, False, False, True, True, True]
    assert clips.features[:3].tobytes() == clips.features[5:].tobytes()
    assert len(np.unique(clips.features[5:, ::3], axis=1)) == 3
    begins = np.array([0, 2, 3.2])[:, None]
    np.testing.assert_allclose(clips.coordinates[:3, :, 5] - begins, clips.coordinates[5:, :, 5], atol=1e-6)


def test_the_store_has_what_the_table_says(store: Path) -> None:
    opened = FeatureStore.open(store)
    assert opened.attributes["dataset"] == "mine"
    assert opened.ids[:5] == ("whole.mp4#-2", "whole.mp4#2-4", "whole.mp4#3.2-", "whole.mp4#4.8-9", "gone.mp4")
    assert opened.videos.groups[2:6] == ("whole.mp4", "whole.mp4", "gone.mp4", "0-2.mkv")
    videos = xarray.open_zarr(store, group="videos").isel(video=slice(5))
    assert videos.labels.values.tolist() == [[1, 1], [1, 0], [0, 0], [-1, -1], [-1, -1]]
    assert videos.split_1.values.tolist() == [1, 1, 3, 3, 0]
    np.testing.assert_array_equal(videos.target.values, np.array([1.5, 2, np.nan, -1, np.nan], np.float32))
    assert videos.duration_seconds.values[:4].tolist() == [4.8] * 4


def test_parts_are_named_where_something_is_wrong(extracted: Result, store: Path, run_cli: Cli) -> None:
    expected = [
        ("whole.mp4#4.8-9", "corrupt", "the part begins at 4.8 s, but the file ends at 4.80 s"),
        ("gone.mp4", "missing", "cannot be read: No such file or directory"),
    ]
    plan = json.loads(extracted.stdout)["plan"]
    report = json.loads(extracted.stdout)["reports"]["grid/motion3d"]
    listing = json.loads(run_cli("failures", store, "--json").stdout)
    for failures in (plan["unreadable"], report["failures"], listing["failures"]):
        assert [(failure["path"], failure["status"], failure["error"]) for failure in failures] == expected


def test_the_plan_knows_parts(extracted: Result) -> None:
    plan = json.loads(extracted.stdout)["plan"]
    assert plan["num_videos"] == 8
    assert plan["seconds_of_video"] == pytest.approx(2 * (2 + 2 + 1.6))
    assert plan["duplicates"] == []
    assert plan["leaking"] == [["whole.mp4#2-4", "whole.mp4#3.2-"]]  # they overlap from 3.2 to 4 s
    assert plan["num_unlabelled"] == {"label": 4, "labels": 5, "target": 5}


def test_a_part_is_shown_and_recomputed(store: Path, root: Path, run_cli: Cli) -> None:
    where = ("--data", root, "--view", "grid", "--clip", 4, "--json")
    shown = json.loads(run_cli("show", store, "--video", "whole.mp4#2-4", *where).stdout)
    assert (shown["id"], shown["path"]) == ("whole.mp4#2-4", "whole.mp4")
    assert shown["output"] == "whole#2-4-grid-4.png"
    assert 2 <= shown["start_seconds"] < 4
    several = run_cli("show", store, "--video", "whole.mp4", *where, status=1)
    assert "'whole.mp4' has 4 parts in store" in several.output
    assert "name one of them: 'whole.mp4#-2', 'whole.mp4#2-4', " in several.output
    drift = json.loads(run_cli("verify", store, "--recompute", 24, "--data", root, "--json").stdout)
    assert drift["damaged"] == []
    (target,) = drift["recomputed"]["targets"]
    assert target["num_videos"] == 6
    assert target["largest"] < 1e-6


def test_tables_do_not_collide(store: Path, root: Path, tmp_path: Path, run_cli: Cli) -> None:
    shutil.copytree(store, tmp_path / "features/mine.zarr")
    (tmp_path / "other.csv").write_text("path\nwhole.mp4\n")
    given = ("--data", root, *FAST, *SHORT)
    other = run_cli("extract", "--dataset", "mine", "--table", tmp_path / "other.csv", *given, status=1)
    assert "features/mine.zarr' was planned for other videos" in other.output
    wrong = run_cli("extract", "--dataset", "yours", "--table", root / "table.csv", "--store", store, *given, status=1)
    assert "holds data set 'mine', not 'yours'" in wrong.output
    nothing = run_cli("extract", "--dataset", "mine", *given, status=1)
    assert "no data set 'mine'; there are:" in nothing.output
    again = run_cli("extract", "--dataset", "mine", "--table", root / "table.csv", "--max-failures", 2, *given)
    assert "0 features" not in again.output


def test_new_parts_go_into_a_second_store(store: Path, root: Path, tmp_path: Path, run_cli: Cli) -> None:
    table = tmp_path / "more.csv"
    table.write_text(TABLE + "whole.mp4,train,y,b,3,0.4,1.6,\n")
    stores = f"{store},{tmp_path / 'new.zarr'}"
    run_cli("extract", "--dataset", "mine", "--data", root, "--table", table, "--store", stores, *FAST, *SHORT)
    assert FeatureStore.open(tmp_path / "new.zarr").ids == ("whole.mp4#0.4-1.6",)
    union = open_stores(stores)
    assert union.videos.label_sets["labels"][[0, 8]].tolist() == [[1, 1], [0, 1]]
    assert union.videos.parts.end_seconds[[0, 2, 8]].tolist() == [2, np.inf, 1.6]
    assert union.read_features("grid", "motion3d").valid.all(axis=1).sum() == 7


def test_lvu_in_its_official_layout(root: Path, tmp_path: Path, run_cli: Cli) -> None:
    lvu = tmp_path / "lvu"
    names = ("aaaaaaaaaaa", "-bbbbbbbbbb", "ccccccccccc", "ddddddddddd")
    header = "class_id class_name youtube_id imdb_id"
    lists = {
        "scene": (
            f"{header}\n0 office {names[0]} tt1\n1 hotel {names[1]} tt2\n",
            f"{header}\n",
            f"{header}\n1 hotel {names[2]} tt3\n",
        ),
        "view_count": (
            f"view_count youtube_id imdb_id\n100 {names[2]} tt3\n50 {names[1]} tt2\n",
            f"view_count youtube_id imdb_id\n7 {names[3]} tt4\n",
            f"view_count youtube_id imdb_id\n20 {names[0]} tt1\n",
        ),
    }
    for task, parts in lists.items():
        (lvu / "lvu_1.0" / task).mkdir(parents=True)
        for part, text in zip(("train", "val", "test"), parts, strict=True):
            (lvu / "lvu_1.0" / task / f"{part}.csv").write_text(text)
    (lvu / "mc_videos").mkdir()
    for name in names[:3]:
        shutil.copy(root / "2-4.mkv", lvu / "mc_videos" / f"{name}.mkv")
    result = run_cli("extract", "--dataset", "lvu", "--data", lvu, *FAST)
    assert "1 of 4 videos are not beneath" in result.stderr
    videos = xarray.open_zarr("features/lvu.zarr", group="videos")
    assert videos.attrs["class_names"] == {"label_scene": ["office", "hotel"]}
    assert videos.label_scene.values.tolist() == [1, 0, 1]
    np.testing.assert_allclose(videos.target_view_count.values, np.log([50, 20, 100]), rtol=1e-6)
    assert videos.split_scene.values.tolist() == [1, 1, 3]
    assert videos.split_view_count.values.tolist() == [1, 3, 1]
    store = FeatureStore.open("features/lvu.zarr")
    assert store.read_features("random", "motion3d").valid.sum(axis=1).tolist() == [1, 1, 1]  # of two seconds

    common = ("--dataset", "lvu", "--representations", "x", "--no-pictures", "--json")
    found = {}
    for task in lists:
        rows = json.loads(run_cli("evaluate", "--split", task, "--protocols", "knn,linear", *common).stdout)["records"]
        found |= {(row["target"], row["protocol"], row["metric"]): row["value"] for row in rows}
    # Guessed is a mean of the two numbers that are known.
    least, most = ((np.log(20) - np.log(known)) ** 2 for known in (50, 100))
    for protocol in ("knn", "linear"):
        assert least <= found["target_view_count", protocol, "mse"] <= most
    assert found.keys() >= {("label_scene", "knn", "top1"), ("label_scene", "linear", "top1")}


@pytest.mark.parametrize("preset", ["honest", "paper"])
def test_clips_of_lvu_follow_the_duration(preset: str) -> None:
    views = load_preset(preset, dataset="lvu").views
    assert (views["random"].num_clips, views["random"].clips_per_minute) == (64, 16)
    assert (views["grid"].num_clips, views["grid"].clips_per_minute) == (60, 16)
