"""``scale-video plan``: the pre-flight report as people and programs read it."""

import doctest
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from scale_video.extract import forecast
from scale_video.extract.forecast import Forecast, TargetForecast
from scale_video.extract.plan_store import PlanReport
from scale_video.pipelines import show_extraction
from scale_video.store.read import FeatureStore

Cli = Callable[..., Result]
OPTIONS = ("--dataset", "folder", "--backbone", "motion3d", "--workers", 1, "--threads")


@pytest.fixture
def videos(tmp_path: Path, make_video: Callable[..., None]) -> Path:
    """Train and test folders with a copy across them and a file that is no video."""
    root = tmp_path / "videos"
    for name in ("train/a/0", "train/b/1", "test/a/2"):
        make_video(root / f"{name}.mp4", seed=int(name[-1]))
    (root / "test/b").mkdir()
    shutil.copy(root / "train/a/0.mp4", root / "test/b/leak.mp4")
    (root / "test/b/text.mp4").write_text("no film")
    return root


def rows(table: str) -> dict[str, str]:
    """The cells of a table of two columns."""
    cells = [line.split("│")[1:3] for line in table.splitlines() if line.count("│") == 3]
    return {name.strip(): value.strip() for name, value in cells}


def test_table(run_cli: Cli, videos: Path) -> None:
    printed = run_cli("plan", *OPTIONS, "--data", videos).stdout
    table = rows(printed)
    assert table["videos"] == "5"
    assert table["length of all videos"].endswith(" s")
    assert table["clips in view random"] == "64 (16 a video)"
    assert table["unreadable"] == "1 corrupt"
    assert table["of these sound only"] == table["rotated"] == table["variable frame rate"] == "0"
    assert table["shorter than a clip"] == "0"
    assert (table["copies of another file"], table["copies across training and test"]) == ("1", "1")
    assert table["without a label"] == "0"
    assert table["predicted size of random/motion3d"] == "20.5 kB"
    assert "predicted time, 1 block at a time" in table
    lines = printed.splitlines()
    assert "  corrupt  test/b/text.mp4" in "\n".join(lines)
    assert "  copy  train/a/0.mp4  of test/b/leak.mp4" in lines
    assert "  train  train/a/0.mp4  = test test/b/leak.mp4" in lines
    assert "the predicted time is an estimate, from 3 of the videos" in lines


def test_json_with_every_view_and_backbone(run_cli: Cli, videos: Path) -> None:
    printed = json.loads(run_cli("plan", *OPTIONS, "--data", videos, "--json").stdout)
    assert printed["duplicates"] == [["test/b/leak.mp4", "train/a/0.mp4"]]
    assert printed["leaking"] == [["train/a/0.mp4", "test/b/leak.mp4"]]
    assert [(video["path"], video["status"]) for video in printed["unreadable"]] == [("test/b/text.mp4", "corrupt")]
    forecast = printed["forecast"]
    assert [target["features"] for target in forecast["targets"]] == ["random/motion3d", "grid/motion3d"]
    assert forecast["num_bytes"] == 5 * (16 + 15) * 128 * 2
    assert forecast["hours"] > 0
    assert printed["block_size"] == FeatureStore.open("features/folder.zarr").block_size


def test_no_estimate_and_extract_reports_its_plan(run_cli: Cli, videos: Path) -> None:
    options = (*OPTIONS, "--data", videos, "--no-estimate", "--views", "random", "--max-failures", 1, "--profile")
    first = run_cli("extract", *options).stdout
    assert "copies across training and test" in first
    assert "predicted" not in first
    again = run_cli("extract", *options).stdout
    assert "copies across training and test" not in again
    profile = [[cell.strip() for cell in line.split("│")[1:5]] for line in first.splitlines() if line.count("│") == 5]
    names = [("workers", part) for part in ("wait", "forward", "write", "rest")]
    names += [("decoders", part) for part in ("decode", "resize")]
    assert [(whose, name) for whose, name, _, _ in profile] == names
    shares = [float(share.rstrip("%")) for _, _, _, share in profile]
    assert sum(shares[:4]) == pytest.approx(100, abs=0.3)
    assert sum(shares[4:]) == pytest.approx(100, abs=0.2)
    assert "nothing was extracted: there is no time to share out" in again


def test_what_is_in_the_way_is_said_before_any_video_is_looked_at(run_cli: Cli, videos: Path) -> None:
    run_cli("plan", *OPTIONS, "--data", videos, "--no-estimate")
    again = run_cli("plan", *OPTIONS, "--data", videos, status=1)
    assert "is planned already: `scale-video extract` fills it" in again.stderr
    Path("taken").mkdir()
    Path("taken/thesis.txt").write_text("do not delete")
    taken = run_cli("plan", *OPTIONS, "--data", videos, "--store", "taken", status=1)
    assert "is not empty and holds no feature store" in taken.stderr
    for refused in (again, taken):
        assert "looking at videos" not in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert [path.name for path in Path("taken").iterdir()] == ["thesis.txt"]


def report(*, block_size: int, hours: float) -> PlanReport:
    """64 000 videos of half a minute each, or of an unknown time."""
    target = TargetForecast("random/vit", 64_000 * 16, 64_000 * 16 * 768 * 2, 0.1)
    return PlanReport(
        num_videos=64_000,
        num_clips={"random": 64_000 * 16},
        clips_per_video={"random": 16},
        seconds_of_video=3.6e6,
        num_classes={},
        splits={},
        num_unreadable={"corrupt": 3, "no_video_stream": 2},
        unreadable=(),
        num_rotated=0,
        num_variable_rate=0,
        num_too_short=0,
        duplicates=(),
        leaking=(),
        num_unlabelled={},
        block_size=block_size,
        default_block_size=64,
        forecast=Forecast((target,), target.num_bytes, hours, hours / 2, hours / 2, 30.0, 2, 3),
    )


@pytest.mark.parametrize(
    ("block_size", "hours", "expected"),
    [
        (20, 266.7, "blocks are of 20 videos: 64 would take a worker 32 minutes, which are lost with it"),
        (64, 266.7, "a block takes a worker about 32 minutes, which are lost with it: --block-size 20 would be safer"),
        (64, float("nan"), "no time is predicted: none of the sampled videos could be decoded"),
    ],
)
def test_advice(capsys: pytest.CaptureFixture[str], block_size: int, hours: float, expected: str) -> None:
    show_extraction.plan_report(report(block_size=block_size, hours=hours))
    printed = capsys.readouterr().out
    assert expected in printed
    table = rows(printed)
    assert table["predicted size of random/vit"] == "1.57 GB"
    assert table.get("predicted time, 2 blocks at a time") == (None if hours != hours else "267 hours")
    assert table["unreadable"] == "0 (3 corrupt, 2 no_video_stream)"
    assert table["of these sound only"] == "2"
    assert table["labels"] == "none"


def test_sizes_and_times_as_people_say_them() -> None:
    assert doctest.testmod(forecast) == (0, 1)
