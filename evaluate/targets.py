"""What a probe predicts of a video: one of several classes, a set of classes, or a number.

A task holds what the trained probes need of that: how many outputs they have, their loss, how the outputs of a video's
clips are averaged, and how well they do on a hold-out.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scale_video.evaluate.label_precision import class_precisions

TargetKind = Literal["class", "classes", "number"]
"""``class``: integers, shape (N,), -1 where absent. ``classes``: integers, shape (N, C), 1 for each class that a video
has and 0 for the others, -1 where that is not known. ``number``: floats, shape (N,), NaN where absent."""


class Task(Protocol):
    """Of one kind of target. Rows may be videos, or clips that carry the target of their video."""

    @property
    def num_outputs(self) -> int:
        """Outputs of a probe, O."""

    @property
    def poolings(self) -> tuple[str, ...]:
        """Ways of averaging the outputs of a video's clips, the default first."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over rows: outputs (n, O), targets as ``TargetKind`` describes them, n of them."""

    def pool(self, outputs: Tensor, valid: Tensor, pooling: str) -> Tensor:
        """Average over the valid clips: (n, K, O) and (n, K) -> (n, O)."""

    def score(self, predictions: NDArray[np.floating[Any]], targets: NDArray[Any]) -> float:
        """How good pooled outputs (n, O) are; higher is better."""


@dataclass(frozen=True, slots=True)
class OneClass:
    """One of several classes: cross-entropy, judged by top-1."""

    num_outputs: int
    poolings: tuple[str, ...] = ("logits", "probabilities")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets.long())

    def pool(self, outputs: Tensor, valid: Tensor, pooling: str) -> Tensor:
        """Mean of the logits, or of their softmax."""
        return _mean_of_valid(outputs.softmax(dim=-1) if pooling == "probabilities" else outputs, valid)

    def score(self, predictions: NDArray[np.floating[Any]], targets: NDArray[Any]) -> float:
        """Top-1."""
        return float((predictions.argmax(axis=1) == targets).mean())


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Any number of classes: a binary cross-entropy for each, judged by the mean of their average precisions."""

    num_outputs: int
    poolings: tuple[str, ...] = ("logits", "probabilities")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, mean over classes."""
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def pool(self, outputs: Tensor, valid: Tensor, pooling: str) -> Tensor:
        """Mean of the logits, or of their sigmoid."""
        return _mean_of_valid(outputs.sigmoid() if pooling == "probabilities" else outputs, valid)

    def score(self, predictions: NDArray[np.floating[Any]], targets: NDArray[Any]) -> float:
        """Mean average precision of the classes that occur among the targets."""
        has = targets == 1
        return float(class_precisions(predictions, has)[has.any(axis=0)].mean()) if has.any() else 0.0


@dataclass(frozen=True, slots=True)
class Number:
    """A number: squared error of the standardised target, judged by the squared error in the target's own unit."""

    mean: float
    """Of the training targets."""
    scale: float
    """Standard deviation of the training targets; 1 where they are all equal."""
    num_outputs: int = 1
    poolings: tuple[str, ...] = ("mean",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error in standard deviations."""
        return F.mse_loss(outputs[:, 0], ((targets - self.mean) / self.scale).to(outputs.dtype))

    def pool(self, outputs: Tensor, valid: Tensor, pooling: str) -> Tensor:
        """Mean, in the target's own unit."""
        return _mean_of_valid(outputs, valid) * self.scale + self.mean

    def score(self, predictions: NDArray[np.floating[Any]], targets: NDArray[Any]) -> float:
        """Minus the mean squared error."""
        return -float(((predictions[:, 0] - targets) ** 2).mean())


def task_of(kind: TargetKind, train_targets: NDArray[Any], *, num_classes: int) -> Task:
    """The task of targets of a kind; ``train_targets`` are those of the labelled training videos."""
    if kind == "class":
        return OneClass(num_classes)
    if kind == "classes":
        return ClassSet(num_classes)
    mean, scale = (float(of(train_targets.astype(np.float64))) for of in (np.mean, np.std))
    return Number(mean=mean, scale=scale or 1.0)


def is_labelled(kind: TargetKind, targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Which videos have a target, shape (N,)."""
    known: NDArray[np.bool_] = np.isfinite(targets) if kind == "number" else targets >= 0
    return np.asarray(known.all(axis=1)) if kind == "classes" else known


def _mean_of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid clips, (n, K, O) -> (n, O); clips that are not valid may hold anything."""
    kept = torch.where(valid[:, :, None], values, 0)
    return kept.sum(dim=1) / valid.sum(dim=1, keepdim=True)
