"""The one entry to the protocols: labelled vectors in, scores with their intervals out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import Estimate, estimate
from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.linear import linear_probe
from scale_video.evaluate.low_shot import draw_share
from scale_video.evaluate.nonlinear import DEFAULT_NONLINEAR, NonlinearConfig, nonlinear_probe
from scale_video.evaluate.options import DEFAULT_OPTIONS, ProbeOptions
from scale_video.evaluate.prediction import NUM_RANKED, Prediction
from scale_video.evaluate.result import PROTOCOLS
from scale_video.evaluate.retrieval import RECALL_DEPTHS, recalled, retrieve

_SPOKEN = {
    "knn": "k-NN",
    "linear": "the linear probe",
    "nonlinear": "the nonlinear probe",
    "retrieval": "retrieval",
}


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What a probe found out about one representation."""

    estimates: Mapping[str, Estimate]
    """Metric to its value, with the interval over test groups: ``top1`` and, where there are more than five classes,
    ``top5``; for retrieval ``r@1`` … ``r@50`` and ``map``."""
    scores: Mapping[str, NDArray[np.float64]]
    """The same by labelled test video, shape (num_test,): the estimates are their means."""
    num_train: int
    """Labelled training videos, those of the hold-out included."""
    num_test: int
    """Labelled test videos."""
    predictions: NDArray[np.int64]
    """Predicted class of each test row as given, also of those without a label, shape (N_test,); for retrieval the
    class of the nearest training video."""
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
    options: ProbeOptions = DEFAULT_OPTIONS,
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
        protocol: One of ``PROTOCOLS``.
        num_classes: Classes of the data set; a split need not hold all of them.
        seed: Seeds hold-out and training.
        options: What a user may set about the protocols.
        nonlinear: Sizes and candidates of the nonlinear probe.
        device: Torch device for all protocols but ``linear``.

    Returns:
        Scores with their intervals, and what led to them.

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
    in_test = test_labels >= 0
    labelled = np.flatnonzero(train_labels >= 0)
    _check_labels(train_labels[labelled], num_test=int(in_test.sum()), probe=_SPOKEN[protocol])
    kept = labelled
    if options.train_share < 1:
        kept = labelled[draw_share(train_labels[labelled], options.train_share, seed=options.share_seed)]

    began = time.perf_counter()
    fitted = np.ascontiguousarray(train[kept], dtype=np.float32)
    labels = train_labels[kept]
    groups = np.asarray(train_groups)[kept]
    vectors = np.ascontiguousarray(test, dtype=np.float32)
    if protocol == "retrieval":
        prediction, scores = _retrieve(fitted, labels, vectors, test_labels, device=device)
    else:
        if protocol == "knn":
            prediction = knn_predict(
                fitted,
                labels,
                vectors,
                num_classes=num_classes,
                k=options.k,
                temperature=options.temperature,
                device=device,
            )
        elif protocol == "linear":
            prediction = linear_probe(fitted, labels, groups, vectors, seed=seed)
        else:
            prediction = nonlinear_probe(
                fitted, labels, groups, vectors, num_classes=num_classes, seed=seed, config=nonlinear, device=device
            )
        tops = (1, NUM_RANKED) if num_classes > NUM_RANKED else (1,)  # of five classes all are among the first five
        scores = {f"top{top}": prediction.hits(test_labels, top=top).astype(np.float64) for top in tops}
    seconds = time.perf_counter() - began

    scores = {metric: values[in_test] for metric, values in scores.items()}
    scored_groups = np.asarray(test_groups)[in_test]
    notes = (
        prediction.note,
        _share_note(options, num_kept=len(kept), num_labelled=len(labelled)),
        _unlabelled_note(num_train=len(train) - len(labelled), num_test=int((~in_test).sum())),
        _unseen_class_note(labels, test_labels[in_test]),
        "one test group only: no interval" if len(np.unique(scored_groups)) == 1 else "",
    )
    return ProbeOutcome(
        estimates={metric: estimate(values, scored_groups) for metric, values in scores.items()},
        scores=scores,
        num_train=len(fitted),
        num_test=int(in_test.sum()),
        predictions=prediction.classes,
        hyperparameters=prediction.hyperparameters,
        note="; ".join(note for note in notes if note),
        seconds=seconds,
    )


def _retrieve(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    test_labels: NDArray[np.integer[Any]],
    *,
    device: str,
) -> tuple[Prediction, dict[str, NDArray[np.float64]]]:
    """The class of the nearest training video, and the scores of each query."""
    ranking = retrieve(train, train_labels, test, test_labels, device=device)
    scores = {
        f"r@{depth}": recalled(ranking, train_labels, test_labels, depth=depth).astype(np.float64)
        for depth in RECALL_DEPTHS
    }
    note = f"{len(train)} training videos to search, fewer than {max(RECALL_DEPTHS)}"
    return (
        Prediction(
            train_labels[ranking.nearest[:, :1]].astype(np.int64),
            {},
            note if len(train) < max(RECALL_DEPTHS) else "",
        ),
        {**scores, "map": ranking.average_precision},
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


def _share_note(options: ProbeOptions, *, num_kept: int, num_labelled: int) -> str:
    if options.train_share == 1:
        return ""
    return f"{num_kept} of {num_labelled} training labels, drawn by seed {options.share_seed}"


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
