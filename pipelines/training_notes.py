"""Lightning's callback that writes the journal of a pre-training run."""

from pathlib import Path
from time import perf_counter

from pytorch_lightning import Callback, LightningModule, Trainer

from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.held_signals import TrainingStoppedError
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.stored_clips import StoredClips
from scale_video.pipelines.device_name import device_name
from scale_video.pipelines.journal_file import JournalFile, how_it_ended, new_id, utc_now
from scale_video.pipelines.training_journal import JOURNAL_NAME, TrainingBegan, TrainingEnded


class TrainingJournal(Callback):
    """Writes the journal, from the process that speaks for all.

    Args:
        folder: Of the run.
        clips: What is trained on; knows where features live.
    """

    def __init__(self, folder: Path, clips: StoredClips) -> None:
        self._file = JournalFile(folder / JOURNAL_NAME)
        self._clips = clips
        self._call = ""
        self._started = 0.0
        self._steps_before = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that a call begins."""
        assert isinstance(pl_module, SetPretraining)
        self._call, self._started, self._steps_before = new_id(), perf_counter(), trainer.global_step
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        config = pl_module.record.config
        began = TrainingBegan(
            call=self._call,
            time=utc_now(),
            device=device_name(str(device)),
            num_devices=trainer.world_size,
            residency=self._clips.residence(device, ranks_here=trainer.num_devices).kind,
            precision=config.precision,
            compile=config.compile,
            steps_before=self._steps_before,
        )
        self._file.append(began)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that training is complete."""
        self._ended(trainer, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note how it was broken off."""
        self._ended(trainer, exception)

    def _ended(self, trainer: Trainer, error: BaseException | None) -> None:
        if not (trainer.is_global_zero and self._call):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ClipSetDataModule)
        steps = trainer.global_step - self._steps_before
        how, reason = ("interrupted", "") if isinstance(error, TrainingStoppedError) else how_it_ended(error)
        ended = TrainingEnded(
            call=self._call,
            time=utc_now(),
            seconds=round(perf_counter() - self._started, 3),
            steps=steps,
            sets=steps * data.batch_size * data.config.sets_per_video,
            how=how,
            error=reason,
        )
        self._file.append(ended)
        self._call = ""
