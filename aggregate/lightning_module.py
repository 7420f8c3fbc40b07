"""Pre-training as Lightning sees it: one step's loss, the optimiser and its schedule, and what is watched meanwhile."""

import math
from dataclasses import replace
from typing import Any, Final

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from scale_video.aggregate.checkpoint import EPOCH, RECORD, TrainingRecord
from scale_video.aggregate.collapse_warnings import CollapseWarnings
from scale_video.aggregate.data_module import ClipSetBatch
from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.execution import decided_precision, matrix_products
from scale_video.aggregate.feature_augmentation import augment_features
from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.initial_aggregator import seeded_initialisation
from scale_video.aggregate.masked_clip_infonce import MaskedClipTask
from scale_video.aggregate.projection_head import ProjectionHead
from scale_video.aggregate.set_infonce import set_infonce
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.aggregate.stopwatch import Stopwatch

_STEPS_PER_CHECK: Final = 50
"""Looking at a loss waits for the device, so it is not done at every step."""
_TICKS: Final = 1_000_000
"""Steps of the schedule where training goes by the clock."""


class TrainingDivergedError(ValueError):
    """The loss is no longer a finite number; other values of the configuration are the way out."""


class SetPretraining(LightningModule):
    """The set transformer with the heads of its two tasks.

    Every epoch logs ``loss``, ``learning_rate``, and ``<task>_loss``, ``<task>_accuracy`` and ``<task>_spread`` of the
    tasks ``masked_clip`` and ``set``: means over the epoch's steps.

    Args:
        record: Configuration, and what checkpoints say of the training.
    """

    def __init__(self, record: TrainingRecord) -> None:
        super().__init__()
        self.record = record
        config = record.config
        with seeded_initialisation(config.seed):
            # first, so that it equals initial_aggregator's
            self.aggregator = SetTransformer(config.model, feature_dim=record.feature_dim)
            self.masked_clip_task = MaskedClipTask(
                width=config.model.width,
                feature_dim=record.feature_dim,
                prediction_hidden_dim=config.prediction_hidden_dim,
                target_hidden_dim=config.target_hidden_dim,
                projection_dim=config.projection_dim,
                negatives=config.negatives,
                temperature=config.temperature,
                masking=config.masking,
            )
            self.set_head = ProjectionHead(
                config.model.width, hidden_dim=config.set_hidden_dim, output_dim=config.projection_dim, num_layers=2
            )
        weights = {"masked_clip": config.masked_clip_weight, "set": config.set_weight}
        self._weights = {task: weight for task, weight in weights.items() if weight > 0}
        self._step = self.contrasts
        self._watch = EpochWatch()
        self._collapse_warnings = CollapseWarnings(config)
        self._stopwatch = Stopwatch()
        self.total_steps = 0
        """Of the whole training, once that is known; where it goes by the clock, ``_TICKS`` of the schedule."""

    def setup(self, stage: str) -> None:
        """Have the step compiled, at its first call, if that was decided."""
        if self.record.config.compile == "on":
            self._step = torch.compile(self.contrasts)

    def contrasts(self, batch: ClipSetBatch) -> dict[str, Contrast]:
        """Loss and accuracy of each task whose weight is not 0."""
        device_type = batch.features.device.type
        precision = decided_precision(self.record.config.precision, device_type=device_type)
        with matrix_products(precision, device_type=device_type):
            return self._contrasts(batch)

    def _contrasts(self, batch: ClipSetBatch) -> dict[str, Contrast]:
        features = batch.features.flatten(0, 1).float()  # (N * S, K, D)
        coordinates = batch.coordinates.flatten(0, 1)
        cls, clips = self.aggregator(
            self._augmented(features), coordinates, masked_clips=batch.masked_clips, only_masked=True
        )
        contrasts = {}
        if "masked_clip" in self._weights:
            contrasts["masked_clip"] = self.masked_clip_task(
                clips.flatten(0, 1), features.flatten(0, 1), batch.masked_clips
            )
        if "set" in self._weights:
            config = self.record.config
            z = self.set_head(cls).unflatten(0, (-1, config.sets_per_video))  # (N, S, P)
            contrasts["set"] = set_infonce(z, temperature=config.set_temperature or config.temperature)
        return contrasts

    def _augmented(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        config = self.record.config
        return augment_features(features, noise=config.feature_noise, dropout=config.feature_dropout)

    def total_loss(self, contrasts: dict[str, Contrast]) -> Tensor:
        """The tasks' losses, weighted."""
        return torch.stack([self._weights[task] * contrast.loss for task, contrast in contrasts.items()]).sum()

    def training_step(self, batch: ClipSetBatch, batch_idx: int) -> Tensor:
        """One step's loss.

        Raises:
            TrainingDivergedError: the loss of this or one of the last steps is not finite.
        """
        contrasts = self._step(batch)
        self._watch.add(contrasts)
        if self._watch.num_steps % _STEPS_PER_CHECK == 0:
            self._raise_if_diverged()
        return self.total_loss(contrasts)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, and look whether training goes well.

        Raises:
            TrainingDivergedError: a loss is not finite; nothing is saved after this.
        """
        self._raise_if_diverged()
        means = self._watch.means()
        loss = sum(weight * means[f"{task}_loss"] for task, weight in self._weights.items())
        logged = {"loss": loss, **means, "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"]}
        # All ranks have the same values already; Lightning would remind of it at every one.
        self.log_dict(logged, sync_dist=self.trainer.world_size > 1)
        if self._watch.share_before >= self.record.config.warmup_fraction:
            self._collapse_warnings.look_at(self._watch)
        self._watch = EpochWatch(share_before=self.share_done())

    def on_train_start(self) -> None:
        """Let the clock run on from where it was."""
        self._stopwatch.start(before=self.record.share_done * 60 * self.record.config.minutes)

    def share_done(self) -> float:
        """Part of the training that is done, from 0 to 1: of its steps, or of its minutes."""
        config = self.record.config
        if config.minutes:
            return self._stopwatch.seconds / (60 * config.minutes)
        return self.global_step / self.total_steps

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with linear warm-up and cosine decay, stepped after every batch."""
        config = self.record.config
        groups = weight_decay_groups(self, weight_decay=config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.total_steps = _TICKS if config.minutes else config.steps or int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            if config.minutes:
                step = min(_TICKS, int(self.share_done() * _TICKS))
            return warmup_cosine(step, total_steps=self.total_steps, warmup_fraction=config.warmup_fraction)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record and the sums of an unfinished epoch, as tensors and plain values.

        Raises:
            TrainingDivergedError: a loss or a weight is not finite, and is not worth saving.
        """
        self.check_finite()
        checkpoint[RECORD] = self.record_now().to_plain()
        checkpoint[EPOCH] = {"watch": self._watch.to_plain(), "warnings": self._collapse_warnings.to_plain()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on in the epoch where it was saved."""
        self.record = replace(self.record, share_done=checkpoint[RECORD].get("share_done", 0.0))
        if EPOCH in checkpoint:
            self._watch = EpochWatch.from_plain(checkpoint[EPOCH]["watch"])
            self._collapse_warnings.load(checkpoint[EPOCH]["warnings"])

    def record_now(self) -> TrainingRecord:
        """The record, with what is done by now."""
        return replace(
            self.record,
            epochs_done=self.global_step // int(self.trainer.num_training_batches),
            steps_done=self.global_step,
            share_done=min(1.0, self.share_done()),
        )

    def check_finite(self) -> None:
        """Look at all that could be saved.

        Raises:
            TrainingDivergedError: a loss of this epoch or a weight is not finite.
        """
        self._raise_if_diverged()
        if not all(weight.isfinite().all() for weight in self.parameters()):
            raise self._diverged("weights")

    def _raise_if_diverged(self) -> None:
        if diverged := " and ".join(self._watch.diverged()):
            raise self._diverged(f"loss of {diverged}")

    def _diverged(self, what: str) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"{what} not finite in epoch {self.current_epoch + 1}, step {self.global_step}; "
            f"lower learning_rate ({self.record.config.learning_rate}) or raise warmup_fraction "
            f"({self.record.config.warmup_fraction}), and start anew or from the last checkpoint"
        )


def weight_decay_groups(module: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: matrices decay; biases, norms' weights and learned tokens, all 1-D, don't."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, *, total_steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate at a step, counted from 0.

    It rises linearly to 1 at the first step after the warm-up, then falls as a half cosine to 0 at ``total_steps``.
    ``total_steps=10, warmup_fraction=.2 -> 1/3, 2/3, 1, .96, …``
    """
    warmup_steps = round(total_steps * warmup_fraction)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return (1 + math.cos(math.pi * progress)) / 2
