"""``scale-video embed FILE…``: a file gets the vectors that its row in a store has; bad files harm nobody else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
import zarr
from click.testing import Result

from scale_video.pipelines import file_features

Cli = Callable[..., Result]
LIKE_STORED = 2e-3
"""Features are rounded to float16 in both; batches of other sizes differ in the last bits."""


def vectors(path: Path | str) -> dict[str, dict[str, Any]]:
    """x, h, cls and number of clips, by id."""
    with xarray.open_zarr(path) as found:
        return {
            str(video.values): {name: found[name].sel(video=video).values for name in ("x", "h", "cls", "num_clips")}
            for video in found["video"]
        }


def assert_like(found: dict[str, Any], stored: dict[str, Any]) -> None:
    assert found["num_clips"] == stored["num_clips"]
    for name in ("x", "h", "cls"):
        np.testing.assert_allclose(found[name], stored[name], atol=LIKE_STORED)


def test_a_file_of_the_stores_id_gets_the_stores_vectors(
    trained_folder: Any, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_features, "FILES_AT_A_TIME", 4)
    run_cli("embed", trained_folder.store, "--checkpoint", trained_folder.run, "--output", "stored.zarr")
    stored = vectors("stored.zarr")
    names = list(stored)[:5]  # more than are embedded at a time
    files = [trained_folder.videos / name for name in names]
    result = run_cli("embed", *files, "--checkpoint", trained_folder.run, "--data", trained_folder.videos,
                     "--output", "files.zarr")  # fmt: skip
    assert "files.zarr: 5 videos (" in result.stdout
    found = vectors("files.zarr")
    assert list(found) == names
    for name in names:
        assert_like(found[name], stored[name])
    # What is compared is no accident: the vectors of two videos, or of other clips, are far from equal.
    one, other = (stored[name]["x"] for name in names[:2])
    assert np.abs(one - other).max() > 10 * LIKE_STORED
    run_cli("embed", files[0], "--checkpoint", trained_folder.run, "--output", "renamed.zarr")
    (renamed,) = vectors("renamed.zarr").items()
    assert renamed[0] == files[0].name
    assert np.abs(renamed[1]["x"] - stored[names[0]]["x"]).max() > 10 * LIKE_STORED


def test_bad_files_are_named_and_the_others_go_on(trained_folder: Any, run_cli: Cli) -> None:
    good = trained_folder.videos / "a" / "ü 0.mp4"
    cut = Path("cut.mp4")
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    files = (trained_folder.videos / "b" / "broken.mp4", good, cut, "gone.mp4")
    result = run_cli("embed", *files, "--checkpoint", trained_folder.run, "--json", status=1)
    said = json.loads(result.stdout)
    statuses = {Path(failure["path"]).name: failure["status"] for failure in said["failures"]}
    assert statuses == {"broken.mp4": "corrupt", "cut.mp4": "corrupt", "gone.mp4": "missing"}
    assert (said["num_videos"], said["num_left_out"]) == (1, 3)
    assert "gone.mp4: missing, " in result.stderr
    assert "3 of 4 files could not be had in full" in result.stderr
    assert list(vectors("embeddings.zarr")) == ["ü 0.mp4"]
    nothing = run_cli("embed", "gone.mp4", "--checkpoint", trained_folder.run, "--output", "no.zarr", status=1)
    assert "none of 1 files could be embedded, so nothing is written" in nothing.stderr
    assert not Path("no.zarr").exists()


def test_ids_must_tell_files_apart(trained_folder: Any, run_cli: Cli, tmp_path: Path) -> None:
    one, other = trained_folder.videos / "a" / "ü 0.mp4", tmp_path / "copy" / "ü 0.mp4"
    other.parent.mkdir()
    shutil.copy(one, other)
    twice = run_cli("embed", one, other, "--checkpoint", trained_folder.run, status=1)
    assert "have the same id, 'ü 0.mp4', from which clips are drawn; name the folder" in twice.stderr
    outside = run_cli("embed", one, "--data", tmp_path / "copy", "--checkpoint", trained_folder.run, status=1)
    assert "does not lie beneath" in outside.stderr


def test_the_checkpoint_fixes_view_and_backbone(trained_folder: Any, run_cli: Cli, tmp_path: Path) -> None:
    file = trained_folder.videos / "a" / "ü 0.mp4"
    view = run_cli("embed", file, "--checkpoint", trained_folder.run, "--view", "grid", status=1)
    assert "the checkpoint reads clips of view 'random'; --view grid is another one" in view.stderr
    other = run_cli("embed", file, "--checkpoint", trained_folder.run, "--backbone", "motion3d-ssl", status=1)
    assert "motion3d-ssl is not the backbone of checkpoint" in other.stderr
    assert "which has another weights_digest" in other.stderr
    content = torch.load(trained_folder.run / "last.ckpt", weights_only=True)
    recipe = content["scale_video"]["provenance"]["recipe"]
    for change, message in (
        ({"view": {**recipe["view"], "num_clips": 10**9}}, "are more than a video may take (16 GiB)"),
        ({"view": {"kind": "spiral"}}, "cannot be drawn of new videos: unknown kind of view 'spiral'"),
        ({"backbone": {**recipe["backbone"], "source": 3}}, "(source is 3)"),
        ({"backbone": {**recipe["backbone"], "weights_digest": "0" * 64}}, "which has another weights_digest"),
    ):
        content["scale_video"]["provenance"]["recipe"] = recipe | change
        torch.save(content, tmp_path / "other.ckpt")
        assert message in run_cli("embed", file, "--checkpoint", tmp_path / "other.ckpt", status=1).stderr


def test_a_checkpoint_of_an_earlier_release_needs_the_store(trained_folder: Any, run_cli: Cli, tmp_path: Path) -> None:
    content = torch.load(trained_folder.run / "last.ckpt", weights_only=True)
    del content["scale_video"]["provenance"]["recipe"]
    torch.save(content, tmp_path / "old.ckpt")
    common = ("embed", trained_folder.videos / "a" / "ü 0.mp4", "--data", trained_folder.videos)
    refused = run_cli(*common, "--checkpoint", tmp_path / "old.ckpt", status=1)
    assert "does not say how its features are made; name the store that it was trained on by --store" in refused.stderr
    run_cli(*common, "--checkpoint", tmp_path / "old.ckpt", "--store", trained_folder.store, "--output", "old.zarr")
    run_cli(*common, "--checkpoint", trained_folder.run, "--output", "new.zarr")
    (old,), (new,) = vectors("old.zarr").values(), vectors("new.zarr").values()
    np.testing.assert_array_equal(old["cls"], new["cls"])
    # Of a store that is embedded, such a checkpoint lacks nothing.
    run_cli("embed", trained_folder.store, "--checkpoint", tmp_path / "old.ckpt", "--output", "stored.zarr")
    other = shutil.copytree(trained_folder.store, tmp_path / "other.zarr")
    group = zarr.open_group(other, mode="r+", path="random/motion3d", use_consolidated=False)
    group.attrs["weights_digest"] = "0" * 64
    refused = run_cli(*common, "--checkpoint", tmp_path / "old.ckpt", "--store", other, status=1)
    assert "reads features of other weights than these" in refused.stderr
