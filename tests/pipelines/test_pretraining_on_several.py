"""Pre-training on several data sets, on stores that are streamed, and what then is told of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import Result

from scale_video.aggregate.checkpoint import load_aggregator, load_record
from scale_video.aggregate.embed import embed_videos
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import TrainingResources, run_pretraining
from scale_video.pipelines.search import SearchRequest, run_search
from scale_video.store.errors import PlanMismatchError
from scale_video.store.union import open_stores

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]
Run = Callable[..., Result]
STREAMED = TrainingResources(residency="stream")


def rename(url: str, dataset: str, *, classes: tuple[str, ...] = ("a", "b")) -> str:
    """Let a store be of another data set, with labels of its own."""
    root = zarr.open_group(url, mode="r+", use_consolidated=False)
    root.attrs["dataset"] = dataset
    root["videos"].attrs["class_names"] = {"label": list(classes)}
    return url


@pytest.fixture
def datasets(tmp_path: Path, make_store: MakeStore) -> str:
    """Two data sets whose videos have the same paths, and other labels and numbers of videos."""
    first = rename(make_store(tmp_path / "a.zarr"), "first")
    second = make_store(tmp_path / "b.zarr", failed=(2,), num_videos=32)
    return f"{first},{rename(second, 'second', classes=('run', 'jump'))}"


def test_the_training_parts_of_several_data_sets(tmp_path: Path, datasets: str, request_for: Requests) -> None:
    request = replace(request_for(datasets), dataset="first,second")
    [checkpoint] = run_pretraining(request)
    assert checkpoint == tmp_path / "runs/first+second/tiny/split1/seed0/last.ckpt"
    record = load_record(checkpoint)
    assert record.provenance["dataset"] == "first,second"
    ids = record.training_video_ids
    assert len(ids) == 28 + 27  # of the second one a video has no features
    assert [video_id for video_id in ids if video_id.endswith("b/01.mp4")] == ["first:b/01.mp4", "second:b/01.mp4"]
    assert "first:a/02.mp4" in ids
    assert "second:a/02.mp4" not in ids
    assert not {"first:a/28.mp4", "second:a/28.mp4"} & set(ids)  # for testing
    config = json.loads(checkpoint.with_name("config.json").read_text())
    assert config["dataset"] == "first,second"


def test_test_videos_that_were_seen_are_found_in_each_data_set(datasets: str, request_for: Requests) -> None:
    together = replace(request_for(datasets), dataset="first,second")
    [of_training] = run_pretraining(together)
    [of_all] = run_pretraining(replace(together, videos="all"))
    for url, dataset, num_test in zip(datasets.split(","), ("first", "second"), (12, 4), strict=True):
        alone = replace(together, dataset=dataset, store=url)
        records = run_evaluation(alone, protocols=("knn",), representations=("x+cls",), checkpoints=(of_training,))
        assert [(record.seen, record.num_test) for record in records] == [(False, num_test)]
        with pytest.raises(ValueError, match="was pre-trained on test videos of this split"):
            run_evaluation(alone, protocols=("knn",), representations=("x+cls",), checkpoints=(of_all,))


def test_several_data_sets_are_embedded_and_searched_as_one(run_cli: Run, datasets: str, request_for: Requests) -> None:
    """Their videos are told apart by ids that carry the data set's name; of a path that both have, the first's."""
    [checkpoint] = run_pretraining(replace(request_for(datasets), dataset="first,second"))
    assert "71 videos, 1 without features left out" in run_cli("embed", datasets, "--checkpoint", checkpoint).stdout
    group = zarr.open_group("embeddings.zarr", mode="r")
    assert group.attrs["dataset"] == "first,second"
    ids, paths = group["id"][:].tolist(), group["path"][:].tolist()
    assert (ids[0], paths[0], ids[40], paths[40]) == ("first:a/00.mp4", "a/00.mp4", "second:a/00.mp4", "a/00.mp4")
    stored = open_stores(datasets.split(",")[1]).read_features("random", "tiny")
    vectors = embed_videos(load_aggregator(checkpoint).model, stored.take(np.array([5])), flips=True)
    np.testing.assert_allclose(group["cls"][ids.index("second:b/05.mp4")], vectors.cls[0], atol=1e-5)

    found = run_search(SearchRequest(datasets, "second:b/05.mp4", checkpoint, top=100))
    again = run_search(SearchRequest(datasets, "45", checkpoint, top=100, embeddings=Path("embeddings.zarr")))
    assert (found.query, len(found.hits), found.num_searched) == ("second:b/05.mp4", 70, 71)
    assert [(hit.id, hit.path) for hit in found.hits] == [(hit.id, hit.path) for hit in again.hits]
    assert {hit.id for hit in found.hits} == set(ids) - {found.query}
    assert run_search(SearchRequest(datasets, "b/05.mp4", checkpoint)).query == "first:b/05.mp4"
    shown = run_cli("search", datasets, "--query", "45", "--checkpoint", checkpoint, "--top", 71).stdout
    assert "first:a/00.mp4" in shown
    assert " a/38.mp4" in shown  # the first data set alone has such a path


def test_videos_of_a_third_data_set_were_not_seen(
    tmp_path: Path, make_store: MakeStore, datasets: str, request_for: Requests
) -> None:
    together = replace(request_for(datasets), dataset="first,second", videos="all")
    [checkpoint] = run_pretraining(together)
    third = replace(together, dataset="third", store=rename(make_store(tmp_path / "c.zarr"), "third"), videos=None)
    records = run_evaluation(third, protocols=("knn",), representations=("x+cls",), checkpoints=(checkpoint,))
    assert [record.seen for record in records] == [False]
    assert records[0].pretrained_on.startswith("first,second@")


@pytest.mark.parametrize("named", ["second,first", "first", "first,third", "folder"])
def test_data_sets_are_named_as_the_stores_hold_them(datasets: str, request_for: Requests, named: str) -> None:
    expected = "hold first, second, not|do not go together: they hold the data sets 'first' and 'second'"
    with pytest.raises(PlanMismatchError, match=expected):
        run_pretraining(replace(request_for(datasets), dataset=named))


def test_a_data_set_without_that_split_is_refused(datasets: str, request_for: Requests) -> None:
    videos = Path(datasets.split(",")[1]) / "videos"
    (videos / "split_1").rename(videos / "split_2")
    with pytest.raises(ValueError, match=r"second: no split '1' in this data set; it has: 2"):
        run_pretraining(replace(request_for(datasets), dataset="first,second"))


def test_several_data_sets_are_not_evaluated_at_once(run_cli: Run, datasets: str) -> None:
    result = run_cli("knn", "--dataset", "first,second", "--store", datasets, status=1)
    assert "evaluate each by itself: --dataset first --checkpoint runs/first+second/…" in result.stderr


def test_streaming_learns_from_the_same_videos(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    stores = f"{make_store(tmp_path / 'a.zarr')},{make_store(tmp_path / 'b.zarr', prefix='new', failed=(3,))}"
    request = request_for(stores)
    [streamed] = run_pretraining(request, resources=STREAMED)
    [resident] = run_pretraining(replace(request, label="resident"))
    records = [load_record(path) for path in (streamed, resident)]
    assert records[0].training_video_ids == records[1].training_video_ids
    assert len(records[0].training_video_ids) == 55
    assert records[0].is_complete
    run_evaluation(request, protocols=("knn",))


def test_where_features_live_is_said_in_one_line(
    run_cli: Run, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    lines = run_cli(*command).stderr.splitlines()
    assert sum(line.startswith("features: in memory (") for line in lines) == 1
    result = run_cli(*command, "--label", "other", "--residency", "stream")
    assert "features: streamed from the store (" in result.stderr


def test_a_memory_limit_that_is_too_small_is_one_line(
    run_cli: Run, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    store = make_store(tmp_path / "a.zarr")
    result = run_cli(
        "pretrain", "--dataset", "folder", "--store", store, *small_training, "--memory-limit", "0.00001", status=1
    )
    assert "raise --memory-limit by" in result.stderr.splitlines()[-1]


def test_devices_are_a_number_or_auto(run_cli: Run) -> None:
    assert "neither a number of devices nor auto" in run_cli("pretrain", "--devices", "two", status=2).stderr
    assert "neither" in run_cli("pretrain", "--devices", "0", status=2).stderr


@pytest.mark.parametrize("first", [True, False])
def test_what_all_ranks_would_say_is_said_once(
    run_cli: Run,
    make_store: MakeStore,
    small_training: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: bool,
) -> None:
    monkeypatch.setattr("scale_video.aggregate.devices.is_first_rank", lambda: first)
    store = make_store(tmp_path / "a.zarr")
    command = ("pretrain", "--dataset", "folder", "--store", store, *small_training)
    result = run_cli(*command, "--set", "pretrain.batch_size=4096")
    assert result.stderr.count("batch_size lowered from 4096") == int(first)
