"""``scale-video verify --recompute`` tells features of these videos, clips and weights from any others."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result

from scale_video.pipelines.cli import main
from scale_video.store.read import FeatureStore
from scale_video.store.write import BlockWriter

Cli = Callable[..., Result]
NUM_BLOCKS = 6
EACH_BLOCK = 24
"""Four clips of a video, one video of each block."""


@pytest.fixture(scope="module")
def extracted(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("extracted") / "demo.zarr"
    options = (
        "--backbone",
        "motion3d",
        "--data",
        demo_root,
        "--store",
        store,
        "--block-size",
        8,
        "--workers",
        1,
        "--threads",
        "--no-estimate",
        "--runs",
        store.parent / "runs",
    )
    result = CliRunner().invoke(main, ["extract", *map(str, options)])
    assert result.exit_code == 0, result.output
    return store


@pytest.fixture
def store(extracted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(extracted, tmp_path / "demo.zarr")


def verify(run_cli: Cli, store: Path, data: Path, *options: object, status: int = 0) -> dict[str, object]:
    printed = run_cli("verify", store, "--recompute", EACH_BLOCK, "--data", data, "--json", *options, status=status)
    result: dict[str, object] = json.loads(printed.stdout)
    assert (result["num_committed"], result["damaged"]) == (NUM_BLOCKS, [])  # digests never see what follows
    return result


def target(result: dict[str, object]) -> dict[str, object]:
    recomputed = result["recomputed"]
    assert isinstance(recomputed, dict)
    (only,) = recomputed["targets"]
    assert only["features"] == "random/motion3d"
    return dict(only)


def test_a_healthy_store(run_cli: Cli, store: Path, demo_root: Path) -> None:
    drift = target(verify(run_cli, store, demo_root))
    assert (drift["num_clips"], drift["num_videos"]) == (EACH_BLOCK, NUM_BLOCKS)
    assert (drift["num_missing"], drift["num_undecodable"]) == (0, 0)
    assert 0 <= drift["median"] <= drift["largest"] < 1e-5  # type: ignore[operator]
    (farthest,) = drift["worst"]  # type: ignore[misc]
    assert farthest["distance"] == drift["largest"]
    assert not farthest["file_changed"]


def test_another_seed_other_clips_and_the_same_seed_the_same(run_cli: Cli, store: Path, demo_root: Path) -> None:
    results = [verify(run_cli, store, demo_root, "--seed", seed)["recomputed"] for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_a_wrong_block_that_is_committed_is_caught(run_cli: Cli, store: Path, demo_root: Path) -> None:
    block = FeatureStore.open(store).read_block("random", "motion3d", 3)
    wrong = replace(block, features=np.roll(block.features, 1, axis=0))  # each video has its neighbour's
    BlockWriter(store, view="random", backbone="motion3d").write(wrong)
    drift = target(verify(run_cli, store, demo_root, status=1))
    assert drift["largest"] > 1e-3  # type: ignore[operator]
    assert drift["median"] < 1e-5  # type: ignore[operator]
    worst = drift["worst"]
    assert len(worst) == 4  # type: ignore[arg-type]
    for clip in worst:  # type: ignore[attr-defined]
        assert 3 * 8 <= clip["row"] < 4 * 8
    table = run_cli("verify", store, "--recompute", EACH_BLOCK, "--data", demo_root, status=1).stdout
    assert worst[0]["path"] in table  # type: ignore[index]
    assert "random/motion3d: a feature is" in table
    assert "recomputed features are not sound (tolerance 0.001)" in table
    verify(run_cli, store, demo_root, "--tolerance", 2)


def test_files_that_are_gone_changed_or_damaged(run_cli: Cli, store: Path, demo_root: Path, tmp_path: Path) -> None:
    """One video of each block is drawn, whichever: so what is done to a file is done to all of its block."""
    opened = FeatureStore.open(store)
    paths = opened.videos.paths
    longest = int(opened.column("duration_seconds").argmax())
    gone, changed, damaged = [opened.block_rows(index) for index in range(NUM_BLOCKS) if index != longest // 8][:3]
    data = shutil.copytree(demo_root, tmp_path / "data", copy_function=os.link)
    for rows in (gone, changed, damaged):
        for path in paths[rows]:
            (data / path).unlink()
    for path in paths[changed]:
        shutil.copy(demo_root / paths[longest], data / path)
    for path in paths[damaged]:
        (data / path).write_bytes(b"no film any more" * 1000)
    drift = target(verify(run_cli, store, data, status=1))
    assert (drift["num_missing"], drift["num_undecodable"]) == (4, 4)
    path, reason = str(drift["first_error"]).split(": ", 1)
    assert path in paths[damaged]
    assert reason.startswith("corrupt, ")
    assert drift["num_clips"] == EACH_BLOCK - 8
    worst = drift["worst"]
    assert {clip["path"] for clip in worst} <= set(paths[changed])  # type: ignore[attr-defined]
    assert len(worst) == 4  # type: ignore[arg-type]
    assert all(clip["file_changed"] for clip in worst)  # type: ignore[attr-defined]


def test_the_limits_of_the_extraction_can_be_given(run_cli: Cli, store: Path, demo_root: Path) -> None:
    command = ("verify", store, "--recompute", 4, "--data", demo_root, "--json")
    drift = target(json.loads(run_cli(*command, "--video-timeout", 0.001, status=1).stdout))
    assert (drift["num_clips"], drift["num_undecodable"]) == (0, 4)
    assert "timeout, decoding took more than 0.001 s" in str(drift["first_error"])
    assert target(json.loads(run_cli(*command, "--video-timeout", 300, "--memory-limit", 1).stdout))["num_clips"] == 4


def test_files_that_are_gone_are_no_fault_unless_all_are(
    run_cli: Cli, store: Path, demo_root: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(demo_root, tmp_path / "data", copy_function=os.link)
    for path in FeatureStore.open(store).videos.paths[:8]:
        (data / path).unlink()
    assert target(verify(run_cli, store, data))["num_missing"] == 4
    (tmp_path / "empty").mkdir()
    nothing = run_cli("verify", store, "--recompute", 4, "--data", tmp_path / "empty", status=1)
    assert "random/motion3d: no clip could be compared" in nothing.stdout


def test_other_weights_are_refused_before_anything_is_decoded(run_cli: Cli, store: Path, demo_root: Path) -> None:
    group = zarr.open_group(store, mode="r+", path="random/motion3d", use_consolidated=False)
    group.attrs["weights_digest"] = "0" * 64
    result = run_cli("verify", store, "--recompute", 1, "--data", demo_root, status=1)
    assert "motion3d is not the backbone of random/motion3d" in result.stderr
    assert "another weights_digest; name the right weights by --backbone FAMILY:SOURCE@motion3d" in result.stderr


def test_weights_that_cannot_be_had(run_cli: Cli, store: Path, demo_root: Path) -> None:
    group = zarr.open_group(store, mode="r+", path="random/motion3d", use_consolidated=False)
    group.attrs["source"] = "videomae:/nowhere/at/all"
    result = run_cli("verify", store, "--recompute", 1, "--data", demo_root, status=1)
    assert "say where the weights of 'motion3d' are by --backbone FAMILY:SOURCE@motion3d" in result.stderr


def test_the_folder_of_the_videos_must_be_there(run_cli: Cli, store: Path) -> None:
    result = run_cli("verify", store, "--recompute", 1, status=1)
    assert "no such folder: 'data/demo'" in result.stderr
    assert "verifying" not in result.stderr  # said before hours of reading


def test_a_damaged_store_is_not_recomputed(run_cli: Cli, store: Path, demo_root: Path) -> None:
    chunk = store / "random" / "motion3d" / "features" / "c.2.0.0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    result = run_cli("verify", store, "--recompute", 4, "--data", demo_root, status=1)
    assert "block 2 of random/motion3d" in result.stdout
    assert "nothing was recomputed" in result.stderr
