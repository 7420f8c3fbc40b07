"""What a store gains after its first extraction: backbones and views in place, new videos in a store beside it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from scale_video.pipelines.planning import add_backbones
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

Cli = Callable[..., Result]
MakeVideo = Callable[..., None]
EXTRACT = ("extract", "--dataset", "folder", "--workers", 1, "--threads")


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    for label in ("run", "jump"):
        for index in range(3):
            make_video(tmp_path / "videos" / label / f"{index}.mp4", seed=index)
    # Cut in the middle: what can be had of it must not depend on which backbones look at it together.
    whole = tmp_path / "videos" / "run" / "2.mp4"
    make_video(whole.with_suffix(".ts"), seed=9, codec="mpeg2video")
    data = whole.with_suffix(".ts").read_bytes()
    whole.with_suffix(".ts").write_bytes(data[: len(data) // 2] + bytes(4000) + data[len(data) // 2 + 4000 :])
    return tmp_path / "videos"


def chunks(store: str, *, below: str = "") -> dict[str, bytes]:
    """Every file of a store but the consolidated metadata in its root, by its path."""
    root = Path(store)
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path != root / "zarr.json")
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if name.startswith(below)}


def test_backbones_together_equal_backbones_one_after_the_other(
    run_cli: Cli, videos: Path, tiny_videomae: Path
) -> None:
    both = f"motion3d,videomae:{tiny_videomae}"
    run_cli(*EXTRACT, "--data", videos, "--backbone", both, "--store", "together.zarr", "--max-failures", "50%")
    run_cli(
        *EXTRACT, "--data", videos, "--backbone", "motion3d", "--store", "apart.zarr", "--views", "random",
        "--max-failures", "50%",
    )  # fmt: skip
    before = chunks("apart.zarr")
    run_cli(*EXTRACT, "--data", videos, "--backbone", both, "--store", "apart.zarr", "--max-failures", "50%")
    after = chunks("apart.zarr")
    assert {name: after[name] for name in before} == before, "nothing that was there is touched"
    assert after == chunks("together.zarr")
    assert FeatureStore.open("apart.zarr").backbones("grid") == ("motion3d", "tiny-videomae")
    assert verify_store("apart.zarr").damaged == ()


def test_profile_shows_where_the_time_goes(run_cli: Cli, videos: Path) -> None:
    shown = run_cli(*EXTRACT, "--data", videos, "--backbone", "motion3d", "--max-failures", "50%", "--profile").stdout
    for part in ("wait", "decode", "resize", "forward", "write"):
        assert part in shown


def test_new_videos_go_into_a_store_beside_the_old_one(
    run_cli: Cli, videos: Path, make_video: MakeVideo, small_training: tuple[str, ...]
) -> None:
    options = (*EXTRACT, "--data", videos, "--backbone", "motion3d", "--max-failures", "50%")
    run_cli(*options, "--store", "old.zarr")
    before = chunks("old.zarr")
    for index in range(10, 14):
        make_video(videos / "sit" / f"{index}.mp4", seed=index)
    refused = run_cli(*options, "--store", "old.zarr", status=1)
    assert "4 are new, such as 'sit/10.mp4'" in refused.stderr
    assert "--store" in refused.stderr
    run_cli(*options, "--store", "old.zarr,new.zarr")
    assert chunks("old.zarr") == before
    assert FeatureStore.open("new.zarr").ids == tuple(f"sit/{index}.mp4" for index in range(10, 14))
    assert "nothing is to be done" in run_cli(*options, "--store", "old.zarr,new.zarr,newer.zarr").stderr
    assert not Path("newer.zarr").exists()
    union = ("--dataset", "folder", "--store", "old.zarr,new.zarr")
    run_cli("pretrain", *union, *small_training)
    records = json.loads(run_cli("knn", *union, *small_training, "--json").stdout)
    assert records[0]["num_train"] + records[0]["num_test"] >= 10


def test_views_of_unions_must_agree(run_cli: Cli, videos: Path, make_video: MakeVideo) -> None:
    options = (*EXTRACT, "--data", videos, "--backbone", "motion3d", "--max-failures", "50%")
    run_cli(*options, "--store", "old.zarr")
    make_video(videos / "run" / "new.mp4", seed=20)
    refused = run_cli(*options, "--store", "old.zarr,new.zarr", "--set", "views.random.seed=1", status=1)
    assert "view 'random' of store" in refused.stderr
    assert "seed" in refused.stderr
    assert not Path("new.zarr").exists()


def test_a_folder_named_otherwise_is_told_apart_from_new_videos(run_cli: Cli, videos: Path) -> None:
    options = (*EXTRACT, "--backbone", "motion3d", "--max-failures", "50%")
    run_cli(*options, "--data", videos)
    shutil.rmtree(videos / "jump")
    refused = run_cli(*options, "--data", videos, status=1)
    assert "0 are new and 3 are gone, such as 'jump/0.mp4'" in refused.stderr


def test_a_job_goes_on_with_another_release_of_a_library(
    run_cli: Cli, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    from scale_video.extract.backbones.motion3d import load_motion3d
    from scale_video.extract.views import GridView, RandomView

    run_cli(*EXTRACT, "--data", videos, "--backbone", "motion3d", "--max-failures", "50%")
    store = FeatureStore.open("features/folder.zarr")
    spec = replace(load_motion3d().spec, library_versions={"torch": "99.0"})
    add_backbones(store, [spec], {"random": RandomView(), "grid": GridView()}, device="cpu")
    assert "go on with {'torch': '99.0'}" in caplog.text
    assert np.array_equal(store.committed("random", "motion3d"), np.ones(store.num_blocks, dtype=bool))
