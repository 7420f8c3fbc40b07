"""The one entry to the protocols: labelled videos in, scores with their intervals out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import Estimate
from scale_video.evaluate.clip_training import DEFAULT_CLIP_TRAINING, ClipTrainingConfig
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos, concatenate_videos
from scale_video.evaluate.holdout import HoldOut, hold_out_groups, no_choice, validation_part
from scale_video.evaluate.low_shot import draw_share
from scale_video.evaluate.nonlinear import DEFAULT_NONLINEAR, NonlinearConfig
from scale_video.evaluate.options import CLIP_PROTOCOLS, DEFAULT_OPTIONS, WINDOW_PROTOCOLS, ProbeOptions
from scale_video.evaluate.prediction import Outputs, Prediction
from scale_video.evaluate.probe_checks import (
    NO_NAMES,
    Names,
    check_labelled,
    check_share,
    check_side,
    mean_note,
    share_note,
    unchosen_note,
    unlabelled_note,
    unseen_class_note,
)
from scale_video.evaluate.protocols import CHOOSE_NOTHING, SPOKEN, Inputs, Settings, predict
from scale_video.evaluate.result import PROTOCOLS
from scale_video.evaluate.retrieval import RECALL_DEPTHS, retrieve
from scale_video.evaluate.scoring import Scores, score_classes, score_numbers, score_ranking, score_sets
from scale_video.evaluate.targets import TargetKind, is_labelled
from scale_video.evaluate.windows import Windows


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What a probe found out about one representation."""

    estimates: Mapping[str, Estimate]
    """Metric to its value, with the interval over test groups. Of one class each: ``top1`` and, where there are more
    than five classes, ``top5``; for retrieval ``r@1`` … ``r@50`` and ``map``. Of sets of classes ``map`` and ``lrap``.
    Of numbers ``mse``."""
    scores: Mapping[str, NDArray[np.float64]]
    """By labelled test video, shape (num_test,): the estimates are their means. ``map`` over sets of classes has none,
    since it is no mean over videos."""
    num_train: int
    """Labelled training videos, those of the hold-out included; those of a validation part are not."""
    num_test: int
    """Labelled test videos."""
    predictions: NDArray[Any]
    """Of each test row as given, also of those without a label: the predicted class or number, shape (N_test,), for
    retrieval the class of the nearest training video; of sets of classes one score each, (N_test, C)."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given."""
    note: str
    """What a reader of the result must know, in one line; empty when there is nothing."""
    seconds: float
    """Wall-clock time, choice of hyper-parameters included."""


Sides = tuple[Windows, Windows]
"""Whose windows the rows of training and of test are."""

Part = tuple[NDArray[np.floating[Any]] | ClipVideos, NDArray[Any]]
"""Inputs and targets of the validation part of a split."""


def evaluate_representation(
    train: NDArray[np.floating[Any]] | ClipVideos,
    train_targets: NDArray[Any],
    train_groups: Sequence[str] | NDArray[Any],
    test: NDArray[np.floating[Any]] | ClipVideos,
    test_targets: NDArray[Any],
    test_groups: Sequence[str] | NDArray[Any],
    *,
    protocol: str,
    num_classes: int,
    seed: int,
    kind: TargetKind = "class",
    validation: Part | None = None,
    encoder: ClipEncoder | None = None,
    windows: Sides | None = None,
    options: ProbeOptions = DEFAULT_OPTIONS,
    nonlinear: NonlinearConfig = DEFAULT_NONLINEAR,
    clip_training: ClipTrainingConfig = DEFAULT_CLIP_TRAINING,
    device: str = "cpu",
    names: Names = NO_NAMES,
) -> ProbeOutcome:
    """Fit a probe on training videos and test it once on test videos.

    Test targets are used for nothing but the score, unless ``options.selection`` says otherwise. Videos without a
    target count neither in training nor in the score.

    Args:
        train: Vectors of the training videos, shape (N, D), or for ``CLIP_PROTOCOLS`` their clips.
        train_targets: Their targets, as ``TargetKind`` describes them.
        train_groups: Their groups, N of them; a hold-out keeps a group together.
        test: Vectors or clips of the test videos.
        test_targets: Their targets.
        test_groups: Their groups, N_test of them; the bootstrap keeps a group together.
        protocol: One of ``PROTOCOLS``.
        num_classes: Classes of the data set; a split need not hold all of them. Not read where targets are numbers.
        seed: Seeds hold-out and training.
        kind: Of the targets.
        validation: Inputs and targets of the split's validation part: hyper-parameters are chosen on it instead of on a
            hold-out.
        encoder: For ``CLIP_PROTOCOLS``: what the clips' vectors are made by.
        windows: For ``WINDOW_PROTOCOLS``: the rows of ``train`` and ``test`` are windows of the videos that targets and
            groups are of (those of ``validation``, where there is one, count as videos of their own). A video's
            prediction is the mean over its windows.
        options: What a user may set about the protocols.
        nonlinear: Sizes and candidates of the nonlinear probe.
        clip_training: Sizes and lengths of the probes on clips.
        device: Torch device for all protocols but ``linear``.
        names: What errors and the note call the split, its videos, the target and its classes.

    Returns:
        Scores with their intervals, and what led to them.

    Raises:
        ValueError: an unknown protocol, shapes that disagree, labels out of range, features that are not finite, no
            labels, fewer than two labelled training videos or classes (or fewer are drawn), or no labelled test video.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    if protocol == "retrieval" and kind != "class":
        raise ValueError("retrieval searches for videos of one class, and these have another kind of target")
    if windows is not None and protocol not in WINDOW_PROTOCOLS:
        raise ValueError(f"{SPOKEN[protocol]} looks at whole videos, got windows")
    train_windows, test_windows = windows or (None, None)
    checked = partial(check_side, kind=kind, num_classes=num_classes, names=names)
    checked("train", train, *_by_row(train_windows, train_targets, train_groups))
    checked("test", test, *_by_row(test_windows, test_targets, test_groups))
    if validation is not None:
        checked("validation", *validation, range(len(validation[1])))
    _check_dimensions(train, test)
    in_test = is_labelled(kind, test_targets)
    labelled = np.flatnonzero(is_labelled(kind, train_targets))
    probe = SPOKEN[protocol]
    check_labelled(train_targets[labelled], test_targets[in_test], kind=kind, probe=probe, names=names)
    kept = labelled
    if options.train_share < 1:
        strata = _strata(train_targets[labelled], kind)
        kept = labelled[draw_share(strata, options.train_share, seed=options.share_seed)]
        check_share(train_targets[kept], num_labelled=len(labelled), options=options, probe=probe)

    began = time.perf_counter()
    settings = Settings(kind, num_classes, options, nonlinear, clip_training, encoder, seed, device, test_windows)
    rows, videos = (kept, kept) if train_windows is None else train_windows.of(kept)
    fitted, targets, fitted_groups = _prepared(train, rows), train_targets[videos], np.asarray(train_groups)[videos]
    tested = _prepared(test, np.arange(len(test)))
    groups = np.asarray(test_groups)
    prediction: Prediction | Outputs
    chosen_on, unchosen = None, ""
    if protocol == "retrieval":
        prediction, scores = _retrieve(fitted, targets, tested, test_targets, groups, device=device)
    else:
        on_test = protocol in CLIP_PROTOCOLS and options.selection == "test"
        if protocol in CHOOSE_NOTHING or on_test:
            inputs, wanted, hold_out = fitted, targets, no_choice(len(targets))
        else:
            chosen_on = _with_targets(validation, kind)
            unchosen = unchosen_note(len(validation[1])) if validation and not chosen_on else ""
            inputs, wanted, hold_out = _divided(fitted, targets, fitted_groups, chosen_on, settings=settings)
        prediction = predict(
            protocol,
            inputs,
            wanted,
            tested,
            hold_out=hold_out,
            settings=settings,
            look_at=(np.flatnonzero(in_test), test_targets[in_test]) if on_test else None,
        )
        scores = _scores(prediction, test_targets, groups, settings=settings)
    seconds = time.perf_counter() - began

    notes = (
        prediction.note,
        f"chosen on {len(chosen_on[1])} validation {'windows' if windows else 'videos'}" if chosen_on else unchosen,
        share_note(options, num_kept=len(kept), num_labelled=len(labelled)),
        unlabelled_note(num_train=len(train_targets) - len(labelled), num_test=int((~in_test).sum())),
        "" if windows is None else f"mean over windows: {len(rows)} of training videos, {len(test)} of test videos",
        unseen_class_note(targets, test_targets[in_test], kind=kind, names=names),
        mean_note(train_targets[kept], test_targets[in_test], kind=kind),
        "one test group only: no interval" if len(np.unique(groups[in_test])) == 1 else "",
    )
    return ProbeOutcome(
        estimates=scores.estimates,
        scores=scores.by_video,
        num_train=len(kept),
        num_test=int(in_test.sum()),
        predictions=prediction.classes if isinstance(prediction, Prediction) else _predicted(prediction, kind),
        hyperparameters=prediction.hyperparameters,
        note="; ".join(note for note in notes if note),
        seconds=seconds,
    )


def _by_row(
    windows: Windows | None, targets: NDArray[Any], groups: Sequence[str] | NDArray[Any]
) -> tuple[NDArray[Any], Sequence[str] | NDArray[Any]]:
    """Target and group of each row, which is a window or a video."""
    return (targets, groups) if windows is None else (targets[windows.video], np.asarray(groups)[windows.video])


def _check_dimensions(
    train: NDArray[np.floating[Any]] | ClipVideos, test: NDArray[np.floating[Any]] | ClipVideos
) -> None:
    of_train, of_test = ((side.features if isinstance(side, ClipVideos) else side).shape[-1] for side in (train, test))
    if of_train != of_test:
        raise ValueError(
            f"training vectors have {of_train} dimensions, test vectors {of_test}; use the same representation on both "
            "sides"
        )


def _prepared(inputs: NDArray[np.floating[Any]] | ClipVideos, rows: NDArray[np.int64]) -> Inputs:
    if isinstance(inputs, ClipVideos):
        return inputs if len(rows) == len(inputs) else inputs.take(rows)
    return np.ascontiguousarray(inputs[rows], dtype=np.float32)


def _strata(targets: NDArray[Any], kind: TargetKind) -> NDArray[np.integer[Any]]:
    """What draws are spread over: the classes, where each video has one."""
    return targets if kind == "class" else np.zeros(len(targets), dtype=np.int64)


def _with_targets(validation: Part | None, kind: TargetKind) -> Part | None:
    """The videos of a validation part that have a target; None where none has."""
    if validation is None:
        return None
    inputs, targets = validation
    labelled = np.flatnonzero(is_labelled(kind, targets))
    return (_prepared(inputs, labelled), targets[labelled]) if labelled.size else None


def _divided(
    train: Inputs, targets: NDArray[Any], groups: NDArray[Any], chosen_on: Part | None, *, settings: Settings
) -> tuple[Inputs, NDArray[Any], HoldOut]:
    """The labelled videos to fit and to choose on, and which are which."""
    if chosen_on is None:
        return train, targets, hold_out_groups(_strata(targets, settings.kind), groups, seed=settings.seed)
    inputs, chosen_targets = chosen_on
    joined: Inputs
    if isinstance(train, ClipVideos) and isinstance(inputs, ClipVideos):
        joined = concatenate_videos(train, inputs)
    else:
        joined = np.concatenate([train, inputs])
    division = validation_part(len(targets), len(chosen_targets))
    return joined, np.concatenate([targets, chosen_targets]), division


def _retrieve(
    train: Inputs, targets: NDArray[Any], test: Inputs, test_targets: NDArray[Any], groups: NDArray[Any], *, device: str
) -> tuple[Prediction, Scores]:
    """The class of the nearest training video, and the scores of the labelled queries."""
    if isinstance(train, ClipVideos) or isinstance(test, ClipVideos):
        raise ValueError("retrieval compares one vector per video, got clips")
    ranking = retrieve(train, targets, test, test_targets, device=device)
    most = max(RECALL_DEPTHS)
    note = f"{len(targets)} training videos to search, fewer than {most}" if len(targets) < most else ""
    scores = score_ranking(ranking, targets, test_targets, groups, labelled=test_targets >= 0)
    return Prediction(targets[ranking.nearest[:, :1]].astype(np.int64), {}, note), scores


def _scores(
    prediction: Prediction | Outputs, targets: NDArray[Any], groups: NDArray[Any], *, settings: Settings
) -> Scores:
    labelled = is_labelled(settings.kind, targets)
    if isinstance(prediction, Prediction):
        return score_classes(prediction, targets, groups, num_classes=settings.num_classes, labelled=labelled)
    score = score_sets if settings.kind == "classes" else score_numbers
    return score(prediction, targets, groups, labelled=labelled)


def _predicted(outputs: Outputs, kind: TargetKind) -> NDArray[Any]:
    return outputs.values[:, 0] if kind == "number" else outputs.values
