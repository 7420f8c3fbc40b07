"""The one entry to the probes: labelled vectors in, top-1 with its interval out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import bootstrap_interval
from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.linear import linear_probe
from scale_video.evaluate.nonlinear import DEFAULT_NONLINEAR, NonlinearConfig, nonlinear_probe
from scale_video.evaluate.prediction import Prediction
from scale_video.evaluate.result import PROTOCOLS

_SPOKEN = {"knn": "k-NN", "linear": "the linear probe", "nonlinear": "the nonlinear probe"}


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What a probe found out about one representation."""

    top1: float
    """Share of the labelled test videos whose class was predicted."""
    ci_low: float
    """Ends of the 95 % bootstrap interval over test groups."""
    ci_high: float
    num_train: int
    """Labelled training videos, those of the hold-out included."""
    num_test: int
    """Labelled test videos."""
    predictions: NDArray[np.int64]
    """Predicted class of each test row as given, also of those without a label, shape (N_test,)."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given."""
    note: str
    """What a reader of the result must know, in one line; empty when there is nothing."""
    seconds: float
    """Wall-clock time, choice of hyper-parameters included."""


def evaluate_representation(
    train: NDArray[np.floating[Any]],
    train_labels: NDArray[np.integer[Any]],
    train_groups: Sequence[str] | NDArray[Any],
    test: NDArray[np.floating[Any]],
    test_labels: NDArray[np.integer[Any]],
    test_groups: Sequence[str] | NDArray[Any],
    *,
    protocol: str,
    num_classes: int,
    seed: int,
    nonlinear: NonlinearConfig = DEFAULT_NONLINEAR,
    device: str = "cpu",
) -> ProbeOutcome:
    """Fit a probe on training videos and test it once on test videos.

    Test labels are used for nothing but the score. Videos with label -1 count neither in training nor in the score.

    Args:
        train: Vectors of the training videos, shape (N, D).
        train_labels: Their classes in [0, num_classes), or -1, shape (N,).
        train_groups: Their groups, N of them; a hold-out keeps a group together.
        test: Vectors of the test videos, shape (N_test, D).
        test_labels: Their classes, or -1, shape (N_test,).
        test_groups: Their groups, N_test of them; the bootstrap keeps a group together.
        protocol: ``knn``, ``linear`` or ``nonlinear``.
        num_classes: Classes of the data set; a split need not hold all of them.
        seed: Seeds hold-out and training.
        nonlinear: Sizes and candidates of the nonlinear probe.
        device: Torch device for ``knn`` and ``nonlinear``.

    Returns:
        Top-1 with its interval, and what led to it.

    Raises:
        ValueError: an unknown protocol, shapes that disagree, labels out of range, features that are not finite, no
            labels, fewer than two labelled training videos or classes, or no labelled test video.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    _check_side("train", train, train_labels, train_groups, num_classes=num_classes)
    _check_side("test", test, test_labels, test_groups, num_classes=num_classes)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"training vectors have {train.shape[1]} dimensions, test vectors {test.shape[1]}; use the same "
            "representation on both sides"
        )
    in_train = train_labels >= 0
    in_test = test_labels >= 0
    _check_labels(train_labels[in_train], num_test=int(in_test.sum()), probe=_SPOKEN[protocol])

    began = time.perf_counter()
    fitted = np.ascontiguousarray(train[in_train], dtype=np.float32)
    labels = train_labels[in_train]
    groups = np.asarray(train_groups)[in_train]
    vectors = np.ascontiguousarray(test, dtype=np.float32)
    prediction: Prediction
    if protocol == "knn":
        prediction = knn_predict(fitted, labels, vectors, num_classes=num_classes, device=device)
    elif protocol == "linear":
        prediction = linear_probe(fitted, labels, groups, vectors, seed=seed)
    else:
        prediction = nonlinear_probe(
            fitted, labels, groups, vectors, num_classes=num_classes, seed=seed, config=nonlinear, device=device
        )
    seconds = time.perf_counter() - began

    correct = prediction.classes[in_test] == test_labels[in_test]
    scored_groups = np.asarray(test_groups)[in_test]
    low, high = bootstrap_interval(correct, scored_groups)
    notes = (
        prediction.note,
        _unlabelled_note(num_train=int((~in_train).sum()), num_test=int((~in_test).sum())),
        _unseen_class_note(labels, test_labels[in_test]),
        "one test group only: no interval" if len(np.unique(scored_groups)) == 1 else "",
    )
    return ProbeOutcome(
        top1=float(correct.mean()),
        ci_low=low,
        ci_high=high,
        num_train=len(fitted),
        num_test=len(correct),
        predictions=prediction.classes,
        hyperparameters=prediction.hyperparameters,
        note="; ".join(note for note in notes if note),
        seconds=seconds,
    )


def _check_side(
    side: str,
    vectors: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    groups: Sequence[str] | NDArray[Any],
    *,
    num_classes: int,
) -> None:
    """Check what is given for one side, before labels are looked at."""
    if vectors.ndim != 2 or len(vectors) != len(labels) or len(vectors) != len(groups):
        raise ValueError(
            f"{side} needs one vector, label and group per video, got vectors of shape {vectors.shape}, "
            f"{len(labels)} labels and {len(groups)} groups"
        )
    damaged = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if damaged.size:
        raise ValueError(
            f"{damaged.size} of {len(vectors)} {side} videos have features that are not finite, the first is row "
            f"{damaged[0]}; leave out videos without features"
        )
    if len(labels) and not (labels.min() >= -1 and labels.max() < num_classes):
        raise ValueError(
            f"{side} labels must lie in [-1, {num_classes}), got values from {labels.min()} to {labels.max()}"
        )


def _check_labels(train_labels: NDArray[np.integer[Any]], *, num_test: int, probe: str) -> None:
    """Check that the labelled videos are enough to fit and to score."""
    if len(train_labels) == 0:
        raise ValueError(f"{probe} needs labels; no training video has one: sort the videos into class folders")
    if len(train_labels) < 2:
        raise ValueError(f"{probe} needs at least two labelled training videos, got {len(train_labels)}")
    if (train_labels == train_labels[0]).all():
        raise ValueError(f"{probe} needs at least two classes; all training videos have class {train_labels[0]}")
    if num_test < 1:
        raise ValueError(f"{probe} needs at least one labelled test video, got none; check the split")


def _unlabelled_note(*, num_train: int, num_test: int) -> str:
    if num_train == num_test == 0:
        return ""
    return f"without a label and left out: {num_train} training and {num_test} test videos"


def _unseen_class_note(train_labels: NDArray[np.integer[Any]], test_labels: NDArray[np.integer[Any]]) -> str:
    unseen = np.setdiff1d(test_labels, train_labels)
    if unseen.size == 0:
        return ""
    named = ", ".join(map(str, unseen[:5])) + (", …" if unseen.size > 5 else "")
    num_videos = int(np.isin(test_labels, unseen).sum())
    return f"{num_videos} test videos are of {unseen.size} classes without a training video ({named})"
