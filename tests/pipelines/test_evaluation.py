"""Which checkpoints are evaluated on which features, what the control is, and what a row of results says."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scale_video.aggregate.checkpoint import CheckpointError, load_aggregator
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.evaluate.probe import evaluate_representation
from scale_video.evaluate.result import EvaluationRecord, read_results
from scale_video.pipelines import evaluation
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.read import FeatureStore

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]


def by_name(records: Sequence[EvaluationRecord]) -> dict[str, EvaluationRecord]:
    return {record.representation: record for record in records}


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"seed": 1}, "plan_digest: '[0-9a-f]{32}' != '[0-9a-f]{32}'"),
        ({"weights_digest": "w1"}, "weights_digest: 'w0' != 'w1'"),
    ],
)
def test_a_checkpoint_of_other_features_is_refused_by_name(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, other: dict, key: str
) -> None:
    [checkpoint] = run_pretraining(request_for(make_store(tmp_path / "a.zarr")))
    store = make_store(tmp_path / "b.zarr", **other)
    message = rf"'{checkpoint}' was trained on other features than these \({key}\); run `scale-video pretrain` again"
    with pytest.raises(CheckpointError, match=message):
        run_evaluation(request_for(store), protocols=("knn",))
    assert not (tmp_path / "runs/folder/results.json").exists()


def test_a_checkpoint_of_another_view_is_refused(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    store = make_store(tmp_path / "a.zarr")
    run_pretraining(request_for(store))
    turned = request_for(store, "train_view=grid", "test_view=random")
    with pytest.raises(CheckpointError, match=r"\(view: 'random' != 'grid'\)"):
        run_evaluation(turned, protocols=("knn",))


def test_a_union_of_stores_has_features_of_its_own(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    one, other = (make_store(tmp_path / f"{name}.zarr", prefix=name) for name in "ab")
    run_pretraining(request_for(f"{one},{other}"))
    records = by_name(run_evaluation(request_for(f"{one},{other}"), protocols=("knn",)))
    assert (records["x+cls"].num_train, records["x+cls"].num_test) == (56, 24)
    for part in (one, f"{other},{one}"):
        with pytest.raises(CheckpointError, match=r"trained on other features than these \(plan_digest: "):
            run_evaluation(request_for(part), protocols=("knn",))


def test_views_of_different_weights_are_refused(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    store = make_store(tmp_path / "a.zarr", grid_weights_digest="w1")
    with pytest.raises(ValueError, match=r"other weights than those in view 'random' \(weights_digest: 'w1' != 'w0'\)"):
        run_evaluation(request_for(store), protocols=("knn",))
    one_view = request_for(store, "test_view=random")
    assert run_evaluation(one_view, protocols=("knn",))


@pytest.mark.parametrize("shuffled", [False, True])
def test_init_is_the_control_of_the_checkpoint_beside_it(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch, shuffled: bool
) -> None:
    store = make_store(tmp_path / "a.zarr")
    [checkpoint] = run_pretraining(request_for(store, f"pretrain.shuffle_positions={str(shuffled).lower()}"))
    seen = {}

    def spy(config, *, feature_dim, seed):
        seen["config"] = config
        return initial_aggregator(config, feature_dim=feature_dim, seed=seed)

    vectors = {}

    def probe(train, *arguments, **options):
        vectors.setdefault(len(vectors), train)
        return evaluate_representation(train, *arguments, **options)

    monkeypatch.setattr("scale_video.pipelines.candidates.initial_aggregator", spy)
    monkeypatch.setattr(evaluation, "evaluate_representation", probe)
    plain = request_for(store, sizes=())  # the preset's own sizes, not those that were trained
    names = [record.representation for record in run_evaluation(plain, protocols=("knn",))]
    assert seen["config"] == load_aggregator(checkpoint).config
    dims = {name: vectors[index].shape[1] for index, name in enumerate(names)}
    assert dims["init"] == dims["x+cls"] == 4 + 32


def test_without_a_checkpoint_init_follows_the_preset(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    records = run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))
    assert [record.representation for record in records] == ["x", "x-bins2", "x-bins4", "x-whitened", "init"]


def test_a_row_says_what_it_is_of_and_how_it_came_about(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "a.zarr", failed=(0, 3, 39))
    records = run_evaluation(request_for(store), protocols=("knn", "linear"))
    assert read_results(tmp_path / "runs/folder/results.json") == sorted(records, key=lambda r: r.protocol)
    opened = FeatureStore.open(store)
    for record in records:
        assert record.plan_digest == opened.plan_digest("random")
        assert record.test_plan_digest == opened.plan_digest("grid")
        assert record.weights_digest == "w0"
        assert record.hyperparameters.keys() == ({"k", "temperature"} if record.protocol == "knn" else {"C"})
        assert (record.num_train, record.num_test) == (26, 11)
        assert "without features and left out: 2 training and 1 test videos" in record.note


def test_rows_of_other_features_are_kept_apart(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    for seed in (0, 1, 1):
        url = tmp_path / f"{seed}.zarr"
        store = str(url) if url.exists() else make_store(url, seed=seed)
        run_evaluation(request_for(store), protocols=("knn",))
    assert len(read_results(tmp_path / "runs/folder/results.json")) == 2 * 5


def test_a_damaged_results_file_is_refused_before_features_are_read(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "a.zarr")
    path = tmp_path / "runs/folder/results.json"
    path.parent.mkdir(parents=True)
    path.write_text("[{")
    monkeypatch.setattr(FeatureStore, "read_features", None)
    with pytest.raises(ValueError, match="is damaged, no JSON"):
        run_evaluation(request_for(store), protocols=("knn",))


def test_a_checkpoint_that_saw_test_videos_is_refused_before_features_are_read(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"), "pretrain_videos=all")
    run_pretraining(request)
    records = by_name(run_evaluation(request, protocols=("knn",), allow_seen=True))
    assert {name for name, record in records.items() if record.seen} == {"h", "cls", "x+cls", "x+h+cls"}
    monkeypatch.setattr(FeatureStore, "read_features", None)
    with pytest.raises(ValueError, match="was pre-trained on test videos of this split"):
        run_evaluation(request, protocols=("knn",))


def test_a_gpu_is_used_if_there_is_one(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def probe(*arguments, device, **options):
        raise Asked(device)

    monkeypatch.setattr(evaluation.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(evaluation, "evaluate_representation", probe)
    with pytest.raises(Asked, match="cuda"):
        run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))


def test_what_is_probed_is_kept_when_a_later_probe_fails(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("scale_video.pipelines.candidates.initial_aggregator", fail)
    with pytest.raises(MemoryError):
        run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))
    kept = json.loads((tmp_path / "runs/folder/results.json").read_text())
    assert [row["representation"] for row in kept] == ["x", "x-bins2", "x-bins4", "x-whitened"]
