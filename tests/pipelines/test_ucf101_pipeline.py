"""``extract``, ``pretrain``, ``knn``, ``linear`` and ``nonlinear`` on the original layout of UCF101."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.aggregate.checkpoint import load_aggregator
from scale_video.pipelines.cli import main
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def finished_store(ucf101_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracted once by two worker processes; each test gets a copy."""
    store = tmp_path_factory.mktemp("extracted") / "ucf101.zarr"
    arguments = ["extract", "--dataset", "ucf101", "--data", ucf101_root, "--backbone", "motion3d", "--workers", 2]
    result = CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--store", store)])
    assert result.exit_code == 0, result.output
    return store


@pytest.fixture
def extracted(run_cli: Cli, finished_store: Path) -> FeatureStore:
    shutil.copytree(finished_store, "features/ucf101.zarr")
    return FeatureStore.open("features/ucf101.zarr")


def test_from_avi_files_to_numbers(run_cli: Cli, extracted: FeatureStore, small_training: tuple[str, ...]) -> None:
    assert extracted.num_videos == 24
    assert extracted.views() == ("grid", "random")
    assert sorted(extracted.videos.splits) == ["1", "2"]
    assert len(set(extracted.videos.groups)) == 12
    report = verify_store("features/ucf101.zarr")
    assert (report.num_committed, report.damaged) == (report.num_blocks, ())
    for view, num_clips in (("random", 16), ("grid", 15)):
        features = extracted.read_features(view, "motion3d")
        assert features.features.shape == (24, num_clips, 128)
        assert features.valid.all()
        assert np.isfinite(features.features).all()

    common = ("--dataset", "ucf101", "--split", 2, *small_training)
    checkpoint = Path(run_cli("pretrain", *common, "--tensorboard").stdout.strip())
    assert list((checkpoint.parent / "tensorboard").glob("events.*"))
    assert checkpoint == Path("runs/ucf101/motion3d/split2/seed0/last.ckpt")
    videos = extracted.videos
    assert load_aggregator(checkpoint).training_video_ids == tuple(
        videos.ids[row] for row in videos.in_split("2", "train")
    )
    for protocol in ("knn", "linear", "nonlinear"):
        records = json.loads(run_cli(protocol, *common, "--json").stdout)
        names = ["x", "x-bins2", "x-bins4", "x-whitened", "init", "h", "cls", "x+cls", "x+h+cls"]
        assert [record["representation"] for record in records] == names
        for record in records:
            assert (record["protocol"], record["num_train"], record["num_test"]) == (protocol, 18, 6)
            assert 0 <= record["ci_low"] <= record["value"] <= record["ci_high"] <= 1
    collected = json.loads(Path("runs/ucf101/results.json").read_text())
    assert len(collected) == 27
    config = json.loads((checkpoint.parent / "config.json").read_text())
    assert config["pretrain"]["epochs"] == 2
    assert config["backbone"] == "motion3d"
    assert config["versions"]["torch"]


def test_a_second_call_finds_nothing_to_do(run_cli: Cli, extracted: FeatureStore, ucf101_root: Path) -> None:
    before = _modification_times(Path("features"))
    run_cli("extract", "--dataset", "ucf101", "--data", ucf101_root, "--backbone", "motion3d")
    run_cli("extract", "--dataset", "ucf101", "--backbone", "motion3d")  # the videos are not needed any more
    assert _modification_times(Path("features")) == before


def test_split_3_does_not_exist(run_cli: Cli, extracted: FeatureStore) -> None:
    result = run_cli("knn", "--dataset", "ucf101", "--split", 3, status=1)
    assert "no split '3' in this data set; it has: 1, 2" in result.stderr


def test_the_published_protocol_is_refused_unless_asked_for(
    run_cli: Cli, extracted: FeatureStore, small_training: tuple[str, ...]
) -> None:
    common = ("--dataset", "ucf101", "--preset", "paper", *small_training)
    checkpoint = Path(run_cli("pretrain", *common).stdout.strip())
    assert len(load_aggregator(checkpoint).training_video_ids) == 24
    refused = run_cli("knn", *common, status=1)
    assert "was pre-trained on test videos of this split" in refused.stderr
    assert not Path("runs/ucf101/results.json").exists()
    records = json.loads(run_cli("knn", *common, "--allow-seen", "--json").stdout)
    assert {record["representation"] for record in records if record["seen"]} == {"h", "cls", "x+cls", "x+h+cls"}
    assert "* pre-trained on test videos" in run_cli("knn", *common, "--allow-seen").stdout


def test_another_plan_is_refused(run_cli: Cli, extracted: FeatureStore, ucf101_root: Path) -> None:
    common = ("extract", "--dataset", "ucf101", "--data", ucf101_root, "--backbone", "motion3d")
    result = run_cli(*common, "--set", "views.random.seed=1", status=1)
    assert "features/ucf101.zarr' was drawn with other values of seed" in result.stderr
    result = run_cli("extract", "--dataset", "folder", "--data", ucf101_root, "--store", "features/ucf101.zarr",
                     "--backbone", "motion3d", status=1)  # fmt: skip
    assert "holds data set 'ucf101', not 'folder'" in result.stderr


def _modification_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}
