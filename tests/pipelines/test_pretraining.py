"""What a run folder says of the run in it, also of one that was interrupted or refused."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from scale_video.aggregate.checkpoint import CheckpointError, TrainingRecord, load_record
from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.pipelines.candidates import candidates_of_seed
from scale_video.pipelines.paths import ExperimentRequest, open_store
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.probe_side import ProbeSides, read_side
from scale_video.pipelines.seed_runs import own_runs
from scale_video.store.lock import StoreLock
from scale_video.store.lock_file import LockOwner

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


def test_lengths_and_rates_are_options_of_the_command(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)

    def trained(*options: object) -> TrainingRecord:
        return load_record(Path(run_cli(*command, "--restart", *options).stdout.strip()))

    record = trained("--steps", 5, "--batch-size", 4, "--learning-rate", 2e-5)
    assert (record.config.steps, record.config.batch_size, record.config.learning_rate) == (5, 4, 2e-5)
    assert (record.steps_done, record.epochs_done, record.is_complete) == (5, 0, True)
    record = trained("--minutes", 0.005)
    assert record.config.minutes == 0.005
    assert record.is_complete
    record = trained("--set", "pretrain.steps=100", "--epochs", 1)
    assert (record.config.steps, record.config.epochs, record.epochs_done) == (0, 1, 1)
    refused = run_cli(*command, "--epochs", 1, "--steps", 5, status=1).stderr
    assert "--epochs and --steps both say how long to train; give one of them" in refused


def test_the_end_says_how_it_went(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    first = run_cli(*command)
    checkpoint = Path(first.stdout.strip())
    *_, row = csv.DictReader(checkpoint.with_name("metrics.csv").read_text().splitlines())
    end = first.stderr.splitlines()[-1]
    assert re.search(r"seed0/last\.ckpt: 2 epochs in \d+(\.\d)? s, [1-9]\d* videos/s; loss \d", end), end
    shown = (f"{float(row[name]):.3f}" for name in ("loss", "masked_clip_accuracy", "set_accuracy"))
    assert end.endswith("; loss {}, accuracy of masked clips {}, of sets {}".format(*shown))
    assert run_cli(*command).stderr.splitlines()[-1] == end  # also of a training that is complete
    checkpoint.with_name("metrics.csv").unlink()
    assert run_cli(*command).stderr.splitlines()[-1].endswith("seed0/last.ckpt: 2 epochs")


def test_two_trainings_do_not_share_a_run_folder(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    folder = tmp_path / "runs/folder/tiny/split1/seed0"
    with StoreLock.acquire(folder, purpose="pretrain") as lock:
        refused = run_cli(*command, status=1).stderr.splitlines()[-1]
        assert refused.startswith(f"error: run folder '{folder}' is in use by `pretrain` of ")
        assert refused.endswith("run the command again with --break-lock")
        assert [path.name for path in folder.iterdir()] == ["lock.json"]
        assert Path(run_cli(*command, "--break-lock").stdout.strip()).name == "last.ckpt"
        assert not (folder / "lock.json").exists()
        lock.lost = "it was broken"  # by the training above, so nothing is there to give back
    with StoreLock.acquire(folder, purpose="pretrain"):
        run_cli(*command)  # complete: nothing is written, nothing need be held


def test_the_lock_of_a_training_that_was_killed_is_taken_over(
    run_cli: Callable[..., Result], tmp_path: Path, make_store: MakeStore, small_training: tuple[str, ...]
) -> None:
    command = ("pretrain", "--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    folder = tmp_path / "runs/folder/tiny/split1/seed0"
    folder.mkdir(parents=True)
    killed = replace(LockOwner.of_this_process("pretrain"), process_started="1")
    (folder / "lock.json").write_bytes(killed.to_bytes())
    said = run_cli(*command).stderr
    assert f"warning: took the lock of run folder '{folder}' over from `pretrain`" in said
    assert {path.name for path in folder.iterdir()} >= {"last.ckpt", "metrics.csv"}
    assert not (folder / "lock.json").exists()


def test_evaluation_reads_the_positions_of_the_checkpoint(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"), "pretrain.model.positions=absolute")
    run_pretraining(request)
    store, preset = open_store(request), request.load_preset()
    [run] = own_runs(request, store, preset, backbone="tiny")
    train, test = (read_side(store, "1", part, view="random", backbone="tiny") for part in ("train", "test"))
    sides = ProbeSides(train, None, (test,))
    for candidate in candidates_of_seed(run, sides, wanted=("init", "cls"), device="cpu"):
        clips = candidate.clips_of(test)
        expected = normalise_coordinates(
            test.features.coordinates, test.features.valid, flips=test.flips, positions="absolute"
        )
        np.testing.assert_array_equal(clips.coordinates, expected)
        assert candidate.encoder is not None
        with torch.no_grad():
            vectors = candidate.encoder.eval()(
                torch.from_numpy(clips.features).float(), torch.from_numpy(expected), torch.from_numpy(clips.valid)
            )
        np.testing.assert_allclose(candidate.test, vectors.mean(dim=1), atol=1e-5)  # all clips are valid
