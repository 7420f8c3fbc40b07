"""How a training went, from what lies in its run folder."""

import math
from dataclasses import dataclass
from pathlib import Path

from scale_video.aggregate.checkpoint import load_record
from scale_video.pipelines.run_metrics import read_metrics
from scale_video.store.amounts import time_text

_SHOWN = {"loss": "loss", "masked_clip_accuracy": "accuracy of masked clips", "set_accuracy": "of sets"}


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What was done, in which time, and what the last epoch came to."""

    checkpoint: Path
    seed: int
    complete: bool
    length: str
    """As it was asked for: ``200 epochs``, ``10 steps``, ``1.5 minutes``."""
    epochs: int
    steps: int
    seconds: float | None
    """None: ``metrics.csv`` is not there."""
    videos_per_second: float | None
    last_epoch: dict[str, float]
    """Those of ``METRICS`` that it has."""

    def __str__(self) -> str:
        """``…/last.ckpt: 60 epochs in 84 s, 1030 videos/s; loss 1.208, accuracy of masked clips 0.613, …``."""
        if self.seconds is None:
            return f"{self.checkpoint}: {self.length}"
        length = f"{self.epochs} epochs" if self.length.endswith("minutes") else self.length
        speed = "" if self.videos_per_second is None else f", {self.videos_per_second:.0f} videos/s"
        metrics = self.last_epoch
        last = ", ".join(f"{label} {metrics[name]:.3f}" for name, label in _SHOWN.items() if name in metrics)
        return f"{self.checkpoint}: {length} in {time_text(self.seconds)}{speed}; {last}"


def how_it_went(checkpoint: Path) -> str:
    """In one line."""
    return str(summarise(checkpoint))


def summarise(checkpoint: Path) -> TrainingSummary:
    """Read what there is.

    Args:
        checkpoint: Of a training; ``metrics.csv`` is looked for beside it.
    """
    record = load_record(checkpoint)
    metrics = read_metrics(checkpoint.parent)
    seconds = sum(metrics.seconds)
    num_videos = record.steps_done * min(record.config.batch_size, len(record.training_video_ids))
    return TrainingSummary(
        checkpoint=checkpoint,
        seed=record.config.seed,
        complete=record.is_complete,
        length=record.config.length,
        epochs=record.epochs_done,
        steps=record.steps_done,
        seconds=seconds if metrics.epochs else None,
        videos_per_second=num_videos / seconds if seconds and num_videos else None,
        last_epoch={name: column[-1] for name, column in metrics.columns.items() if not math.isnan(column[-1])},
    )
