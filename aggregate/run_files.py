"""What lies in the folder of a training run, by name; for readers, which need no Lightning for it."""

from typing import Final

CHECKPOINT_NAME: Final = "last.ckpt"
"""Where training goes on."""
BEST_NAME: Final = "best.ckpt"
"""The aggregator alone, as it was after the epoch of the lowest mean loss."""
METRICS_NAME: Final = "metrics.csv"
"""A row an epoch."""
METRICS: Final = (
    "loss",
    "masked_clip_loss",
    "masked_clip_accuracy",
    "masked_clip_spread",
    "set_loss",
    "set_accuracy",
    "set_spread",
    "learning_rate",
)
"""Columns of it, beside the epoch and its seconds."""
