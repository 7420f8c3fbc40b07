"""Anyone's own videos: class folders, no classes, odd names, and files that are not what they seem."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result

from scale_video.store.clip_plan import Coordinate
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus

Cli = Callable[..., Result]
MakeVideo = Callable[..., None]
EXTRACT = ("extract", "--dataset", "folder", "--backbone", "motion3d", "--workers", 1, "--threads")


def test_no_classes_at_all(
    run_cli: Cli, make_video: MakeVideo, tmp_path: Path, small_training: tuple[str, ...]
) -> None:
    for index in range(4):
        make_video(tmp_path / "videos" / f"clip {index} ü.mp4", seed=index)
    run_cli(*EXTRACT, "--data", tmp_path / "videos")
    store = FeatureStore.open("features/folder.zarr")
    assert store.videos.labels == {}
    assert store.videos.paths[0] == "clip 0 ü.mp4"
    assert store.read_features("random", "motion3d").valid.all()
    run_cli("pretrain", "--dataset", "folder", *small_training)
    result = run_cli("knn", "--dataset", "folder", *small_training, status=1)
    assert "the probes need labels" in result.stderr
    assert "one folder per class" in result.stderr


def test_class_folders(run_cli: Cli, make_video: MakeVideo, tmp_path: Path, small_training: tuple[str, ...]) -> None:
    for label in ("run", "jump"):
        for index in range(6):
            make_video(tmp_path / "videos" / label / f"{index}.mp4", seed=index)
    make_video(tmp_path / "videos" / "rare" / "only one.mp4", seed=99)  # a class with a single video
    run_cli(*EXTRACT, "--data", tmp_path / "videos")
    run_cli("pretrain", "--dataset", "folder", *small_training)
    records = json.loads(run_cli("knn", "--dataset", "folder", *small_training, "--json").stdout)
    assert records[0]["num_train"] + records[0]["num_test"] == 13
    table = run_cli("knn", "--dataset", "folder", *small_training).stdout
    assert "x+h+cls" in table


def test_damaged_files_are_recorded_and_the_others_extracted(
    run_cli: Cli, make_video: MakeVideo, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    for index in range(5):
        make_video(videos / f"good{index}.mp4", seed=index)
    (videos / "text.mp4").write_text("these are words, not frames\n" * 100)
    (videos / "zero.mp4").write_bytes(b"")
    make_video(videos / "one.mp4", seed=7, num_frames=1)
    _write_audio_only(videos / "sound.mp4")
    for suffix in ("avi", "mkv", "mp4"):
        make_video(videos / f"cut.{suffix}", seed=9, num_frames=250)
        data = (videos / f"cut.{suffix}").read_bytes()
        (videos / f"cut.{suffix}").write_bytes(data[: len(data) * 6 // 10])

    failed = run_cli(*EXTRACT, "--data", videos, status=1)
    assert "more videos failed than --max-failures 1% allows" in failed.stderr
    for name in ("text.mp4", "zero.mp4", "sound.mp4", "cut.mp4"):
        assert name in failed.stdout
    assert str(tmp_path) not in failed.stdout.replace(str(tmp_path / "features"), "")

    store = FeatureStore.open("features/folder.zarr")
    outcome = store.outcome("random", "motion3d")
    status = {path: VideoStatus(code) for path, code in zip(store.videos.paths, outcome.status, strict=True)}
    errors = dict(zip(store.videos.paths, outcome.error, strict=True))
    assert all(status[f"good{index}.mp4"] == VideoStatus.OK for index in range(5))
    assert status["text.mp4"] == status["zero.mp4"] == status["cut.mp4"] == VideoStatus.CORRUPT
    assert status["sound.mp4"] == VideoStatus.NO_VIDEO_STREAM
    assert status["one.mp4"] == VideoStatus.PADDED
    features = store.read_features("random", "motion3d")
    for path, code in status.items():
        row = store.videos.paths.index(path)
        assert features.valid[row].any() == code.has_features
        assert bool(errors[path]) == code.is_failure
        assert str(tmp_path) not in errors[path]
    # What is left of a cut file is used as far as it goes, and never silently taken for the whole.
    for name in ("cut.avi", "cut.mkv"):
        row = store.videos.paths.index(name)
        assert status[name] == VideoStatus.PARTIAL
        [probe] = store.probes(slice(row, row + 1))
        assert 100 < probe.num_frames < 150  # of 250
        assert (features.coordinates[row, :, Coordinate.END][features.valid[row]] <= probe.duration_seconds).all()

    again = run_cli(*EXTRACT, "--data", videos, "--max-failures", 10)
    assert "text.mp4" in again.stdout


def test_a_video_that_vanishes_after_planning_is_missing(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    for index in range(3):
        make_video(tmp_path / "videos" / f"{index}.mp4", seed=index)
    plan = run_cli("plan", *EXTRACT[1:], "--data", tmp_path / "videos")
    assert "length of all videos" in plan.stdout
    shutil.move(tmp_path / "videos" / "1.mp4", tmp_path / "gone.mp4")
    (tmp_path / "videos" / "1.mp4").symlink_to(tmp_path / "nowhere")
    run_cli(*EXTRACT, "--data", tmp_path / "videos", status=1)
    outcome = FeatureStore.open("features/folder.zarr").outcome("random", "motion3d")
    assert [VideoStatus(code).name for code in outcome.status] == ["OK", "MISSING", "OK"]


def test_a_store_does_not_grow(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "0.mp4", seed=0)
    run_cli(*EXTRACT, "--data", tmp_path / "videos")
    make_video(tmp_path / "videos" / "1.mp4", seed=1)
    result = run_cli(*EXTRACT, "--data", tmp_path / "videos", status=1)
    assert "1 are new, such as '1.mp4'; a store does not grow: name a second one behind it" in result.stderr


def test_a_view_is_added_in_place(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "0.mp4", seed=0)
    run_cli(*EXTRACT, "--data", tmp_path / "videos", "--views", "random")
    before = FeatureStore.open("features/folder.zarr").read_features("random", "motion3d")
    run_cli(*EXTRACT, "--data", tmp_path / "videos")
    store = FeatureStore.open("features/folder.zarr")
    assert store.views() == ("grid", "random")
    np.testing.assert_array_equal(store.read_features("random", "motion3d").features, before.features)
    assert store.read_features("grid", "motion3d").valid.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "ucf100", "--data", "."), "no data set 'ucf100'"),
        (("--dataset", "folder", "--data", "nowhere"), "nowhere"),
        (("--dataset", "folder", "--data", "empty"), "empty"),
        (("--dataset", "folder"), "needs the folder of its videos"),
        (("--dataset", "folder", "--data", "empty", "--views", "side"), "no view 'side' in preset 'honest'"),
        (("--dataset", "folder", "--data", "empty", "--backbone", "motion4d"), "no backbone family 'motion4d'"),
        (("--dataset", "folder", "--data", "empty", "--max-failures", "few"), "--max-failures must be a number"),
        (("--dataset", "folder", "--data", "empty", "--preset", "best"), "no preset 'best'"),
    ],
)
def test_bad_input_is_one_line(run_cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    Path("empty").mkdir()
    options = arguments if "--backbone" in arguments else (*arguments, "--backbone", "motion3d")
    result = run_cli("extract", *options, status=1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("features").exists()


def test_nothing_readable_makes_no_store(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    result = run_cli(*EXTRACT, "--data", tmp_path / "videos", status=1)
    assert "none of the 1 videos can be read; the first, 'text.mp4'" in result.stderr
    assert not Path("features/folder.zarr").exists()


def _write_audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for _ in range(20):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
