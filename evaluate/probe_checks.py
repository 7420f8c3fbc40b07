"""What is refused before a probe runs, and what its note tells a reader: one line each."""

from collections.abc import Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.clip_videos import ClipVideos
from scale_video.evaluate.options import ProbeOptions
from scale_video.evaluate.targets import TargetKind

_PIECE_ROWS = 4096


def check_side(
    side: str,
    inputs: NDArray[np.floating[Any]] | ClipVideos,
    targets: NDArray[Any],
    groups: Sized,
    *,
    kind: TargetKind,
    num_classes: int,
) -> None:
    """Check what is given for one side, before it is looked at who has a target.

    Raises:
        ValueError: shapes that disagree, features that are not finite, or targets out of range.
    """
    values = inputs.features.reshape(len(inputs), -1) if isinstance(inputs, ClipVideos) else inputs
    num_dims = 2 if kind == "classes" else 1
    if values.ndim != 2 or targets.ndim != num_dims or not len(values) == len(targets) == len(groups):
        raise ValueError(
            f"{side} needs one vector, label and group per video, got vectors of shape {values.shape}, "
            f"{len(targets)} labels and {len(groups)} groups"
        )
    damaged = np.flatnonzero(~np.concatenate([np.isfinite(rows).all(axis=1) for rows in _pieces(values)]))
    if damaged.size:
        raise ValueError(
            f"{damaged.size} of {len(values)} {side} videos have features that are not finite, the first is row "
            f"{damaged[0]}; leave out videos without features"
        )
    if kind == "number":
        return
    most = 1 if kind == "classes" else num_classes - 1
    if targets.size and not (targets.min() >= -1 and targets.max() <= most):
        raise ValueError(
            f"{side} labels must lie in [-1, {most + 1}), got values from {targets.min()} to {targets.max()}"
        )
    if kind == "classes" and targets.shape[1] != num_classes:
        raise ValueError(f"{side} labels must have one column per class ({num_classes}), got {targets.shape[1]}")


def _pieces(values: NDArray[np.floating[Any]]) -> list[NDArray[np.floating[Any]]]:
    """Rows in pieces, so that looking at them takes little memory."""
    return [values[first : first + _PIECE_ROWS] for first in range(0, max(1, len(values)), _PIECE_ROWS)]


def check_labelled(train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind, probe: str) -> None:
    """Check that the videos with a target are enough to fit and to score.

    Args:
        train: Targets of the training videos that have one.
        test: Likewise.
        kind: Of the targets.
        probe: What they are for, as one says it.

    Raises:
        ValueError: they are not.
    """
    what = "target" if kind == "number" else "label"
    if len(train) == 0:
        raise ValueError(
            f"{probe} needs {what}s; no training video has one: name another --target or --split, or give them some "
            "(class folders, split lists with labels, or a column of the table) and extract again"
        )
    if len(train) < 2:
        raise ValueError(f"{probe} needs at least two labelled training videos, got {len(train)}")
    if (train == train[:1]).all():
        alike = {
            "class": f"two classes; all training videos have class {train[0]}",
            "classes": "two sets of classes; all training videos have the same",
            "number": f"two values; all training videos have {train[0]}",
        }
        raise ValueError(f"{probe} needs at least {alike[kind]}")
    if len(test) < 1:
        raise ValueError(f"{probe} needs at least one labelled test video, got none; check the split")
    if kind == "classes" and not (test == 1).any():
        raise ValueError(f"{probe} needs a test video that has a class; none of the {len(test)} has any")


def share_note(options: ProbeOptions, *, num_kept: int, num_labelled: int) -> str:
    """How many labels a low-shot probe saw."""
    if options.train_share == 1:
        return ""
    return f"{num_kept} of {num_labelled} training labels, drawn by seed {options.share_seed}"


def unlabelled_note(*, num_train: int, num_test: int) -> str:
    """How many videos have no label."""
    if num_train == num_test == 0:
        return ""
    return f"without a label and left out: {num_train} training and {num_test} test videos"


def unseen_class_note(train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind) -> str:
    """How many test videos have classes that no training video has."""
    if kind == "number":
        return ""
    if kind == "classes":
        unseen = np.flatnonzero((test == 1).any(axis=0) & ~(train == 1).any(axis=0))
        of_unseen = (test[:, unseen] == 1).any(axis=1)
    else:
        unseen = np.setdiff1d(test, train)
        of_unseen = np.isin(test, unseen)
    if unseen.size == 0:
        return ""
    named = ", ".join(map(str, unseen[:5])) + (", …" if unseen.size > 5 else "")
    return f"{int(of_unseen.sum())} test videos are of {unseen.size} classes without a training video ({named})"


def mean_note(train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind) -> str:
    """What a number's error is measured against."""
    if kind != "number":
        return ""
    error = ((test.astype(np.float64) - train.astype(np.float64).mean()) ** 2).mean()
    return f"predicting the mean of the training targets has an MSE of {error:.4g}"
