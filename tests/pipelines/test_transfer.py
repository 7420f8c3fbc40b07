"""Checkpoints of other stores, fewer clips at test, and pre-training on all videos: which rows come of them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from scale_video.aggregate.checkpoint import CheckpointError, load_aggregator
from scale_video.aggregate.embed import embed_videos
from scale_video.evaluate.clip_draw import ClipDraw
from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.result import read_results
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest, run_dir
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.read import FeatureStore

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]


def test_a_transfer_probes_the_other_stores_features(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    elsewhere = replace(request_for(make_store(tmp_path / "a.zarr")), runs=tmp_path / "a-runs")
    [checkpoint] = run_pretraining(elsewhere)
    here = request_for(make_store(tmp_path / "b.zarr", seed=1))
    [record] = run_evaluation(here, protocols=("knn",), representations=("cls",), checkpoints=[checkpoint])
    store = FeatureStore.open(here.store)
    model = load_aggregator(checkpoint).model
    train, test = (
        embed_videos(model, store.read_features(view, "tiny", store.videos.in_split("1", part)), flips=flips).cls
        for view, part, flips in (("random", "train", True), ("grid", "test", False))
    )
    labels = store.videos.labels["label"]
    predicted = knn_predict(train, labels[:28], test, num_classes=2).classes
    assert record.value == pytest.approx((predicted == labels[28:]).mean())
    assert (record.pretrained_on.split("@")[0], record.pretrain_videos) == ("folder", "train")
    np.testing.assert_array_equal(read_outcomes(tmp_path / "runs/folder" / record.outcomes).predictions, predicted)


def test_rows_of_a_transfer_lie_beside_the_experiments_own(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    elsewhere = replace(request_for(make_store(tmp_path / "a.zarr")), runs=tmp_path / "a-runs", num_seeds=2)
    run_pretraining(elsewhere)
    here = request_for(make_store(tmp_path / "b.zarr", seed=1))
    run_pretraining(here)
    folder = run_dir(elsewhere, backbone="tiny", seed=0).parent
    run_evaluation(here, protocols=("knn",), representations=("x", "cls"))
    run_evaluation(here, protocols=("knn",), representations=("x", "cls"), checkpoints=[folder])
    copied = shutil.copytree(folder, tmp_path / "copied")  # another training, to all appearances
    for checkpoint in copied.glob("seed*/last.ckpt"):
        content = torch.load(checkpoint, weights_only=True)
        content["scale_video"]["provenance"]["dataset"] = "elsewhere"
        torch.save(content, checkpoint)
    twice = run_evaluation(here, protocols=("knn",), representations=("init",), checkpoints=[folder, copied])
    assert [record.seed for record in twice] == [0, 1]  # untrained, they are the same
    kept = [
        (r.representation, r.pretrained_on != "", r.seed)
        for r in read_results(tmp_path / "runs/folder/results.json")
        if r.representation != "init"
    ]
    assert kept == [("x", False, None), ("cls", False, 0), ("cls", True, 0), ("cls", True, 1)]


def test_what_cannot_be_transferred_is_refused(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    elsewhere = replace(request_for(make_store(tmp_path / "a.zarr")), runs=tmp_path / "a-runs")
    [checkpoint] = run_pretraining(elsewhere)
    other_weights = request_for(make_store(tmp_path / "b.zarr", weights_digest="w1"))
    with pytest.raises(CheckpointError, match=r"other weights than these \(weights_digest: 'w0' != 'w1'\); a transfer"):
        run_evaluation(other_weights, protocols=("knn",), checkpoints=[checkpoint])
    here = request_for(make_store(tmp_path / "c.zarr", seed=1))
    with pytest.raises(CheckpointError, match="are of one training and seed"):
        run_evaluation(here, protocols=("knn",), checkpoints=[checkpoint, checkpoint])
    with pytest.raises(CheckpointError, match=r"neither last.ckpt nor seed0/last.ckpt"):
        run_evaluation(here, protocols=("knn",), checkpoints=[tmp_path])


def test_a_transfer_whose_aggregator_saw_test_videos_is_refused(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    """Another draw of clips of the same videos is no other data set."""
    elsewhere = replace(request_for(make_store(tmp_path / "a.zarr")), runs=tmp_path / "a-runs", videos="all")
    [checkpoint] = run_pretraining(elsewhere)
    here = request_for(make_store(tmp_path / "b.zarr", seed=1))
    with pytest.raises(ValueError, match="was pre-trained on test videos of this split"):
        run_evaluation(here, protocols=("knn",), checkpoints=[checkpoint])
    records = run_evaluation(
        here, protocols=("knn",), representations=("cls",), checkpoints=[checkpoint], allow_seen=True
    )
    assert [(record.seen, record.pretrain_videos) for record in records] == [(True, "all")]


def test_all_videos_have_runs_and_rows_of_their_own(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    on_train = request_for(make_store(tmp_path / "a.zarr"))
    on_all = replace(on_train, videos="all")
    assert (on_train.experiment, on_all.experiment) == ("honest", "honest-all-videos")
    assert replace(on_train, videos="train").experiment == "honest"
    assert replace(on_all, label="mine").experiment == "mine"
    num_trained = []
    for experiment in (on_train, on_all):
        [checkpoint] = run_pretraining(experiment)
        num_trained.append(len(load_aggregator(checkpoint).training_video_ids))
        run_evaluation(experiment, protocols=("knn",), representations=("cls",), allow_seen=True)
    assert num_trained == [28, 40]
    rows = read_results(tmp_path / "runs/folder/results.json")
    assert [(row.preset, row.pretrain_videos, row.seen) for row in rows] == [
        ("honest", "train", False),
        ("honest-all-videos", "all", True),
    ]


def test_fewer_clips_at_test(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    here = request_for(make_store(tmp_path / "a.zarr"))
    run_pretraining(here)
    draws = [None, ClipDraw(16), ClipDraw(2, seed=0), ClipDraw(2, seed=1)]
    records = run_evaluation(here, protocols=("knn",), representations=("x", "x-whitened", "cls"), clip_draws=draws)
    for name in ("x", "x-whitened", "cls"):
        rows = {tuple(record.options.values()): record for record in records if record.representation == name}
        assert rows.keys() == {(), (16, 0), (2, 0), (2, 1)}
        outcomes = {
            key: read_outcomes(tmp_path / "runs/folder" / row.outcomes).predictions for key, row in rows.items()
        }
        np.testing.assert_array_equal(outcomes[16, 0], outcomes[()])  # all clips, in another order
        assert (outcomes[2, 0] != outcomes[2, 1]).any()
    assert len(read_results(tmp_path / "runs/folder/results.json")) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clips", "two"), "--clips 'two' is no number of clips; say for example 1,2,4,8"),
        (("--clips", "0"), "--clips '0' is no number of clips"),
        (("--clip-draws", 2), "--clip-draws needs --clips"),
        (("--share-seed", 1), "--share-seed needs a --train-share below 1"),
        (("--checkpoint", ".", "--seeds", 2), "--seeds and --videos are of the experiment's own aggregators"),
        (("--checkpoint", ".", "--videos", "all"), "--seeds and --videos are of the experiment's own aggregators"),
    ],
)
def test_bad_options(run_cli: Callable[..., Result], arguments: tuple[object, ...], message: str) -> None:
    assert message in run_cli("knn", "--dataset", "folder", *arguments, status=1).output


def test_options_that_no_protocol_heeds_are_refused(run_cli: Callable[..., Result]) -> None:
    refused = run_cli("evaluate", "--dataset", "folder", "--protocols", "linear", "--k", 5, status=1).output
    assert "--k is of k-NN, which is not among the protocols (linear)" in refused
    both = run_cli("nonlinear", "--dataset", "folder", "--per-clip", "--unfreeze", status=1).output
    assert "--per-clip and --unfreeze are two protocols" in both


def test_the_command_line(
    tmp_path: Path,
    make_store: MakeStore,
    run_cli: Callable[..., Result],
    small_training: tuple[str, ...],
) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        make_store(tmp_path / f"{name}.zarr", seed=seed)
    common = ("--dataset", "folder", *small_training)
    run_cli("pretrain", "--store", "a.zarr", "--runs", "a-runs", "--videos", "all", *common)
    result = run_cli(
        "knn", "--store", "b.zarr", *common, "--checkpoint", "a-runs/folder/tiny/split1/honest-all-videos",
        "--allow-seen", "--clips", "4,8", "--clip-draws", 2, "--representations", "x,cls",
    )  # fmt: skip
    assert "cls" in result.output
    rows = read_results(Path("runs/folder/results.json"))
    assert len(rows) == 2 * 2 * 2
    assert {row.pretrained_on.split("@")[0] for row in rows} == {"", "folder"}
