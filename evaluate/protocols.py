"""What each protocol does with labelled training videos and with test videos, by the kind of target.

``probe.py`` checks what is given, calls this, and scores what comes out.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax  # type: ignore[import-untyped]

from scale_video.evaluate.clip_training import ClipTrainingConfig
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos
from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.knn import knn_mean, knn_predict, knn_shares, ranked_by_votes
from scale_video.evaluate.linear import linear_probabilities, linear_probe
from scale_video.evaluate.multi_label import one_vs_rest_probe
from scale_video.evaluate.nonlinear import NonlinearConfig, nonlinear_probe
from scale_video.evaluate.options import CLIP_PROTOCOLS, ProbeOptions
from scale_video.evaluate.per_clip import clip_probe
from scale_video.evaluate.prediction import Outputs, Prediction
from scale_video.evaluate.regression import ridge_probe
from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.targets import TargetKind, task_of
from scale_video.evaluate.windows import Windows

SPOKEN = {
    "knn": "k-NN",
    "linear": "the linear probe",
    "nonlinear": "the nonlinear probe",
    "retrieval": "retrieval",
    "linear-per-clip": "the linear probe on clips",
    "nonlinear-per-clip": "the nonlinear probe on clips",
    "fine-tuning": "fine-tuning",
}

Inputs = NDArray[np.float32] | ClipVideos
"""One vector per video, shape (N, D), or the clips of N videos."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the protocols run with."""

    kind: TargetKind
    num_classes: int
    options: ProbeOptions
    nonlinear: NonlinearConfig
    clip_training: ClipTrainingConfig
    encoder: ClipEncoder | None
    seed: int
    device: str
    windows: Windows | None = None
    """Whose windows the rows of the test side are, if they are windows."""


CHOOSE_NOTHING = ("knn", "retrieval")
"""Protocols without a hold-out or a validation part."""


def applies(protocol: str, representation: str, kind: TargetKind = "class") -> bool:
    """Whether a protocol can be run on a representation and a kind of target.

    Clips have no time bins and are not whitened; fine-tuning needs something to tune; retrieval searches for a class.
    """
    if protocol == "retrieval":
        return kind == "class"
    if protocol == "fine-tuning":
        return representation not in RAW_REPRESENTATIONS
    return protocol not in CLIP_PROTOCOLS or representation == "x" or representation not in RAW_REPRESENTATIONS


def predict(
    protocol: str,
    train: Inputs,
    train_targets: NDArray[Any],
    test: Inputs,
    *,
    hold_out: HoldOut,
    settings: Settings,
    look_at: tuple[NDArray[np.int64], NDArray[Any]] | None,
) -> Prediction | Outputs:
    """Fit a protocol and predict the test videos; of one class each a ``Prediction``, else ``Outputs``.

    Args:
        protocol: Any but retrieval.
        train: N labelled training videos, and after them, where something is chosen, those of a validation part.
        train_targets: Their targets.
        test: Test videos.
        hold_out: Which of the N are fitted on, and which is chosen on.
        settings: The rest.
        look_at: See ``clip_probe``.
    """
    on_clips = protocol in CLIP_PROTOCOLS
    if isinstance(train, ClipVideos) and isinstance(test, ClipVideos) and on_clips:
        return _on_clips(protocol, train, train_targets, test, hold_out=hold_out, settings=settings, look_at=look_at)
    if isinstance(train, ClipVideos) or isinstance(test, ClipVideos) or on_clips:
        needed = "the clips of each video" if on_clips else "one vector per video"
        raise ValueError(f"{SPOKEN[protocol]} needs {needed}, on both sides")
    if settings.windows is not None:
        of_windows = _probabilities(protocol, train, train_targets, test, hold_out=hold_out, settings=settings)
        outputs = replace(of_windows, values=settings.windows.mean(of_windows.values))
        if settings.kind != "class":
            return outputs
        return ranked_by_votes(outputs) if protocol == "knn" else outputs.ranked()
    if protocol == "knn":
        return _knn(train, train_targets, test, settings)
    if protocol == "linear":
        if settings.kind == "class":
            return linear_probe(train, train_targets, test, hold_out=hold_out)
        probe = one_vs_rest_probe if settings.kind == "classes" else ridge_probe
        return probe(train, train_targets, test, hold_out=hold_out)
    outputs = _nonlinear(train, train_targets, test, hold_out=hold_out, settings=settings)
    return outputs.ranked() if settings.kind == "class" else outputs


def _probabilities(
    protocol: str,
    train: NDArray[np.float32],
    targets: NDArray[Any],
    test: NDArray[np.float32],
    *,
    hold_out: HoldOut,
    settings: Settings,
) -> Outputs:
    """What can be averaged over windows: probabilities of classes, or numbers."""
    kind = settings.kind
    if protocol == "knn" and kind == "class":
        return knn_shares(train, targets, test, num_classes=settings.num_classes, **_votes(settings))
    if protocol == "linear" and kind == "class":
        return linear_probabilities(train, targets, test, hold_out=hold_out, num_classes=settings.num_classes)
    if protocol == "nonlinear":
        outputs = _nonlinear(train, targets, test, hold_out=hold_out, settings=settings)
    else:
        found = predict(
            protocol, train, targets, test, hold_out=hold_out, settings=replace(settings, windows=None), look_at=None
        )
        assert isinstance(found, Outputs)
        outputs = found
    if protocol == "knn" or kind == "number":
        return outputs
    values = outputs.values.astype(np.float64)
    return replace(outputs, values=softmax(values, axis=1) if kind == "class" else expit(values))


def _nonlinear(
    train: NDArray[np.float32],
    targets: NDArray[Any],
    test: NDArray[np.float32],
    *,
    hold_out: HoldOut,
    settings: Settings,
) -> Outputs:
    return nonlinear_probe(
        train,
        targets,
        test,
        task=task_of(settings.kind, targets[: hold_out.num_refit], num_classes=settings.num_classes),
        hold_out=hold_out,
        seed=settings.seed,
        config=settings.nonlinear,
        device=settings.device,
    )


def _votes(settings: Settings) -> dict[str, Any]:
    return {"k": settings.options.k, "temperature": settings.options.temperature, "device": settings.device}


def _knn(
    train: NDArray[np.float32], targets: NDArray[Any], test: NDArray[np.float32], settings: Settings
) -> Prediction | Outputs:
    if settings.kind == "class":
        return knn_predict(train, targets, test, num_classes=settings.num_classes, **_votes(settings))
    columns = targets if targets.ndim == 2 else targets[:, None]
    return knn_mean(train, columns, test, **_votes(settings))


def _on_clips(
    protocol: str,
    train: ClipVideos,
    train_targets: NDArray[Any],
    test: ClipVideos,
    *,
    hold_out: HoldOut,
    settings: Settings,
    look_at: tuple[NDArray[np.int64], NDArray[Any]] | None,
) -> Prediction | Outputs:
    if settings.encoder is None:
        raise ValueError(f"{SPOKEN[protocol]} needs an encoder of clips, got none")
    config = replace(
        settings.clip_training,
        head="perceptron" if protocol == "nonlinear-per-clip" else "linear",
        unfreeze=protocol == "fine-tuning",
        schedule_epochs=settings.options.schedule_epochs,
    )
    outputs = clip_probe(
        train,
        train_targets,
        test,
        task=task_of(settings.kind, train_targets[: hold_out.num_refit], num_classes=settings.num_classes),
        encoder=settings.encoder,
        hold_out=hold_out,
        seed=settings.seed,
        config=config,
        device=settings.device,
        look_at=look_at,
    )
    return outputs.ranked() if settings.kind == "class" else outputs
