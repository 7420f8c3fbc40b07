"""The demo command, small: every stage, the results file, and a second call that finds all done."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from scale_video.evaluate.result import add_records
from scale_video.extract.datasets.edited_videos import DemoParameters
from scale_video.pipelines import demo
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.read import FeatureStore

Cli = Callable[..., Result]
FIELDS = {
    "dataset", "split", "preset", "backbone", "representation", "protocol", "metric", "value", "ci_low", "ci_high",
    "num_train", "num_test", "seed", "checkpoint", "seconds",
}  # fmt: skip


@pytest.mark.slow
def test_three_seeds_with_both_controls(run_cli: Cli, small_training: tuple[str, ...]) -> None:
    arguments = ("demo", "--seeds", 2, "--videos", 36, 24, *small_training)
    first = run_cli(*arguments)
    results = Path("runs/demo/results.json")
    before = results.read_bytes()
    records = json.loads(before)
    assert all(record.keys() >= FIELDS for record in records)
    experiments = {(record["dataset"], record["preset"]) for record in records}
    assert experiments == {("demo", "demo"), ("demo", "demo-shuffled"), ("demo-control", "demo")}
    demo = [record for record in records if (record["dataset"], record["preset"]) == ("demo", "demo")]
    assert {record["protocol"] for record in demo} == {"knn", "linear", "nonlinear"}
    learned = [record for record in demo if record["representation"] == "x+cls"]
    assert [record["seed"] for record in learned if (record["protocol"], record["metric"]) == ("knn", "top1")] == [0, 1]
    assert all(Path(record["checkpoint"]).is_file() for record in learned)
    for record in demo:
        if record["representation"] in ("x", "x-bins2", "x-bins4", "x-whitened"):
            assert record["seed"] is None
            assert record["checkpoint"] is None
    assert "x+h+cls" in first.stdout
    assert (Path("data/demo/train").is_dir(), Path("data/demo-control/test").is_dir()) == (True, True)
    assert FeatureStore.open("features/demo.zarr").committed("random", "motion3d-ssl").all()

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    snippet: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)[0], snippet)
    assert snippet["features"].shape == (60, 16, 128)
    features = FeatureStore.open("features/demo.zarr").read_features("random", "motion3d-ssl")
    counts = features.valid.sum(axis=1, keepdims=True)
    exact = features.features.sum(axis=1, dtype=np.float64) / counts  # a mean in float16 is off by up to 1e-3
    assert snippet["mean"].dtype == np.float32
    np.testing.assert_allclose(snippet["mean"].values, exact, rtol=1e-5, atol=1e-6)
    assert set(snippet["videos"].split_1.values) == {1, 3}

    started = time.monotonic()
    second = run_cli(*arguments)
    assert time.monotonic() - started < 60
    assert results.read_bytes() == before
    assert second.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]  # but for the seconds it took
    assert second.stderr.count("evaluated already") == 3


def test_extract_renders_an_embedded_data_set_that_is_not_there(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    small = DemoParameters(variant="demo-hard", num_train=12, num_test=12)
    monkeypatch.setattr("scale_video.pipelines.rendering.DemoParameters", lambda variant, seed: small)
    run_cli("extract", "--dataset", "demo-hard", "--workers", 1, "--threads")
    assert FeatureStore.open("features/demo-hard.zarr").read_features("random", "motion3d-ssl").valid.all()
    assert len(list(Path("data/demo-hard").rglob("*.mp4"))) == 24


def test_an_evaluation_is_done_once_unless_its_marker_cannot_be_read(
    tmp_path: Path,
    make_store: Callable[..., str],
    request_for: Callable[..., ExperimentRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Evaluated(Exception):
        pass

    def evaluate(*arguments: object, **options: object) -> None:
        raise Evaluated

    experiment = request_for(make_store(tmp_path / "a.zarr", backbone=demo.DEMO_BACKBONE))
    run_pretraining(experiment)
    records = demo._evaluate_once(experiment, protocols=("knn",))
    monkeypatch.setattr(demo, "run_evaluation", evaluate)
    again = demo._evaluate_once(experiment, protocols=("knn",))
    assert {record.key for record in again} == {record.key for record in records}
    [learned] = [record for record in records if (record.representation, record.metric) == ("cls", "top1")]
    others = [replace(learned, pretrained_on="demo-hard@1a2b3c4d"), replace(learned, target="label_motion")]
    add_records(tmp_path / "runs/folder/results.json", others)  # as `scale-video evaluate` does
    again = demo._evaluate_once(experiment, protocols=("knn",))
    assert {record.key for record in again} == {record.key for record in records}
    with pytest.raises(Evaluated):
        demo._evaluate_once(experiment, protocols=("knn", "linear"))
    marker = tmp_path / "runs/folder/folder-honest.evaluated.json"
    for content in (b"", b"{", b"[]", b'{"fingerprint": "of something else"}', b"\xff"):
        marker.write_bytes(content)
        with pytest.raises(Evaluated):
            demo._evaluate_once(experiment, protocols=("knn",))


def test_rows_of_an_earlier_plan_are_not_shown_for_this_one(
    tmp_path: Path, make_store: Callable[..., str], request_for: Callable[..., ExperimentRequest]
) -> None:
    earlier, now = (
        request_for(make_store(tmp_path / f"{seed}.zarr", seed=seed, backbone=demo.DEMO_BACKBONE)) for seed in (0, 1)
    )
    run_pretraining(earlier)
    demo._evaluate_once(earlier, protocols=("knn",))
    run_pretraining(now, restart=True)
    records = demo._evaluate_once(now, protocols=("knn",))
    again = demo._evaluate_once(now, protocols=("knn",))  # from the file, which has the rows of both
    assert len(again) == len(records) == 9
    assert {record.plan_digest for record in again} == {FeatureStore.open(now.store).plan_digest("random")}
