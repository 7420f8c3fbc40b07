"""Columns other than the one label, a validation part, and the choice on test, from the command line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from sklearn.metrics import average_precision_score

from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.per_clip import clip_probe
from scale_video.evaluate.result import read_results
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import SPLIT_CODES, VideoTable
from scale_video.store.write import BlockWriter

NUM_VIDEOS = 60
PARTS = np.repeat([1, 2, 3], [32, 10, 18]).astype(np.uint8)  # train, validation, test
RUN = ("--dataset", "table", "--store", "a.zarr", "--representations", "x", "--set", "test_view=random")


@pytest.fixture
def failed() -> tuple[str, ...]:
    """Parts of the splits of which no video could be read."""
    return ()


@pytest.fixture
def store(failed: tuple[str, ...]) -> None:
    """``a.zarr`` with a class, sets of classes and a number for each video, all of which its features tell of."""
    rng = np.random.default_rng(0)
    ids = tuple(f"{row:02d}.mp4" for row in range(NUM_VIDEOS))
    clips = rng.normal(size=(NUM_VIDEOS, 1, 6)) + 0.5 * rng.normal(size=(NUM_VIDEOS, 8, 6))
    mean = clips.mean(axis=1)
    shown = (mean[:, 1:4] > 0.3).astype(np.int8)
    shown[[0, 59]] = -1
    views = (1000 + 100 * mean[:, 4]).astype(np.float32)
    views[1] = np.nan
    videos = VideoTable(
        ids=ids,
        paths=ids,
        groups=ids,
        labels={"label_scene": (mean[:, 0] > 0).astype(np.int32)},
        class_names={"label_scene": ("indoors", "outdoors"), "labels": ("cat", "dog", "owl")},
        splits={
            "1": PARTS,
            "2": np.where(PARTS == 2, 1, PARTS).astype(np.uint8),
            "views": PARTS,
            "untested": np.where(PARTS == 3, 0, PARTS).astype(np.uint8),
        },
        label_sets={"labels": shown},
        targets={"target_views": views},
    )
    probe = VideoProbe(VideoStatus.OK, duration_seconds=5, frames_per_second=10, num_frames=50, height=4, width=4)
    valid = np.ones(clips.shape[:2], dtype=bool)
    plan = ClipPlan(
        view="random",
        parameters={"seed": 0},
        coordinates=rng.random((*valid.shape, 7), dtype=np.float32),
        valid=valid,
        planned=np.ones(NUM_VIDEOS, dtype=bool),
    )
    create_store("a.zarr", videos=videos, probes=[probe] * NUM_VIDEOS, plans=[plan],
                 attributes={"dataset": "table"}, block_size=NUM_VIDEOS)  # fmt: skip
    add_backbone("a.zarr", view="random", name="tiny", feature_dim=6, weights_digest="w", attributes={})
    there = ~np.isin(PARTS, [SPLIT_CODES[part] for part in failed])
    status = np.where(there, VideoStatus.OK, VideoStatus.CORRUPT).astype(np.uint8)
    clips[~there] = np.nan
    errors = tuple("" if ok else "no frames" for ok in there)
    block = FeatureBlock(0, clips.astype(np.float16), valid & there[:, None], status, errors)
    BlockWriter("a.zarr", view="random", backbone="tiny").write(block)


@pytest.fixture
def evaluate(run_cli: Callable[..., Result], store: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command on that store, with a short training on clips."""

    def short(*arguments, config, **options):
        config = replace(config, max_epochs=4, hidden_dim=8, output_dim=8, learning_rate=0.3)
        return clip_probe(*arguments, config=config, **options)

    monkeypatch.setattr("scale_video.evaluate.protocols.clip_probe", short)
    return lambda *arguments, status=0, command="evaluate": run_cli(command, *RUN, *arguments, status=status)


def test_each_kind_of_target_has_its_metrics_and_rows(evaluate: Callable[..., Result]) -> None:
    protocols = ("--protocols", "knn,linear,linear-per-clip", "--no-pictures")
    for target, metrics in (
        ("label_scene", {"top1"}),
        ("labels", {"map", "lrap"}),
        ("target_views", {"mse"}),
    ):
        found = json.loads(evaluate("--target", target, *protocols, "--json").stdout)["records"]
        assert {row["metric"] for row in found} == metrics
        assert {row["target"] for row in found} == {target}
    records = read_results(Path("runs/table/results.json"))
    assert len(records) == 3 * (1 + 2 + 1)
    for record in records:
        assert record.num_train == 32 - (record.target != "label_scene")
        assert record.num_test == 18 - (record.target == "labels")
        assert ("chosen on 10 validation videos" in record.note) == (record.protocol != "knn")
        outcomes = read_outcomes(Path("runs/table") / record.outcomes)
        assert len(outcomes.labels) == len(outcomes.predictions) == record.num_test
        if record.metric == "mse":
            errors = (outcomes.predictions - outcomes.labels) ** 2
            assert record.value == pytest.approx(errors.mean(), rel=1e-4)
            assert record.value < 0.7 * outcomes.labels.var()
        elif record.metric != "map":
            assert record.value == pytest.approx(outcomes.scores[record.metric].mean())
            assert record.value > 0.6


def test_without_a_validation_part_there_is_a_hold_out(evaluate: Callable[..., Result]) -> None:
    arguments = ("--target", "label_scene", "--protocols", "linear", "--split", "2", "--no-pictures")
    [record] = json.loads(evaluate(*arguments, "--json").stdout)["records"]
    assert (record["num_train"], record["note"]) == (42, "")


def test_the_choice_on_test_is_a_row_of_its_own(evaluate: Callable[..., Result]) -> None:
    for options in ((), ("--set", "evaluate.selection=test")):
        evaluate("--target", "label_scene", "--per-clip", *options, command="linear")
    honest, published = read_results(Path("runs/table/results.json"))
    assert (honest.options, published.options) == ({}, {"selection_on_test": 1})
    assert "epochs and averaging were chosen on test, as published" in published.note
    assert "on test" not in honest.note
    shown = evaluate(
        "--target", "label_scene", "--per-clip", "--set", "evaluate.selection=test", command="linear"
    ).stdout
    assert "chosen on test" in shown


def test_what_does_not_apply_is_left_out_and_named(evaluate: Callable[..., Result]) -> None:
    arguments = ("--target", "target_views", "--no-pictures")
    result = evaluate(*arguments, "--protocols", "knn,retrieval,fine-tuning")
    assert "retrieval, fine-tuning cannot be run on x and this target: left out" in result.stderr
    result = evaluate(*arguments, "--protocols", "retrieval", status=1)
    assert "retrieval cannot be run on x and this target; name other --representations" in result.stderr


def test_a_column_that_is_not_there_is_refused_with_those_that_are(evaluate: Callable[..., Result]) -> None:
    for arguments, name in (((), "label"), (("--target", "label_genre"), "label_genre")):
        result = evaluate(*arguments, status=1)
        assert (
            f"data set 'table' has no column '{name}' to predict; say --target label_scene or labels or target_views"
            in (result.stderr)
        )


@pytest.mark.parametrize(("failed", "spoken"), [(("test",), "18 test"), (("train",), "32 training")])
def test_a_part_without_features_is_refused_before_anything_is_probed(
    evaluate: Callable[..., Result], spoken: str
) -> None:
    for representation in ("x", "x-whitened", "init"):
        result = evaluate("--target", "label_scene", "--representations", representation, status=1)
        refusal = (
            f"0 of {spoken} videos of split '1' have features of 'tiny' in view 'random'; "
            "`scale-video failures a.zarr` lists why"
        )
        assert refusal in " ".join(result.stderr.split())


def test_a_split_without_test_videos_is_refused(evaluate: Callable[..., Result]) -> None:
    result = evaluate("--target", "label_scene", "--split", "untested", status=1)
    assert "split 'untested' has no test videos; name another --split" in result.stderr


@pytest.mark.parametrize("failed", [("validation",)])
def test_a_validation_part_without_features_counts_as_none_and_is_said(evaluate: Callable[..., Result]) -> None:
    arguments = ("--target", "label_scene", "--protocols", "knn,linear,linear-per-clip", "--no-pictures")
    notes = {row["protocol"]: row["note"] for row in json.loads(evaluate(*arguments, "--json").stdout)["records"]}
    said = "none of 10 validation videos has features, so nothing is chosen on them"
    assert notes == {"knn": "", "linear": said, "linear-per-clip": said}


def test_another_target_than_the_splits_own_is_said(evaluate: Callable[..., Result]) -> None:
    arguments = ("--split", "views", "--protocols", "knn", "--no-pictures")
    said = "split 'views' has a column of its own, 'target_views'; predicting 'label_scene' as --target says"
    result = evaluate(*arguments, "--target", "label_scene")
    assert said in " ".join(result.stderr.split())
    result = evaluate(*arguments, "--json")
    assert "a column of its own" not in result.stderr
    assert {row["target"] for row in json.loads(result.stdout)["records"]} == {"target_views"}


def test_a_share_that_leaves_a_single_number_is_refused(evaluate: Callable[..., Result]) -> None:
    result = evaluate("--target", "target_views", "--train-share", "0.01", "--protocols", "knn", status=1)
    assert "--train-share 0.01 keeps 1 of 31: give a larger --train-share" in " ".join(result.stderr.split())


@pytest.mark.parametrize("target", ["labels", "target_views"])
def test_pictures_that_need_classes_are_not_drawn(evaluate: Callable[..., Result], target: str) -> None:
    evaluate("--target", target, "--protocols", "knn", "--pictures")


def test_scores_per_class_need_classes(evaluate: Callable[..., Result]) -> None:
    result = evaluate("--target", "target_views", "--per-class", status=1)
    assert "--per-class needs videos with classes, and 'target_views' holds numbers" in result.stderr


def test_classes_of_sets_have_the_precisions_whose_mean_is_the_score(evaluate: Callable[..., Result]) -> None:
    arguments = ("--target", "labels", "--protocols", "knn,linear", "--representations", "x", "--per-class", "--json")
    found = json.loads(evaluate(*arguments).stdout)
    records = [record for record in found["records"] if record["metric"] == "map"]
    assert len(records) == 2
    for record in records:
        rows = [row for row in found["per_class"] if row["protocol"] == record["protocol"]]
        outcomes = read_outcomes(Path("runs/table") / record["outcomes"])
        relevant = outcomes.labels == 1
        expected = [
            average_precision_score(relevant[:, c], outcomes.predictions[:, c])
            for c in np.flatnonzero(relevant.any(axis=0))
        ]
        assert [row["value"] for row in rows] == pytest.approx(expected)
        assert np.mean([row["value"] for row in rows]) == pytest.approx(record["value"])
        assert [row["num_test"] for row in rows] == relevant.sum(axis=0)[relevant.any(axis=0)].tolist()
        assert all(0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1 for row in rows)


def test_comparisons_are_of_metrics_that_are_means_over_videos(evaluate: Callable[..., Result]) -> None:
    arguments = ("--target", "labels", "--protocols", "knn", "--compare", "x,x-bins2", "--json")
    found = json.loads(evaluate(*arguments).stdout)["comparisons"]
    assert [row["metric"] for row in found] == ["lrap"]


def test_windows_are_predicted_and_averaged_where_the_preset_says_so(evaluate: Callable[..., Result]) -> None:
    of_windows = ("--no-pictures", "--set", "evaluate.window_seconds=0.3", "--json")
    for target, protocols in (("label_scene", "knn,linear,retrieval"), ("target_views", "linear")):
        found = json.loads(evaluate("--target", target, "--protocols", protocols, *of_windows).stdout)["records"]
        for row in found:
            assert row["num_test"] == 18
            assert row["options"] == ({} if row["protocol"] == "retrieval" else {"window_seconds": 0.3})
            assert ("mean over windows" in row["note"]) == (row["protocol"] != "retrieval")
            outcomes = read_outcomes(Path("runs/table") / row["outcomes"])
            assert len(set(outcomes.video_ids)) == len(outcomes.video_ids) == 18
    whole = json.loads(evaluate("--target", "label_scene", "--protocols", "knn", "--no-pictures", "--json").stdout)
    assert [row["options"] for row in whole["records"]] == [{}]  # a row of its own beside that of windows


def test_the_length_of_windows_is_checked(evaluate: Callable[..., Result]) -> None:
    result = evaluate("--target", "labels", "--set", "evaluate.window_seconds=-1", status=1)
    assert "window_seconds must be a length, or 0 for whole videos, got -1.0" in result.stderr
    result = evaluate("--target", "labels", "--set", "evaluate.window_seconds=long", status=1)
    assert "evaluate.window_seconds must be a number, got 'long'" in result.stderr
