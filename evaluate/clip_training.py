"""Training on single clips, as SCALE's published evaluation does: each clip of a set carries the label of its video.

Of every video a set of clips is drawn anew in each epoch. A classifier reads the vector of each clip; the loss is the
mean over clips. AdamW with a linear warm-up and a half cosine, both spread over ``schedule_epochs``: the published
evaluation takes them, like the weight decay of 1e-4, from the arguments of the pre-training, so that its 60 epochs are
the beginning of a schedule of 200 (of 1000 on UCF101).
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos
from scale_video.evaluate.nonlinear import Perceptron
from scale_video.evaluate.options import CLIP_EPOCHS, DEFAULT_SCHEDULE_EPOCHS
from scale_video.evaluate.targets import Task

_PREDICTION_VIDEOS = 256  # at a time


@dataclass(frozen=True, slots=True)
class ClipTrainingConfig:
    """How probes on single clips are trained; the defaults are the published ones."""

    head: Literal["linear", "perceptron"] = "linear"
    """One linear layer, or the perceptron of ``nonlinear.py``."""
    unfreeze: bool = False
    """Train the aggregator too, with its dropout."""
    max_epochs: int = CLIP_EPOCHS
    schedule_epochs: int = DEFAULT_SCHEDULE_EPOCHS
    """Epochs over which the learning rate rises and falls; training may end before."""
    warmup_fraction: float = 0.05
    """Of ``schedule_epochs``."""
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    """Of matrices; biases, norms' weights and tokens have none."""
    max_batch_size: int = 512
    """Videos a step; fewer on small data sets, so that an epoch has about eight steps (ours)."""
    clips_per_set: int = 8
    """Clips of a video that a step sees; all of them where there are fewer."""
    hidden_dim: int = 2048
    """Of the perceptron."""
    output_dim: int = 512
    """Of the perceptron."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: a number is out of its range.
        """
        for name in ("max_epochs", "learning_rate", "max_batch_size", "clips_per_set", "hidden_dim", "output_dim"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.schedule_epochs < self.max_epochs:
            raise ValueError(
                f"schedule_epochs must be at least max_epochs ({self.max_epochs}), got {self.schedule_epochs}"
            )
        if self.weight_decay < 0 or not 0 <= self.warmup_fraction < 1:
            raise ValueError(
                f"weight_decay must not be negative and warmup_fraction in [0, 1), got {self.weight_decay} and "
                f"{self.warmup_fraction}"
            )


DEFAULT_CLIP_TRAINING = ClipTrainingConfig()


class ClipModel(nn.Module):
    """Vectors of clips, and what is predicted from each."""

    def __init__(self, encoder: ClipEncoder, head: nn.Module, *, unfreeze: bool) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(unfreeze)
        self.head = head
        self._unfreeze = unfreeze

    def train(self, mode: bool = True) -> "ClipModel":
        """Set the mode; a frozen encoder has no dropout in either."""
        super().train(mode)
        self.encoder.train(mode and self._unfreeze)
        return self

    def forward(self, features: Tensor, coordinates: Tensor, valid: Tensor) -> Tensor:
        """Outputs of each clip, shape (n, K, O)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._unfreeze):
            vectors = self.encoder(features, coordinates, valid)
        outputs: Tensor = self.head(vectors)
        return outputs


Predictions = Mapping[str, NDArray[np.float32]]
"""By the task's poolings, shape (n, O)."""
Predictor = Callable[[ClipVideos], Predictions]
AfterEpoch = Callable[[int, Predictor], None]
"""Called with the number of epochs done, from 1 on, and the predictor as it then is."""


def train_on_clips(
    videos: ClipVideos,
    targets: NDArray[Any],
    rows: NDArray[np.int64],
    *,
    task: Task,
    encoder: ClipEncoder,
    config: ClipTrainingConfig,
    num_epochs: int,
    seed: int,
    device: str,
    after_epoch: AfterEpoch,
) -> Predictor:
    """Train for some epochs; ``encoder`` itself is never changed.

    Args:
        videos: N videos.
        targets: Their targets, none absent.
        rows: Which of them are trained on.
        task: What is predicted.
        encoder: What the clips' vectors are made by; a copy of it is trained where ``config.unfreeze`` says so.
        config: How.
        num_epochs: How many, at most ``config.max_epochs``: another number is the same training, stopped elsewhere.
        seed: Seeds initial weights, sets, order and dropout; the global generators stay as they are.
        device: Torch device that trains.
        after_epoch: Is called after each epoch.

    Returns:
        The predictor after the last epoch.
    """
    batch_size = min(config.max_batch_size, max(4, len(rows) // 8), len(rows))
    with _seeded(seed, device):
        own_encoder = copy.deepcopy(encoder).to(device)
        head = _head(_vector_dim(own_encoder, videos, device), task, config)
        model = ClipModel(own_encoder, head.to(device), unfreeze=config.unfreeze)
        optimiser, schedule = _optimiser(model, config, steps_per_epoch=len(rows) // batch_size)
        predict = _predictor(model, task, device)
        generator = torch.Generator().manual_seed(seed)
        for epoch in range(1, num_epochs + 1):
            model.train()
            for batch, clips in _batches(rows, videos.valid, batch_size, config.clips_per_set, generator):
                features, coordinates, valid = videos.take_clips(batch, clips).tensors(device)
                of_clips = torch.from_numpy(targets[batch]).to(device).repeat_interleave(valid.sum(dim=1), dim=0)
                loss = task.loss(model(features, coordinates, valid)[valid], of_clips)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            after_epoch(epoch, predict)
    return predict


def learning_rate_factor(step: int, *, total_steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate of a step, counted from 0: up linearly, down as a half cosine.

    ``total_steps=10, warmup_fraction=.2 -> 0, .5, 1, .96, …``; the very first step has none, as published.
    """
    warmup_steps = warmup_fraction * total_steps
    if step < warmup_steps:
        return step / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def _batches(
    rows: NDArray[np.int64],
    valid: NDArray[np.bool_],
    batch_size: int,
    clips_per_set: int,
    generator: torch.Generator,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows (n,) of one epoch's batches, whole ones only as published, and of each row its clips (n, clips_per_set).

    Valid clips come before others, which are drawn only where there are too few of them.
    """
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    for first in range(0, len(order) - batch_size + 1, batch_size):
        batch = order[first : first + batch_size]
        keys = torch.rand(batch_size, valid.shape[1], generator=generator) + torch.from_numpy(~valid[batch])
        yield batch, keys.argsort(dim=1)[:, :clips_per_set].numpy()


def _vector_dim(encoder: ClipEncoder, videos: ClipVideos, device: str) -> int:
    with torch.inference_mode():
        return int(encoder.eval()(*videos.take(slice(0, 1)).tensors(device)).shape[-1])


def _head(input_dim: int, task: Task, config: ClipTrainingConfig) -> nn.Module:
    """The classifier, with fresh weights that are drawn on the CPU, whatever the device."""
    if config.head == "linear":
        return nn.Linear(input_dim, task.num_outputs)
    return Perceptron(input_dim, task.num_outputs, hidden_dim=config.hidden_dim, output_dim=config.output_dim)


def _optimiser(
    model: nn.Module, config: ClipTrainingConfig, *, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    total_steps = steps_per_epoch * config.schedule_epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: learning_rate_factor(step, total_steps=total_steps, warmup_fraction=config.warmup_fraction),
    )
    return optimiser, schedule


def _predictor(model: ClipModel, task: Task, device: str) -> Predictor:
    @torch.inference_mode()
    def predict(videos: ClipVideos) -> Predictions:
        model.eval()
        pooled: dict[str, list[Tensor]] = {pooling: [] for pooling in task.poolings}
        for first in range(0, len(videos), _PREDICTION_VIDEOS):
            features, coordinates, valid = videos.take(slice(first, first + _PREDICTION_VIDEOS)).tensors(device)
            outputs = model(features, coordinates, valid)
            for pooling, parts in pooled.items():
                parts.append(task.pool(outputs, valid, pooling).cpu())
        return {pooling: torch.cat(parts).numpy() for pooling, parts in pooled.items()}

    return predict


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """What PyTorch draws inside (weights, dropout) follows from the seed; the caller's random state stays as it was."""
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
