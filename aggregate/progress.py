"""One progress bar over all epochs, on stderr; where that is no terminal, a line now and then."""

import logging
import time
from typing import Any, Final

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scale_video.aggregate.lightning_module import SetPretraining

_SHARES: Final = 10
_QUIET_SECONDS: Final = 15.0
"""Of a file, lines come no sooner one after the other; short trainings have none."""
_logger = logging.getLogger(__name__)


class PretrainProgress(Callback):
    """Shows steps, the last epoch's loss and accuracies, and the time left; in a file a line at each tenth."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("pre-training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}{task.fields[metrics]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_interactive and console.file.isatty()),  # FORCE_COLOR is no terminal
        )
        self._task = TaskID(0)
        self._total = 0
        self._unit = ""
        self._metrics = ""
        self._tenth = 0
        self._said = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, where it was when training was interrupted."""
        assert isinstance(pl_module, SetPretraining)
        minutes = pl_module.record.config.minutes
        self._total = round(60 * minutes) if minutes else pl_module.total_steps
        self._unit = "seconds" if minutes else "steps"
        self._task = self._bar.add_task("", total=self._total, metrics="", unit=self._unit)
        self._tenth, self._said = int(pl_module.share_done() * _SHARES), time.monotonic()
        self._show(pl_module)
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance."""
        assert isinstance(pl_module, SetPretraining)
        self._show(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show how the epoch before went."""
        shown = {"loss": "loss", "masked_clip_accuracy": "masked clips", "set_accuracy": "sets"}
        metrics = trainer.callback_metrics
        self._metrics = "".join(f" · {label} {metrics[name]:.3f}" for name, label in shown.items() if name in metrics)
        self._bar.update(self._task, metrics=self._metrics)

    def _show(self, module: SetPretraining) -> None:
        done = min(self._total, round(module.share_done() * self._total))
        self._bar.update(self._task, completed=done)
        tenth = int(module.share_done() * _SHARES)
        if self._bar.disable and self._tenth < tenth < _SHARES and time.monotonic() - self._said >= _QUIET_SECONDS:
            self._tenth, self._said = tenth, time.monotonic()
            _logger.info("pre-training: %d/%d %s%s", done, self._total, self._unit, self._metrics)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is, and give the cursor back; there is no teardown then."""
        self._bar.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the bar as it is."""
        self._bar.stop()
