"""How a training went, in one line, from what lies in its run folder."""

import csv
from pathlib import Path

from scale_video.aggregate.checkpoint import load_record
from scale_video.aggregate.run_folder import METRICS_NAME

_SHOWN = {"loss": "loss", "masked_clip_accuracy": "accuracy of masked clips", "set_accuracy": "of sets"}


def how_it_went(checkpoint: Path) -> str:
    """What was done, in which time, and what the last epoch came to.

    ``…/last.ckpt: 60 epochs in 1.4 minutes, 1030 videos/s; loss 1.208, accuracy of masked clips 0.613, of sets 0.921``

    Args:
        checkpoint: Of a training; ``metrics.csv`` is looked for beside it.
    """
    record = load_record(checkpoint)
    metrics = checkpoint.with_name(METRICS_NAME)
    rows = []
    if metrics.exists():
        with metrics.open(newline="") as file:
            rows = list(csv.DictReader(file))
    if not rows:
        return f"{checkpoint}: {record.config.length}"
    seconds = sum(float(row["seconds"]) for row in rows)
    length = f"{record.epochs_done} epochs" if record.config.minutes else record.config.length
    time = f"{length} in {seconds / 60:.1f} minutes"
    if record.steps_done and seconds:
        num_videos = record.steps_done * min(record.config.batch_size, len(record.training_video_ids))
        time += f", {num_videos / seconds:.0f} videos/s"
    last = ", ".join(f"{label} {float(rows[-1][name]):.3f}" for name, label in _SHOWN.items() if rows[-1].get(name))
    return f"{checkpoint}: {time}; {last}"
