"""One progress bar over all epochs, on stderr."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class PretrainProgress(Callback):
    """Shows steps, the last epoch's loss and accuracies, and the time left; nothing when stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("pre-training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps{task.fields[metrics]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, where it was when training was interrupted."""
        total = int(trainer.estimated_stepping_batches)
        self._task = self._bar.add_task("", total=total, completed=trainer.global_step, metrics="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance."""
        self._bar.advance(self._task)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show how the epoch before went."""
        shown = {"loss": "loss", "masked_clip_accuracy": "masked clips", "set_accuracy": "sets"}
        metrics = trainer.callback_metrics
        text = "".join(f" · {label} {metrics[name]:.3f}" for name, label in shown.items() if name in metrics)
        self._bar.update(self._task, metrics=text)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the bar as it is."""
        self._bar.stop()
