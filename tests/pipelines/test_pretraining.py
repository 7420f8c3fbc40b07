"""What a run folder says of the run in it, also of one that was interrupted or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from scale_video.aggregate.checkpoint import CheckpointError, load_record
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining

Requests = Callable[..., ExperimentRequest]
MakeStore = Callable[..., str]


class Interrupted(Exception):
    pass


def stop(*arguments: object) -> None:
    raise Interrupted


def test_the_configuration_is_there_while_training(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scale_video.aggregate.lightning_module.SetPretraining.training_step", stop)
    with pytest.raises(Interrupted):
        run_pretraining(request_for(make_store(tmp_path / "a.zarr")))
    config = json.loads((tmp_path / "runs/folder/tiny/split1/seed0/config.json").read_text())
    assert config["pretrain"]["epochs"] == 2
    assert (config["backbone"], config["weights_digest"], config["preset"]) == ("tiny", "w0", "honest")


def test_a_refused_run_leaves_the_configuration_of_the_one_that_is_there(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "a.zarr")
    [checkpoint] = run_pretraining(request_for(store))
    config = checkpoint.with_name("config.json")
    before = (config.read_bytes(), config.stat().st_mtime_ns)
    with pytest.raises(CheckpointError, match=r"learning_rate.*or delete it .*`scale-video pretrain --restart`"):
        run_pretraining(request_for(store, "pretrain.learning_rate=0.01"))
    assert (config.read_bytes(), config.stat().st_mtime_ns) == before


def test_restarting_replaces_checkpoint_and_configuration(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    run_pretraining(request_for(make_store(tmp_path / "a.zarr")))
    other = request_for(make_store(tmp_path / "b.zarr", seed=1), "pretrain.learning_rate=0.01")
    [checkpoint] = run_pretraining(other, restart=True)
    assert load_record(checkpoint).config.learning_rate == 0.01
    assert json.loads(checkpoint.with_name("config.json").read_text())["pretrain"]["learning_rate"] == 0.01


def test_restart_is_an_option_of_the_command(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    run_cli(*command)
    other = ("--set", "pretrain.epochs=1")
    assert "--restart" in run_cli(*command, *other, status=1).stderr
    checkpoint = run_cli(*command, *other, "--restart").stdout.strip()
    assert load_record(Path(checkpoint)).epochs_done == 1
