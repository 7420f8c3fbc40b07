"""Pre-training from features to ``last.ckpt``, in one call that can be repeated until it is done."""

import contextlib
import importlib.util
import logging
import math
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from scale_video.aggregate.checkpoint import CheckpointError, TrainingRecord, load_record
from scale_video.aggregate.clip_source import ClipSource
from scale_video.aggregate.counter_random import Purpose, derived_seed
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.devices import (
    NumDevices,
    check_nodes,
    device_type,
    is_first_of_all,
    is_first_rank,
    leave_signals_alone,
    num_devices,
    strategy,
)
from scale_video.aggregate.execution import decided_compilation, decided_precision
from scale_video.aggregate.held_signals import HeldSignals, TrainingStoppedError
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.progress import PretrainProgress
from scale_video.aggregate.run_files import BEST_NAME, CHECKPOINT_NAME
from scale_video.aggregate.run_folder import PlainCheckpointIO, RunFolder
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.lock import StoreLock

_logger = logging.getLogger(__name__)


def pretrain(
    clips: ClipSource | ClipFeatures,
    config: PretrainConfig,
    *,
    second_view: ClipFeatures | None = None,
    run_dir: Path,
    provenance: Mapping[str, Any],
    resume: bool = True,
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_every_seconds: float = 60,
    accelerator: str = "auto",
    devices: NumDevices = 1,
    nodes: int = 1,
    break_lock: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train a set transformer on sets of clips, without labels.

    The run folder gets ``last.ckpt``, ``best.ckpt`` (the aggregator after the epoch of the lowest mean loss) and
    ``metrics.csv``. Called again after an interruption, it goes on after the last checkpoint, also in the middle of an
    epoch, and ends with the weights that an uninterrupted run has (bit by bit on a CPU); called again after the end, it
    returns at once. The caller's random state is left as it was.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 wait for the end of the step and for a checkpoint, and then have the effect that
    they would have had at once. A second one does not wait.

    On several devices each is a process of its own, which Lightning starts by running this program once more. They
    train as one device would on the whole batch.

    Args:
        clips: The training videos.
        config: What to learn, and how.
        second_view: Another view of the same videos, where ``clips`` are features of one: the second set of each video
            comes from there.
        run_dir: The run's folder; made if absent.
        provenance: What identifies the features (store, backbone, digests of weights and plan): str, int, float, bool,
            list or dict. Kept in the checkpoint, and compared when resuming.
        resume: Go on from ``last.ckpt`` if there is one. False deletes both checkpoints and starts anew.
        progress: Show a bar on stderr, if that is a terminal.
        tensorboard: Write TensorBoard logs as well, to ``run_dir/tensorboard``.
        checkpoint_every_seconds: Age of the last checkpoint at which the end of a step writes the next; 0: every step.
            The last step always does.
        accelerator: Lightning's: ``auto`` takes a GPU if there is one, ``cpu`` never does.
        devices: How many of each node; ``auto``: all GPUs, or one CPU.
        nodes: How many; each runs the program, and sees the same run folder.
        break_lock: Take the run folder from another training that is known to be gone.
        callbacks: Further Lightning callbacks.

    Returns:
        Path of ``last.ckpt``.

    Raises:
        ValueError: too few clips or videos for two sets, fewer devices than asked for, a batch or a clock that they
            cannot share, nodes that don't know each other, a provenance that is not plain, or no TensorBoard installed.
        CheckpointError: ``last.ckpt`` is unreadable, or stems from another configuration or other features.
        TrainingDivergedError: a loss is no longer finite.
        StoreLockedError: another training is at work in the run folder.
        StoreLostError: another one took it away; no checkpoint is written any more.
        SystemExit: a signal came whose handler did not end the program.
    """
    if not checkpoint_every_seconds >= 0:
        raise ValueError(f"checkpoint_every_seconds must not be negative, got {checkpoint_every_seconds}")
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard=True needs TensorBoard; install it with: pip install 'scale-video[tensorboard]'")
    config = _decided(config, accelerator)
    devices = num_devices(devices, accelerator=accelerator)
    num_ranks = devices * nodes
    if config.minutes and num_ranks > 1:
        raise ValueError(
            f"minutes ({config.minutes:g}) needs one device, for the clocks of {num_ranks} differ; "
            "give epochs or steps instead"
        )
    data = ClipSetDataModule(clips, config, second_view=second_view, num_ranks=num_ranks, ranks_here=devices)
    record = TrainingRecord(
        config=config,
        feature_dim=clips.feature_dim,
        training_video_ids=data.training_video_ids,
        provenance=dict(provenance),
    )
    checkpoint = run_dir / CHECKPOINT_NAME
    if resume and checkpoint.exists() and _is_complete(checkpoint, record):
        _logger.info("%s: training is complete", checkpoint)
        return checkpoint
    signals = HeldSignals()
    extra = [*callbacks, PretrainProgress()] if progress and is_first_rank() else [*callbacks]
    with (
        _sole_training(run_dir, break_lock=break_lock) as lock,
        _quiet_lightning(),
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
    ):
        resumed = resume and checkpoint.exists()  # another training may have ended meanwhile
        folder = RunFolder(
            run_dir,
            checkpoint_every_seconds=checkpoint_every_seconds,
            signals=signals,
            resumes=resumed,
            lock=lock,
        )
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy(config, num_ranks=num_ranks),
            max_epochs=_max_epochs(config, data.steps_per_epoch),
            callbacks=[_SeededDropout(), _EndOfTraining(), folder, *extra],
            plugins=[PlainCheckpointIO()],
            logger=TensorBoardLogger(run_dir, name="tensorboard", version="") if tensorboard else False,
            log_every_n_steps=1,  # metrics are logged once an epoch
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=run_dir,
        )
        check_nodes(trainer)
        leave_signals_alone(trainer)
        if not resumed and is_first_of_all():
            for name in (CHECKPOINT_NAME, BEST_NAME):  # or an early interruption would bring back those of before
                (run_dir / name).unlink(missing_ok=True)
        try:
            trainer.fit(SetPretraining(record), datamodule=data, ckpt_path=checkpoint if resumed else None)
        except TrainingStoppedError as stopped:
            if not is_first_rank():
                raise SystemExit(
                    128 + (signals.received or signal.SIGTERM)
                ) from stopped  # the first one speaks for all
            _logger.warning("%s: %s", checkpoint, stopped)
            signals.received = signals.received or signal.SIGTERM  # another rank had it
        finally:
            signals.release()
    signals.deliver()
    return checkpoint


def _max_epochs(config: PretrainConfig, steps_per_epoch: int) -> int:
    """The last epoch, which may be cut short; -1: the clock knows."""
    if config.minutes:
        return -1
    return math.ceil(config.steps / steps_per_epoch) if config.steps else config.epochs


def _decided(config: PretrainConfig, accelerator: str) -> PretrainConfig:
    """The configuration with what ``auto`` means on this device, as checkpoints record it."""
    on = device_type(accelerator)
    return replace(
        config,
        precision=decided_precision(config.precision, device_type=on),
        compile=decided_compilation(config.compile, device_type=on),
    )


def _is_complete(checkpoint: Path, record: TrainingRecord) -> bool:
    """Whether a checkpoint has all epochs behind it; raises if it is another training's."""
    before = load_record(checkpoint)
    difference = before.difference(record)
    if difference is not None:
        raise CheckpointError(
            f"'{checkpoint}' is of another training ({difference}); use the same values or another run folder, "
            "or delete it to train anew (`scale-video pretrain --restart` does so)"
        )
    return before.is_complete


class _SeededDropout(Callback):
    """Derives dropout from (seed, step, rank), so that resumed steps repeat; it knows only the global generators."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        assert isinstance(pl_module, SetPretraining)
        of_rank = (trainer.global_rank,) if trainer.global_rank else ()
        seed = derived_seed(pl_module.record.config.seed, trainer.global_step, Purpose.DROPOUT, *of_rank)
        # torch.manual_seed keeps, for each kind of device that is not there, every seed with a stack trace
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(seed)


class _EndOfTraining(Callback):
    """Ends training in the middle of an epoch, where its length says so."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide after each step."""
        assert isinstance(pl_module, SetPretraining)
        trainer.should_stop = pl_module.share_done() >= 1


@contextlib.contextmanager
def _sole_training(run_dir: Path, *, break_lock: bool) -> Iterator[StoreLock | None]:
    """Hold the run folder: rows and checkpoints of two trainings would mix in it. The first of all processes does."""
    if not is_first_of_all():
        yield None
        return
    with StoreLock.acquire(run_dir, purpose="pretrain", break_lock=break_lock, what="run folder") as lock:
        yield lock


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Mute Lightning's remarks on hardware and products, and its own use of what PyTorch deprecates."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*\bLeafSpec\b.* is deprecated", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
