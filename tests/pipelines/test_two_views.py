"""Pre-training on two views of a store, and what the probes make of such a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from scale_video.aggregate.checkpoint import CheckpointError, load_record
from scale_video.evaluate.result import read_results
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest, results_path
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.read import FeatureStore

Cli = Callable[..., Result]
MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]


def pretrain(run_cli: Cli, store: str, small_training: tuple[str, ...], *options: object, status: int = 0) -> Result:
    return run_cli("pretrain", "--dataset", "folder", "--store", store, *small_training, *options, status=status)


def test_a_checkpoint_names_both_views_and_is_evaluated(
    run_cli: Cli, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...], request_for: Requests
) -> None:
    url = make_store(tmp_path / "a.zarr", failed=(3,))
    path = Path(pretrain(run_cli, url, small_training, "--views", "random,grid").stdout.strip())
    store, record = FeatureStore.open(url), load_record(path)
    assert {key: record.provenance[key] for key in ("view", "plan_digest", "second_view", "second_plan_digest")} == {
        "view": "random",
        "plan_digest": store.plan_digest("random"),
        "second_view": "grid",
        "second_plan_digest": store.plan_digest("grid"),
    }
    assert len(record.training_video_ids) == 27  # without the one that has no features
    config = json.loads(path.with_name("config.json").read_text())
    assert (config["second_view"], config["weights_digest"]) == ("grid", "w0")
    run_cli("knn", "--dataset", "folder", "--store", url, "--representations", "x,x+cls")
    [learned] = [r for r in read_results(results_path(request_for(url))) if r.representation == "x+cls"]
    assert learned.plan_digest == store.plan_digest("random")
    assert 0 <= learned.value <= 1


def test_order_of_views_and_their_number_make_another_training(
    run_cli: Cli, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    url = make_store(tmp_path / "a.zarr")
    first = pretrain(run_cli, url, small_training, "--views", "random,grid").stdout
    assert pretrain(run_cli, url, small_training, "--views", "random,grid").stdout == first  # complete
    for other in ("grid,random", "random"):
        message = pretrain(run_cli, url, small_training, "--views", other, status=1).stderr
        assert "is of another training (provenance." in message
    swapped = ("--views", "grid,random", "--label", "swapped")
    pretrain(run_cli, url, small_training, *swapped)
    run_cli("knn", "--dataset", "folder", "--store", url, "--representations", "cls", "--label", "swapped")


def test_another_plan_of_the_second_view_is_refused(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first view, which the probes read, is the same."""
    request = request_for(make_store(tmp_path / "a.zarr"))
    both = ExperimentRequest(
        dataset="folder", store=request.store, preset="honest", overrides=request.overrides, runs=request.runs,
        views=("random", "grid"),
    )  # fmt: skip
    run_pretraining(both)
    digest = FeatureStore.plan_digest
    monkeypatch.setattr(
        FeatureStore, "plan_digest", lambda store, view: "0" * 32 if view == "grid" else digest(store, view)
    )
    with pytest.raises(CheckpointError, match=r"on other features than these \(second_plan_digest: .* != '0000"):
        run_evaluation(request, protocols=("knn",), representations=("cls",))


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ("random,random", "--views names one view, or two that give a set of clips each, got random,random"),
        ("random,grid,augmented", "--views names one view, or two that"),
        ("grid", r"the probes read view 'random', which pre-training would not see; name it among --views \(VIEWS=\)"),
        ("random,augmented", "has no view 'augmented'; it has: grid, random"),
    ],
)
def test_views_that_cannot_be_trained_on(
    run_cli: Cli, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...], views: str, message: str
) -> None:
    stderr = pretrain(run_cli, make_store(tmp_path / "a.zarr"), small_training, "--views", views, status=1).stderr
    with pytest.raises(ValueError, match=message):
        raise ValueError(stderr)


def test_views_of_different_weights_are_refused(
    run_cli: Cli, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    url = make_store(tmp_path / "a.zarr", grid_weights_digest="w1")
    assert (
        "view 'grid' come from other weights than those in view 'random'"
        in pretrain(run_cli, url, small_training, "--views", "random,grid", status=1).stderr
    )


def test_one_view_of_its_own_with_the_probes_on_it(
    run_cli: Cli, tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    url = make_store(tmp_path / "a.zarr")
    chosen = ("--set", "train_view=grid")
    path = Path(pretrain(run_cli, url, small_training, "--views", "grid", *chosen).stdout.strip())
    assert load_record(path).provenance["view"] == "grid"
    assert "second_view" not in load_record(path).provenance
    run_cli("knn", "--dataset", "folder", "--store", url, "--representations", "cls", *chosen)
    assert np.isfinite(read_results(Path("runs/folder/results.json"))[0].value)
