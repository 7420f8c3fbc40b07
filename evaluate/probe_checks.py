"""What is refused before a probe runs, and what its note tells a reader: one line each."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.clip_videos import ClipVideos
from scale_video.evaluate.options import ProbeOptions
from scale_video.evaluate.targets import TargetKind

_PIECE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Names:
    """What messages call things; what is not given is left out, or called by its number."""

    split: str = ""
    target: str = ""
    """Column that is predicted."""
    classes: Sequence[str] = ()
    """By class index."""
    videos: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids of the videos of a side (``train``, ``validation``, ``test``), in the order of its rows."""

    @property
    def of_split(self) -> str:
        """`` of split '1'``, to follow the videos."""
        return f" of split {self.split!r}" if self.split else ""

    @property
    def in_column(self) -> str:
        """`` in column 'label'``, to follow what the videos have."""
        return f" in column {self.target!r}" if self.target else ""

    def class_of(self, index: int) -> str:
        """Name of a class."""
        return repr(self.classes[index]) if self.classes else str(index)

    def video(self, side: str, row: int) -> str:
        """Id of a video."""
        return repr(self.videos[side][row]) if side in self.videos else f"row {row}"


NO_NAMES = Names()


def check_side(
    side: str,
    inputs: NDArray[np.floating[Any]] | ClipVideos,
    targets: NDArray[Any],
    groups: Sized,
    *,
    kind: TargetKind,
    num_classes: int,
    names: Names = NO_NAMES,
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
            f"{damaged.size} of {len(values)} {side} videos have features that are not finite, the first is "
            f"{names.video(side, int(damaged[0]))}; find damage by `scale-video verify`, do failed videos again by "
            "`scale-video extract --retry`; if an aggregator makes them so, pre-train it again"
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


def check_labelled(
    train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind, probe: str, names: Names = NO_NAMES
) -> None:
    """Check that the videos with a target are enough to fit and to score.

    Args:
        train: Targets of the training videos that have one.
        test: Likewise.
        kind: Of the targets.
        probe: What they are for, as one says it.
        names: Of what they come from.

    Raises:
        ValueError: they are not.
    """
    what = "target" if kind == "number" else "label"
    there, way_out = f"videos{names.of_split}", "name another --target or --split"
    if len(train) == 0:
        raise ValueError(
            f"{probe} needs {what}s; no training video{names.of_split} has one{names.in_column}: {way_out}, or give "
            "them some (class folders, split lists with labels, or a column of the table) and extract again"
        )
    if len(train) < 2:
        raise ValueError(
            f"{probe} needs at least two labelled training {there}, got {len(train)}{names.in_column}; {way_out}"
        )
    if (train == train[:1]).all():
        alike = {
            "class": f"two classes; all training {there} have class",
            "classes": f"two sets of classes; all training {there} have the same",
            "number": f"two values; all training {there} have {train[0]}",
        }
        only = f" {names.class_of(int(train[0]))}" if kind == "class" else ""
        raise ValueError(f"{probe} needs at least {alike[kind]}{only}{names.in_column}; {way_out}")
    if len(test) < 1:
        raise ValueError(
            f"{probe} needs at least one labelled test video; none{names.of_split} has a {what}{names.in_column}: "
            f"{way_out}"
        )
    if kind == "classes" and not (test == 1).any():
        raise ValueError(
            f"{probe} needs a test video that has a class; none of the {len(test)}{names.of_split} has any"
            f"{names.in_column}: {way_out}"
        )


def check_share(kept: NDArray[Any], *, num_labelled: int, options: ProbeOptions, probe: str) -> None:
    """Check that a draw of labels left enough to fit; arguments as in ``share_note``, and the targets it kept.

    Raises:
        ValueError: it did not.
    """
    if len(kept) < 2 or (kept == kept[:1]).all():
        what = "1" if len(kept) == 1 else f"{len(kept)}, which are all alike,"
        raise ValueError(
            f"{probe} needs at least two training videos that differ in what is predicted; --train-share "
            f"{options.train_share:g} keeps {what} of {num_labelled}: give a larger --train-share"
        )


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


def unchosen_note(num_validation: int) -> str:
    """That there is a validation part, and why it is not used."""
    return f"none of {num_validation} validation videos has a label, so nothing is chosen on them"


def unseen_class_note(train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind, names: Names = NO_NAMES) -> str:
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
    named = ", ".join(names.class_of(int(index)) for index in unseen[:5]) + (", …" if unseen.size > 5 else "")
    return f"{int(of_unseen.sum())} test videos are of {unseen.size} classes without a training video ({named})"


def mean_note(train: NDArray[Any], test: NDArray[Any], *, kind: TargetKind) -> str:
    """What a number's error is measured against."""
    if kind != "number":
        return ""
    error = ((test.astype(np.float64) - train.astype(np.float64).mean()) ** 2).mean()
    return f"predicting the mean of the training targets has an MSE of {error:.4g}"
