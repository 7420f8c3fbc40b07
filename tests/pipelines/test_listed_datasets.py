"""Miniatures of HMDB51, Kinetics and Something-Something v2, from official lists to plans, features and numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from scale_video.extract.datasets.registry import DATASETS
from scale_video.extract.views import SSV2_GRID, SSV2_RANDOM, GridView, RandomView
from scale_video.pipelines.preset import default_preset, load_preset
from scale_video.store.clip_plan import Coordinate
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus

Cli = Callable[..., Result]
MakeVideo = Callable[..., None]

FEW_CLIPS = (
    "--set",
    "views.random.num_clips=4",
    "--set",
    "views.grid.num_times=1",
    "--set",
    "pretrain.clips_per_set=2",
)
PLAN = ("--backbone", "motion3d", "--workers", 1, "--threads", "--no-estimate")
EXTRACT = (*PLAN, *FEW_CLIPS)


def make_hmdb51(root: Path, make_video: MakeVideo) -> Path:
    """Two classes of four films with a clip each, each class in a folder within a folder, and lists of two splits."""
    lists = {}
    for label, name in enumerate(("brush_hair", "wave")):
        files = [f"#{film}_film;_(Teil {film})!_{name}_u_cm_np1_fr_med_0.avi" for film in range(4)]
        for film, file in enumerate(files):
            make_video(root / "hmdb51_org" / name / name / file, seed=10 * label + film, num_frames=40)
        for split in (1, 2):
            flags = [2 if film == split else 1 for film in range(4)]
            lists[f"{name}_test_split{split}.txt"] = "".join(
                f"{file} {flag} \n" for file, flag in zip((*files, "gone.avi"), (*flags, 1), strict=True)
            )
    folder = root / "testTrainMulti_7030_splits"
    folder.mkdir()
    for name, text in lists.items():
        (folder / name).write_text(text)
    return root


def make_kinetics(root: Path, make_video: MakeVideo) -> Path:
    """Five videos beside each other, one of them damaged and with a replacement, and one that is gone."""
    for part, num_videos in (("train", 3), ("val", 2)):
        lines = []
        for index in range(num_videos):
            name = f"{part:_<7}{index:04d}"
            make_video(root / part / f"{name}_000010_000020.mp4", seed=ord(part[0]) + index, num_frames=40)
            lines.append(f"{('abseiling', 'playing guitar')[index % 2]},{name},10,20,{part},0\n")
        (root / "annotations").mkdir(exist_ok=True)
        gone = f"abseiling,gonegonegon,0,10,{part},0\n"
        (root / f"annotations/{part}.csv").write_text(
            "label,youtube_id,time_start,time_end,split,is_cc\n" + "".join(lines) + gone
        )
    (root / "replacement").mkdir()
    damaged = root / "train/train__0001_000010_000020.mp4"
    damaged.rename(root / "replacement" / damaged.name)
    damaged.write_bytes(b"<html>Video unavailable</html>")
    return root


def make_something_something(root: Path, make_video: MakeVideo) -> Path:
    """Three videos of two classes that a flip would swap."""
    directions = ("left to right", "right to left")
    labels = {f"Pushing something from {direction}": str(index) for index, direction in enumerate(directions)}
    for part, ids in (("train", range(1, 3)), ("validation", range(3, 4))):
        videos = []
        for video in ids:
            path = root / "20bn-something-something-v2" / f"{video}.webm"
            make_video(path, seed=video, num_frames=24, fps=12, codec="libvpx-vp9")
            videos.append({"id": str(video), "template": f"Pushing [something] from {directions[video % 2]}"})
        (root / f"something-something-v2-{part}.json").write_text(json.dumps(videos))
    (root / "something-something-v2-labels.json").write_text(json.dumps(labels))
    return root / "20bn-something-something-v2"


def test_hmdb51_to_numbers(
    run_cli: Cli, make_video: MakeVideo, tmp_path: Path, small_training: tuple[str, ...]
) -> None:
    root = make_hmdb51(tmp_path / "HMDB51", make_video)
    result = run_cli("extract", "--dataset", "hmdb51", "--data", root, *EXTRACT)
    assert "2 of 10 videos are not beneath" in result.stderr
    store = FeatureStore.open("features/hmdb51.zarr")
    assert store.videos.class_names == {"label": ("brush_hair", "wave")}
    assert sorted(set(store.videos.groups)) == [f"#{film}_film;_(Teil {film})!" for film in range(4)]
    assert store.videos.paths[0].startswith("hmdb51_org/brush_hair/brush_hair/#0_film")
    for view in ("random", "grid"):
        assert store.read_features(view, "motion3d").valid.all()
    common = ("--dataset", "hmdb51", "--split", 2, *FEW_CLIPS, *small_training)
    run_cli("pretrain", *common)
    records = json.loads(run_cli("knn", *common, "--json").stdout)
    assert {record["representation"] for record in records} >= {"x", "x+cls"}
    assert {(record["num_train"], record["num_test"]) for record in records} == {(6, 2)}


def test_a_plan_of_kinetics(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    root = make_kinetics(tmp_path / "k400", make_video)
    result = run_cli("plan", "--dataset", "kinetics400", "--data", root, *PLAN)
    assert "train.csv: 1 of 4 videos are not beneath" in result.stderr
    assert "val.csv: 1 of 3 videos are not beneath" in result.stderr
    store = FeatureStore.open("features/kinetics400.zarr")
    assert store.videos.splits["1"].tolist() == [1, 1, 1, 3, 3]
    assert {probe.status for probe in store.probes()} == {VideoStatus.OK}  # the replacement is read


def test_a_plan_of_something_something(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    root = make_something_something(tmp_path / "ssv2", make_video)
    run_cli("plan", "--dataset", "ssv2", "--data", root, *PLAN)
    store = FeatureStore.open("features/ssv2.zarr")
    assert store.videos.splits["1"].tolist() == [1, 1, 3]
    for view, num_clips in (("random", 16), ("grid", 6)):
        plan = store.plan(view)
        assert plan.valid.shape == (3, num_clips)
        spans = plan.coordinates[..., Coordinate.END] - plan.coordinates[..., Coordinate.START]
        assert np.allclose(spans, 32 / 30 - 1 / 12, atol=1e-3)
        assert (plan.coordinates[..., Coordinate.FLIP] == 0).all()


def test_lists_that_do_not_fit_are_refused_in_a_line(run_cli: Cli, make_video: MakeVideo, tmp_path: Path) -> None:
    root = make_hmdb51(tmp_path / "HMDB51", make_video)
    (root / "testTrainMulti_7030_splits/wave_test_split2.txt").unlink()
    result = run_cli("plan", "--dataset", "hmdb51", "--data", root, status=1)
    assert "error: split 2 has no wave_test_split2.txt" in result.stderr
    result = run_cli("plan", "--dataset", "kinetics400", "--data", root, "--split-lists", tmp_path, status=1)
    assert "error: no train.csv in" in result.stderr
    assert not Path("features").exists()


@pytest.mark.parametrize("name", ["honest", "paper"])
def test_clips_by_data_set(name: str) -> None:
    for dataset in ("hmdb51", "kinetics400", "kinetics600", "kinetics700"):
        assert default_preset(dataset) == "honest"
        assert load_preset(name, dataset=dataset).views == {"random": RandomView(), "grid": GridView()}
    assert load_preset(name, dataset="ssv2").views == {"random": SSV2_RANDOM, "grid": SSV2_GRID}


@pytest.mark.parametrize("command", ["extract", "pretrain", "knn"])
def test_the_help_names_every_data_set(run_cli: Cli, command: str) -> None:
    described = " ".join(run_cli(command, "--help").stdout.split())
    assert all(f"{name}," in described or f"{name}." in described for name in DATASETS)
