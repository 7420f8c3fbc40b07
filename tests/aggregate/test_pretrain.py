import csv
import importlib.util
import logging
import math
import random
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback
from rich.progress import Progress

from scale_video.aggregate import pretrain as pretraining
from scale_video.aggregate import run_folder, stopwatch
from scale_video.aggregate.checkpoint import CheckpointError, load_aggregator, load_record
from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.held_signals import HeldSignals
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.lightning_module import TrainingDivergedError, warmup_cosine
from scale_video.aggregate.pretrain import pretrain
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.run_folder import PlainCheckpointIO
from scale_video.aggregate.set_transformer import SetTransformerConfig
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate
from scale_video.store.errors import StoreLostError
from scale_video.store.lock import StoreLock

PROVENANCE = {"store": "tiny.zarr", "weights_digest": "abc"}


class Interrupted(Exception):
    pass


class StopDuring(Callback):
    """A crash in the middle of an epoch, before the step is saved."""

    def __init__(self, epoch, step=1):
        self.place = (epoch, step)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.place:
            raise Interrupted


@pytest.fixture
def run(tmp_path, make_features, tiny_config):
    def call(config=tiny_config, *, folder="run", features=None, provenance=PROVENANCE, **options):
        return pretrain(
            features or make_features(),
            config,
            run_dir=tmp_path / folder,
            provenance=provenance,
            accelerator="cpu",
            **options,
        )

    return call


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def rows(path):
    with (path.parent / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_checkpoint_is_plain_and_knows_its_training(run, tiny_config):
    path = run()
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["scale_video"]["training_video_ids"] == [f"video{i}" for i in range(12)]
    record = load_record(path)
    decided = replace(tiny_config, precision="fp32", compile="off")  # what auto is on a CPU
    assert (record.config, record.feature_dim, record.provenance) == (decided, 6, PROVENANCE)
    assert record.epochs_done == 3
    assert {file.name for file in path.parent.iterdir()} == {"last.ckpt", "best.ckpt", "metrics.csv"}


def test_metrics_have_a_row_an_epoch(run):
    table = rows(run())
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    for row in table:
        mean = (float(row["masked_clip_loss"]) + float(row["set_loss"])) / 2
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-5)
        assert 0 <= float(row["set_accuracy"]) <= 1
        assert 0 <= float(row["masked_clip_accuracy"]) <= 1
    assert float(table[0]["learning_rate"]) > float(table[1]["learning_rate"])


class Clock(Callback):
    """Stands still but for the beginnings of epochs, which are ten seconds apart."""

    def __init__(self):
        self.seconds = 0.0

    def perf_counter(self):
        return self.seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.seconds += 10


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(run_folder, "time", clock)
    return clock


@pytest.mark.parametrize(("every", "saved"), [(0, list(range(1, 16))), (20, [4, 10, 15]), (25, [7, 15]), (60, [15])])
def test_checkpoints_are_written_by_time_and_at_the_end(run, tiny_config, clock, monkeypatch, every, saved):
    steps = []
    save = PlainCheckpointIO.save_checkpoint

    def spy(self, checkpoint, path, storage_options=None):
        if path.name == "last.ckpt":
            steps.append(checkpoint["global_step"])
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(PlainCheckpointIO, "save_checkpoint", spy)
    path = run(replace(tiny_config, epochs=5), checkpoint_every_seconds=every, callbacks=[clock])
    assert steps == saved
    record = load_record(path)
    assert (record.epochs_done, record.share_done, record.is_complete) == (5, 1, True)


def assert_same_bits(path, expected):
    """Two run folders hold the same, but for seconds."""
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (torch.load(p.with_name(name), weights_only=True) for p in (path, expected))
        assert ours["scale_video"] == theirs["scale_video"]
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for key, value in theirs["state_dict"].items():
            assert torch.equal(ours["state_dict"][key], value), key
    optimiser, reference = (torch.load(p, weights_only=True)["optimizer_states"][0]["state"] for p in (path, expected))
    assert all(torch.equal(optimiser[i]["exp_avg_sq"], reference[i]["exp_avg_sq"]) for i in reference)
    metrics = [[{**row, "seconds": ""} for row in rows(p)] for p in (path, expected)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("masking", "every", "stop", "step", "epochs_done"),
    [
        ("exact", 0, (3, 0), 9, 3),  # at the end of an epoch
        ("exact", 0, (3, 2), 11, 3),  # before the last step of one
        ("exact", 25, (3, 1), 7, 2),  # an epoch ago
        ("independent", 0, (3, 1), 10, 3),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(
    run, tmp_path, tiny_config, clock, every, stop, step, epochs_done, masking
):
    config = replace(tiny_config, epochs=5, masking=masking)
    expected = run(config, folder="uninterrupted")
    with pytest.raises(Interrupted):
        run(config, checkpoint_every_seconds=every, callbacks=[clock, StopDuring(*stop)])
    last = tmp_path / "run" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step
    record = load_record(last)
    assert (record.epochs_done, record.share_done, record.is_complete) == (epochs_done, step / 15, False)
    path = run(config, checkpoint_every_seconds=every, callbacks=[clock])
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "3", "4", "5"]
    assert_same_bits(path, expected)


def test_the_seconds_of_an_epoch_are_counted_over_interruptions(run, tiny_config, monkeypatch):
    class Ticks(Callback):
        """Every step takes ten seconds."""

        seconds = 0.0

        def perf_counter(self):
            return self.seconds

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.seconds += 10

    monkeypatch.setattr(run_folder, "time", ticks := Ticks())
    with pytest.raises(Interrupted):
        run(checkpoint_every_seconds=0, callbacks=[ticks, StopDuring(1, 2)])
    ticks.seconds += 1000
    path = run(callbacks=[ticks])
    assert [float(row["seconds"]) for row in rows(path)] == [30, 30, 30]


def test_the_best_epoch_is_kept(run, monkeypatch):
    class Third(Callback):
        """The third epoch is a bad one; so are its weights, but nobody will see them."""

        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                self.before = {name: value.clone() for name, value in pl_module.aggregator.state_dict().items()}
                means = EpochWatch.means
                monkeypatch.setattr(EpochWatch, "means", lambda w: {name: 9 * v for name, v in means(w).items()})

    third = Third()
    path = run(callbacks=[third])
    losses = [float(row["loss"]) for row in rows(path)]
    assert losses[2] > losses[0] > losses[1]
    best = load_aggregator(path.with_name("best.ckpt"))
    assert (best.epochs_done, best.share_done, best.config) == (2, pytest.approx(2 / 3), load_record(path).config)
    assert all(torch.equal(value, third.before[name]) for name, value in best.model.state_dict().items())
    assert "optimizer_states" not in torch.load(path.with_name("best.ckpt"), weights_only=True)


def test_training_does_not_go_on_from_an_aggregator_alone(run, tmp_path):
    with pytest.raises(Interrupted):
        run(checkpoint_every_seconds=0, callbacks=[StopDuring(2)])
    (tmp_path / "run/best.ckpt").replace(tmp_path / "run/last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt' holds an aggregator alone, as best\.ckpt does"):
        run()


def test_a_training_anew_keeps_no_files_of_the_one_before(run, tiny_config):
    path = run()
    path.replace(path.with_name("last.ckpt.0a.partial"))  # as of a process that was killed
    run(replace(tiny_config, steps=2))  # less than an epoch
    assert {file.name for file in path.parent.iterdir()} == {"last.ckpt", "metrics.csv"}


@pytest.mark.parametrize("interrupted", [False, True])
def test_steps_in_the_place_of_epochs(run, tiny_config, interrupted):
    config = replace(tiny_config, steps=7)
    if interrupted:
        with pytest.raises(Interrupted):
            run(config, checkpoint_every_seconds=0, callbacks=[StopDuring(1)])
    path = run(config)
    assert torch.load(path, weights_only=True)["global_step"] == 7
    assert load_record(path).is_complete
    table = rows(path)
    assert [row["epoch"] for row in table] == ["1", "2", "3"]  # of the third, one step of three
    factor = warmup_cosine(7, total_steps=7, warmup_fraction=0.05)
    assert float(table[-1]["learning_rate"]) == pytest.approx(1e-3 * factor, abs=1e-9)
    before = path.stat().st_mtime_ns
    assert run(config) == path
    assert path.stat().st_mtime_ns == before


def test_steps_of_whole_epochs_are_epochs(run, tiny_config):
    by_steps, by_epochs = (
        run(replace(tiny_config, steps=6), folder="a"),
        run(replace(tiny_config, epochs=2), folder="b"),
    )
    ours, theirs = weights(by_steps), weights(by_epochs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_minutes_in_the_place_of_epochs(run, tiny_config, monkeypatch):
    class Ticks(Callback):
        """Every step takes six seconds, a tenth of a minute."""

        seconds = 0.0
        rates = ()

        def perf_counter(self):
            return self.seconds

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.rates = (*self.rates, trainer.optimizers[0].param_groups[0]["lr"])
            self.seconds += 6

    monkeypatch.setattr(stopwatch, "time", ticks := Ticks())
    config = replace(tiny_config, minutes=1.0, warmup_fraction=0.0)
    with pytest.raises(Interrupted):
        run(config, checkpoint_every_seconds=0, callbacks=[ticks, StopDuring(1)])
    ticks.seconds += 1000  # nobody trains
    path = run(config, callbacks=[ticks])
    assert torch.load(path, weights_only=True)["global_step"] == 10
    assert load_record(path).is_complete
    shares = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]  # the fifth step was lost with the crash
    expected = [1e-3 * (1 + math.cos(math.pi * share / 10)) / 2 for share in shares]
    assert ticks.rates == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("step", [4, 6])  # 6: the last of an epoch, whose loss is the lowest so far
def test_weights_that_are_not_finite_are_not_saved(run, tmp_path, step):
    class Spoil(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == step:
                pl_module.aggregator.cls_token.data.fill_(torch.inf)

    with pytest.raises(TrainingDivergedError, match=f"weights not finite in epoch 2, step {step}; lower learning_rate"):
        run(checkpoint_every_seconds=0, callbacks=[Spoil()])
    if step == 6:
        assert float(rows(tmp_path / "run/last.ckpt")[1]["loss"]) < float(rows(tmp_path / "run/last.ckpt")[0]["loss"])
    for name in ("last.ckpt", "best.ckpt"):
        assert all(value.isfinite().all() for value in weights(tmp_path / "run" / name).values())
    assert load_record(tmp_path / "run/best.ckpt").epochs_done == 1
    assert all(value.isfinite().all() for value in weights(run()).values())


class Received(BaseException):
    """What the caller's own handler does with a signal."""


class Signal(Callback):
    """Signals, in the middle of steps."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        while self.steps and self.steps[0] == trainer.global_step:
            signal.raise_signal(self.steps.pop(0) and signal.SIGTERM)


@pytest.fixture
def handler():
    def receive(number, frame):
        raise Received(number)

    before = signal.signal(signal.SIGTERM, receive)
    yield receive
    assert signal.getsignal(signal.SIGTERM) is receive
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("step", [1, 4, 5])  # 5: the last one of an epoch
def test_a_signal_waits_for_the_step_and_its_checkpoint(run, tmp_path, tiny_config, handler, caplog, step):
    expected = run(folder="uninterrupted")
    with pytest.raises(Received):
        run(callbacks=[Signal(step)])
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == step + 1
    assert f"last.ckpt: stopped after step {step + 1}" in caplog.text
    assert_same_bits(run(), expected)


def test_a_second_signal_does_not_wait(run, tmp_path, handler):
    with pytest.raises(Received):
        run(checkpoint_every_seconds=0, callbacks=[Signal(4, 4)])
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4


def test_a_signal_during_the_last_step_is_delivered_as_well(run, tmp_path, handler):
    with pytest.raises(Received):
        run(callbacks=[Signal(8)])
    assert load_record(tmp_path / "run" / "last.ckpt").is_complete


def test_a_handler_that_returns_ends_pretraining_all_the_same(run, handler):
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with pytest.raises(SystemExit) as stopped:
        run(callbacks=[Signal(2)])
    assert (stopped.value.code, heard) == (143, [signal.SIGTERM])
    signal.signal(signal.SIGTERM, handler)


def test_slurms_signal_is_held_and_not_answered_by_lightning(run, tmp_path, monkeypatch):
    """Which would save to another file in the middle of a step, and take it up later."""

    class Begin(Callback):
        """Whose handler there is before signals are held; then a signal."""

        def on_train_start(self, trainer, pl_module):
            self.under_slurm = isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment)
            self.found = signal.getsignal(signal.SIGUSR1)

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 1:
                signal.raise_signal(signal.SIGUSR1)

    slurm = {"NTASKS": 1, "JOB_ID": 7, "JOB_NAME": "train", "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NNODES": 1}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    heard = []
    monkeypatch.setattr(HeldSignals, "deliver", lambda signals: heard.append(signals.received))
    run(callbacks=[begin := Begin()])
    assert (begin.under_slurm, begin.found, heard) == (True, signal.SIG_DFL, [signal.SIGUSR1])
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"last.ckpt", "metrics.csv"}


def as_on_a_terminal(monkeypatch):
    """Rich and we take stderr for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def test_the_bar_is_taken_down_when_training_ends_early(run, monkeypatch):
    bars = []
    start = Progress.start
    monkeypatch.setattr(Progress, "start", lambda bar: (bars.append(bar), start(bar)))
    with monkeypatch.context() as terminal:
        as_on_a_terminal(terminal)
        with pytest.raises(Interrupted):
            run(callbacks=[StopDuring(0)])
    assert not bars[0].disable
    assert not bars[0].live.is_started


def test_seeds_decide_everything_and_the_callers_state_is_left(run, tiny_config):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    first = weights(run(folder="first"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    torch.rand(5)
    again = weights(run(folder="again"))
    other = weights(run(replace(tiny_config, seed=1), folder="other"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["aggregator.project.weight"], other["aggregator.project.weight"])


def test_dropout_differs_between_epochs(run, tiny_config):
    class States(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.seen.append(torch.get_rng_state().numpy().tobytes())

    states = States()
    run(callbacks=[states])
    assert len(set(states.seen)) == len(states.seen) == 9


def test_a_complete_training_returns_at_once(run):
    path = run()
    before = path.stat().st_mtime_ns
    assert run(callbacks=[StopDuring(0)]) == path
    assert path.stat().st_mtime_ns == before


def test_without_resume_it_starts_anew(run, tiny_config):
    path = run()
    assert load_record(path).config.learning_rate == 1e-3
    config = replace(tiny_config, learning_rate=0.1, epochs=2)
    with pytest.raises(Interrupted):
        run(config, resume=False, callbacks=[StopDuring(0)])
    assert not path.exists()
    run(config)
    assert load_record(path).config.learning_rate == 0.1
    assert len(rows(path)) == 2


def test_only_the_first_process_deletes_checkpoints(run, monkeypatch):
    """Another one may come late, when the first has written new ones."""
    path = run()
    monkeypatch.setattr(pretraining, "is_first_of_all", lambda: False)
    with pytest.raises(Interrupted):
        run(resume=False, callbacks=[StopDuring(0)])
    assert load_record(path).is_complete
    assert path.with_name("best.ckpt").exists()


def test_in_a_file_progress_is_a_line_now_and_then(run, caplog, monkeypatch):
    monkeypatch.setattr("scale_video.aggregate.progress._QUIET_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, logger="scale_video.aggregate.progress"):
        run()
    said = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert said[0].startswith("pre-training: 1/")
    assert "masked clips" in said[-1]
    assert len(said) == len(set(said)) <= 9
    caplog.clear()
    monkeypatch.undo()
    run(folder="other")
    assert not [record for record in caplog.records if record.name.endswith("progress")]  # it is over too soon


class RobsAt(Callback):
    """Another training takes the run folder in a step."""

    def __init__(self, run_dir, step):
        self.run_dir, self.step, self.lock = run_dir, step, None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.lock = StoreLock.acquire(self.run_dir, purpose="pretrain", break_lock=True, what="run folder")


def test_a_training_whose_folder_was_taken_writes_no_checkpoint_any_more(run, tmp_path):
    path = tmp_path / "run" / "last.ckpt"
    robber = RobsAt(path.parent, step=2)
    with pytest.raises(StoreLostError, match=r"the lock of run folder .* was taken by"):
        run(checkpoint_every_seconds=0, callbacks=[robber])
    before = path.read_bytes()
    robber.lock.check()  # it is still the other's
    robber.lock.release()
    assert load_record(path).epochs_done < 1
    run()
    assert path.read_bytes() != before
    assert load_record(path).is_complete


def test_rows_that_a_loss_of_power_left_are_dropped(run, tmp_path):
    path = tmp_path / "run" / "last.ckpt"
    with pytest.raises(Interrupted):
        run(checkpoint_every_seconds=0, callbacks=[StopDuring(1)])
    before = rows(path)
    with path.with_name("metrics.csv").open("ab") as file:
        file.write(b"\0" * 200_000 + b"\n7,\n")
    run()
    assert len(before) == 1
    assert rows(path)[:1] == before
    assert [row["epoch"] for row in rows(path)] == [str(epoch + 1) for epoch in range(len(rows(path)))]


def test_another_configuration_is_refused_by_name(run, tiny_config, make_features):
    run()
    message = (
        r"last\.ckpt' is of another training \(config\.learning_rate: 0\.001 != 0\.5\); use the same values or another"
    )
    with pytest.raises(CheckpointError, match=message):
        run(replace(tiny_config, learning_rate=0.5))
    with pytest.raises(CheckpointError, match=r"\(provenance.weights_digest: 'abc' != 'other'\)"):
        run(provenance={**PROVENANCE, "weights_digest": "other"})
    with pytest.raises(CheckpointError, match=r"\(training_video_ids: 2 of 12 and 10 entries differ\)"):
        run(features=make_features(num_videos=10))


def test_an_unreadable_checkpoint_is_refused(run):
    run().write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        run()


def test_a_diverging_loss_stops_the_run_and_keeps_the_last_good_checkpoint(run, tmp_path, clock):
    class Spoil(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == 2:
                pl_module.set_head.layers[0].weight.data.fill_(torch.nan)

    clock.seconds = 10.0  # the fourth step is saved, and later ones are not
    message = r"loss of .*set not finite in epoch 3, step 9; lower learning_rate \(0\.001\) or raise warmup_fraction"
    with pytest.raises(TrainingDivergedError, match=message) as error:
        run(checkpoint_every_seconds=20, callbacks=[clock, Spoil()])
    assert "\n" not in str(error.value)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    path = run()
    assert all(value.isfinite().all() for value in weights(path).values())


def test_a_collapse_is_said_once(run, tiny_config, make_features, caplog):
    data = make_features()
    same = replace(data, features=np.ones_like(data.features), coordinates=np.zeros_like(data.coordinates))
    run(replace(tiny_config, epochs=3, warmup_fraction=0.0), features=same, folder="whole")
    said = [r.getMessage() for r in caplog.records if "chance" in r.getMessage()]
    assert [message.split("'")[1] for message in said] == ["masked_clip", "set"]
    caplog.clear()
    run(replace(tiny_config, epochs=6, warmup_fraction=0.6), features=same, folder="warming up")
    assert not caplog.records


def test_tensorboard_is_an_extra(run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(ValueError, match=r"pip install 'scale-video\[tensorboard\]'"):
        run(tensorboard=True)


def test_tensorboard_logs(run):
    pytest.importorskip("tensorboard")
    path = run(tensorboard=True)
    assert list((path.parent / "tensorboard").glob("events.out.*"))


def test_checkpoint_interval_must_not_be_negative(run):
    with pytest.raises(ValueError, match="checkpoint_every_seconds must not be negative, got -1"):
        run(checkpoint_every_seconds=-1)


def test_metrics_are_never_half_written(run, monkeypatch):
    path = run()
    before = rows(path)

    def full_disk(self, rows):
        raise OSError("no space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full_disk)
    with pytest.raises(OSError, match="no space"):
        run(resume=False)
    assert rows(path) == before


def test_bad_provenance_is_refused_before_training(run):
    with pytest.raises(ValueError, match=r"provenance\.digest must be str, .*, got bytes"):
        run(provenance={"digest": b"ab"})


def test_it_is_quiet_without_a_terminal(run, capfd):
    run(progress=True)
    assert capfd.readouterr() == ("", "")


def test_the_bar_goes_to_stderr(run, capfd, monkeypatch):
    as_on_a_terminal(monkeypatch)
    run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "9/9" in err
    assert "sets 0." in err


def test_lightnings_log_level_is_put_back(run):
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    run()
    assert logger.level == before


def order_features(num_videos: int, seed: int) -> tuple[ClipFeatures, np.ndarray]:
    """Videos in three shots, each with a look; the class is an ordered pair of contents of the first and second half.

    The raw mean tells which contents a video has, and not their order.
    """
    rng = np.random.default_rng(seed)
    contents = np.random.default_rng(99).normal(size=(3, 16)) * 1.5
    pairs = np.array([(a, b) for a in range(3) for b in range(3) if a != b])
    labels = np.arange(num_videos) % len(pairs)
    start = rng.uniform(0, 1, (num_videos, 12))
    content = np.where(start < 0.5, pairs[labels, :1], pairs[labels, 1:])
    looks = rng.normal(size=(num_videos, 3, 16)) * 0.5
    shot = (start * 3).astype(int)
    features = contents[content] + np.take_along_axis(looks, shot[:, :, None], axis=1)
    features += rng.normal(size=features.shape) * 0.25
    coordinates = np.zeros((num_videos, 12, 7), np.float32)
    coordinates[..., Coordinate.START], coordinates[..., Coordinate.END] = start, start + 0.1
    ids = tuple(f"{seed}/{i}" for i in range(num_videos))
    return ClipFeatures(ids, features.astype(np.float16), coordinates, np.ones((num_videos, 12), bool)), labels


def nearest_neighbour_accuracy(train, train_labels, test, test_labels):
    centre = train.mean(0)
    train, test = (x - centre for x in (train, test))
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    nearest = np.argsort(-test @ train.T, axis=1)[:, :5]
    votes = np.stack([(train_labels[nearest] == label).sum(1) for label in range(train_labels.max() + 1)], axis=1)
    return (votes.argmax(1) == test_labels).mean()


@pytest.mark.parametrize("shuffled", [False, True])
def test_training_learns_the_order_that_the_mean_cannot_see(run, shuffled):
    train, train_labels = order_features(512, seed=0)
    test, test_labels = order_features(240, seed=1)
    config = PretrainConfig(
        model=SetTransformerConfig(width=32, num_heads=1, dropout=0),
        epochs=16,
        batch_size=64,
        clips_per_set=6,
        negatives="masked",
        prediction_hidden_dim=64,
        target_hidden_dim=64,
        set_hidden_dim=64,
        projection_dim=32,
        learning_rate=5e-3,
        shuffle_positions=shuffled,
    )
    path = run(config, features=train)
    losses = [float(row["loss"]) for row in rows(path)]
    assert losses[-1] < losses[0] - 0.5
    shuffle_seed = 0 if shuffled else None

    def accuracy(model, name):
        on_train, on_test = (
            embed_videos(model, data, flips=True, shuffle_positions_seed=shuffle_seed) for data in (train, test)
        )
        return nearest_neighbour_accuracy(getattr(on_train, name), train_labels, getattr(on_test, name), test_labels)

    trained = load_aggregator(path).model
    untrained = initial_aggregator(config, feature_dim=16, seed=0)
    assert accuracy(trained, "x") < 0.6  # blind to order: half right, but for luck
    assert accuracy(untrained, "cls") < 0.7
    if shuffled:  # nothing left to tell the order by
        assert accuracy(trained, "cls") < 0.6
    else:
        assert accuracy(trained, "cls") > 0.9
