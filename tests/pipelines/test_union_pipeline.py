"""Stage 2, the probes and the inspection on two stores that are read as one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr
from click.testing import Result

from scale_video.aggregate.checkpoint import load_record
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.errors import PlanMismatchError

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]


@pytest.fixture
def two_stores(tmp_path: Path, make_store: MakeStore) -> str:
    """Stores of other videos of the same classes, whose numbers are the other way round in the second."""
    first, second = make_store(tmp_path / "a.zarr"), make_store(tmp_path / "b.zarr", failed=(2,))
    root = zarr.open_group(second, mode="r+", use_consolidated=False)
    root["videos"].attrs["class_names"] = {"label": ["b", "a"]}
    for name in ("id", "path", "group"):
        array = root[f"videos/{name}"]
        array[:] = [f"new/{text}" for text in array[:]]
    return f"{first},{second}"


def test_training_and_probes_see_all_videos(
    two_stores: str, request_for: Requests, run_cli: Callable[..., Result]
) -> None:
    request = request_for(two_stores)
    [checkpoint] = run_pretraining(request)
    ids = load_record(checkpoint).training_video_ids
    assert len(ids) == 55  # one has no features
    assert {"a/00.mp4", "new/a/00.mp4"} <= set(ids)
    records = run_evaluation(request, protocols=("knn",))
    assert {(record.num_train, record.num_test) for record in records} == {(55, 24)}
    assert "x+cls" in {record.representation for record in records}


def test_two_stores_are_shown_as_one(two_stores: str, run_cli: Callable[..., Result]) -> None:
    shown = json.loads(run_cli("info", two_stores, "--json").stdout)
    assert (shown["url"], shown["num_videos"], shown["num_classes"]) == (two_stores, 80, {"label": 2})
    assert shown["splits"]["1"] == {"none": 0, "train": 56, "validation": 0, "test": 24}
    assert [features["statuses"] for features in shown["features"]] == [{"corrupt": 1, "ok": 79}] * 2
    run_cli("knn", "--dataset", "folder", "--store", two_stores)


def test_stores_that_do_not_go_together_are_one_line(
    tmp_path: Path, two_stores: str, make_store: MakeStore, request_for: Requests, run_cli: Callable[..., Result]
) -> None:
    with pytest.raises(PlanMismatchError, match=r"both hold the video 'a/00.mp4'"):
        run_pretraining(request_for(f"{two_stores},{make_store(tmp_path / 'c.zarr')}"))
    result = run_cli("info", f"{two_stores},{tmp_path}/c.zarr", status=1)
    assert len(result.stderr.splitlines()) == 1
    assert "do not go together: both hold the video" in result.stderr
