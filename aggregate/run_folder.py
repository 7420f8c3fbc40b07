"""The folder of a training run: ``metrics.csv``, a row an epoch, and ``last.ckpt``, always whole.

Lightning's own CSV logger deletes the rows of an interrupted run when it is resumed, and its checkpoint callback writes
absolute paths into checkpoints; hence this one callback for both.
"""

import contextlib
import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

CHECKPOINT_NAME: Final = "last.ckpt"
METRICS_NAME: Final = "metrics.csv"
METRICS: Final = (
    "loss",
    "masked_clip_loss",
    "masked_clip_accuracy",
    "set_loss",
    "set_accuracy",
    "learning_rate",
)
_COLUMNS: Final = ("epoch", "seconds", *METRICS)


class RunFolder(Checkpoint):
    """Writes metrics and the checkpoint at the ends of epochs; a ``Checkpoint`` runs after the module has logged.

    Args:
        folder: Where to write; made if absent.
        checkpoint_every_seconds: An epoch ends with a checkpoint when the last one is that old; the last epoch always
            does. What an interruption can cost is this, and an epoch.
    """

    def __init__(self, folder: Path, *, checkpoint_every_seconds: float) -> None:
        self._folder = folder
        self._every_seconds = checkpoint_every_seconds
        self._epoch_start = 0.0
        self._last_checkpoint = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the rows of epochs that come after the checkpoint and are trained again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        metrics = self._folder / METRICS_NAME
        rows = []
        if metrics.exists():
            with metrics.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]
        partial = metrics.with_name(f"{METRICS_NAME}.partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(metrics)
        self._epoch_start = self._last_checkpoint = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append a row, epochs counted from 1; save when it is time."""
        epoch = trainer.current_epoch + 1
        now = time.perf_counter()
        row: dict[str, object] = {"epoch": epoch, "seconds": round(now - self._epoch_start, 3)}
        row |= {name: value.item() for name, value in trainer.callback_metrics.items() if name in METRICS}
        with (self._folder / METRICS_NAME).open("a", newline="") as file:
            csv.DictWriter(file, _COLUMNS).writerow(row)
        self._epoch_start = now
        if now - self._last_checkpoint >= self._every_seconds or epoch == trainer.max_epochs:
            trainer.save_checkpoint(self._folder / CHECKPOINT_NAME)
            self._last_checkpoint = time.perf_counter()


class PlainCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and reads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write next to the old file, then take its place."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial")
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
        """Read onto the CPU; whatever the caller says, nothing is unpickled that could run code."""
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint
