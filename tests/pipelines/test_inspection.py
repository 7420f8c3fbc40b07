"""What ``scale-video info`` says of a store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from scale_video.pipelines.inspection import run_info
from scale_video.store.read import FeatureStore


def test_info_counts_videos_by_status_run_by_run(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "a.zarr", failed=(0, 3, 39))
    monkeypatch.setattr(FeatureStore, "outcome", None)  # every status and error at once: too much for large stores
    [grid, random] = run_info(store).features
    assert (grid.view, random.view) == ("grid", "random")
    assert random.statuses == {"ok": 37, "corrupt": 3}
    assert (random.num_clips, random.feature_dim, random.num_committed, random.num_blocks) == (16, 4, 1, 1)
    printed = json.loads(run_cli("info", store, "--json").stdout)
    assert printed["features"][1]["statuses"] == {"ok": 37, "corrupt": 3}
    assert printed["splits"] == {"1": {"none": 0, "train": 28, "validation": 0, "test": 12}}
