"""The folder of a training run: ``metrics.csv``, a row an epoch, and two checkpoints, always whole.

``last.ckpt`` is where training goes on. ``best.ckpt`` holds the aggregator alone, as it was after the epoch of the
lowest mean loss.

Lightning's own CSV logger deletes the rows of an interrupted run when it is resumed, and its checkpoint callback writes
absolute paths into checkpoints; hence this one callback for both.
"""

import contextlib
import csv
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from scale_video.aggregate.checkpoint import RECORD, CheckpointError, aggregator_checkpoint
from scale_video.aggregate.held_signals import HeldSignals, TrainingStoppedError
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.run_files import BEST_NAME, CHECKPOINT_NAME, METRICS, METRICS_NAME
from scale_video.store.lock import StoreLock

_COLUMNS: Final = ("epoch", "seconds", *METRICS)


class RunFolder(Checkpoint):
    """Writes metrics at the ends of epochs, and checkpoints at the ends of steps.

    A ``Checkpoint`` runs after the module has logged. Several devices save together: when one of them wants to.

    Args:
        folder: Where to write; made if absent.
        checkpoint_every_seconds: A step ends with a checkpoint when the last one is that old; the last step always
            does. What a crash can cost is this, and a step.
        signals: Held from the first step to the last; one that comes ends the step with a checkpoint and training with
            ``TrainingStoppedError``.
        resumes: Whether training goes on from the folder's checkpoint.
        lock: Of the folder, which is looked at before a checkpoint is written; None: another process holds it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        checkpoint_every_seconds: float,
        signals: HeldSignals,
        resumes: bool = False,
        lock: StoreLock | None = None,
    ) -> None:
        self._folder = folder
        self._resumes = resumes
        self._lock = lock
        self._every_seconds = checkpoint_every_seconds
        self._signals = signals
        self._epoch_start = 0.0
        self._last_checkpoint = 0.0
        self._seconds_of_epoch = 0.0  # before training went on in the middle of it
        self._lowest_loss = math.inf
        self._best: dict[str, Any] | None = None  # what is to be written with the next checkpoint

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make sure that all devices begin alike: else they would wait for each other for ever.

        Raises:
            CheckpointError: one of them does not see the checkpoint from which others go on.
        """
        decide = trainer.strategy.reduce_boolean_decision
        if decide(self._resumes, all=False) and not decide(self._resumes, all=True):
            raise CheckpointError(
                f"not all processes find the checkpoint in '{self._folder}'; name a run folder that all nodes share "
                "(--runs), on a file system that shows them the same"
            )

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted epoch has behind it, and what the best one had."""
        return {"seconds_of_epoch": time.perf_counter() - self._epoch_start, "lowest_loss": self._lowest_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._seconds_of_epoch = state_dict["seconds_of_epoch"]
        self._lowest_loss = state_dict["lowest_loss"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what a killed process left: rows of epochs that are trained again, half-written checkpoints."""
        self._signals.hold()
        self._last_checkpoint = time.perf_counter()
        self._epoch_start = self._last_checkpoint - self._seconds_of_epoch
        if not trainer.is_global_zero:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("*.ckpt.*.partial"):
            leftover.unlink(missing_ok=True)
        metrics = self._folder / METRICS_NAME
        rows = []
        if metrics.exists():
            lines = metrics.read_bytes().replace(b"\0", b"").decode(errors="replace").splitlines()
            rows = [row for row in csv.DictReader(lines) if _is_row(row, epochs=trainer.current_epoch)]
        partial = metrics.with_name(f"{METRICS_NAME}.partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(metrics)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time; the last step of an epoch leaves that to the epoch's end, which has its row."""
        if not (trainer.is_last_batch or trainer.should_stop):
            assert isinstance(pl_module, SetPretraining)
            self._save_if_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append a row, epochs counted from 1; save when it is time."""
        assert isinstance(pl_module, SetPretraining)
        now = time.perf_counter()
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name in METRICS}
        row = {"epoch": trainer.current_epoch + 1, "seconds": round(now - self._epoch_start, 3), **metrics}
        if trainer.is_global_zero:
            with (self._folder / METRICS_NAME).open("a", newline="") as file:
                csv.DictWriter(file, _COLUMNS).writerow(row)
        self._epoch_start = now
        if trainer.is_last_batch and metrics["loss"] < self._lowest_loss:  # not of an epoch that was cut short
            self._lowest_loss = metrics["loss"]
            self._best = aggregator_checkpoint(pl_module.aggregator, pl_module.record_now())
        self._save_if_due(trainer, pl_module)

    def _save_if_due(self, trainer: Trainer, module: SetPretraining) -> None:
        strategy = trainer.strategy
        stop = self._signals.received is not None
        old = time.perf_counter() - self._last_checkpoint >= self._every_seconds
        if not (trainer.should_stop or strategy.reduce_boolean_decision(stop or old, all=False)):
            return
        module.check_finite()
        if self._lock is not None:
            self._lock.check()
        # The best one first: if that is all that gets done, the epochs since the last one are trained again.
        if self._best is not None and trainer.is_global_zero:
            PlainCheckpointIO().save_checkpoint(self._best, self._folder / BEST_NAME)
        self._best = None
        trainer.save_checkpoint(self._folder / CHECKPOINT_NAME)
        self._last_checkpoint = time.perf_counter()
        if not trainer.should_stop and strategy.reduce_boolean_decision(stop, all=False):
            raise TrainingStoppedError(f"stopped after step {trainer.global_step}")


def _is_row(row: dict[Any, Any], *, epochs: int) -> bool:
    """Whether a row is whole, and of an epoch that is not trained again; a loss of power leaves torn ones."""
    number = row.get("epoch") or ""
    return None not in row and None not in row.values() and number.isdecimal() and int(number) <= epochs


class PlainCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and reads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write next to the old file, under a name that no other process writes to, then take its place."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read onto the CPU; whatever the caller says, nothing is unpickled that could run code.

        Raises:
            CheckpointError: it holds an aggregator alone.
        """
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if RECORD in checkpoint and "optimizer_states" not in checkpoint:
            raise CheckpointError(
                f"'{path}' holds an aggregator alone, as {BEST_NAME} does, and no training to go on with; "
                "put the training's own checkpoint there, or delete it to train anew"
            )
        return checkpoint
