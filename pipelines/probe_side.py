"""The videos of one part of a split, as the probes read them out of a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.windows import WINDOW_STRIDE_SECONDS, Windows, cut_windows
from scale_video.pipelines.console import note
from scale_video.pipelines.probe_target import DEFAULT_TARGET, read_target
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.union import ReadableStore


@dataclass(frozen=True, slots=True)
class ProbeSide:
    """One side of a probe: the training, validation or test videos of a split that have features."""

    features: ClipFeatures
    labels: NDArray[Any]
    """What is predicted, as ``TargetKind`` describes it."""
    groups: NDArray[np.str_]
    flips: bool
    """Whether the view mirrors clips."""
    num_left_out: int
    """Videos of that part of the split that have no features."""
    clips: Mapping[str, float] = field(default_factory=dict)
    """Of a draw of clips, see ``ClipDraw.options``; empty where all clips are there."""
    windows: Windows | None = None
    """Whose windows the rows of ``features`` are, where they are windows and not whole videos."""

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Of the videos that labels and groups are of."""
        rows = self.features.video_ids
        if self.windows is None:
            return rows
        return tuple(rows[first] for first in np.flatnonzero(np.diff(self.windows.video, prepend=-1)))


@dataclass(frozen=True, slots=True)
class ProbeSides:
    """All that the probes of one split see."""

    train: ProbeSide
    validation: ProbeSide | None
    """None where the split has no validation part, or none of its videos has features."""
    tests: Sequence[ProbeSide]
    """The test videos, perhaps several times, with other clips each time."""
    unused: str = ""
    """Why there is no validation part although the split has one, in one line."""

    def cut(self, window_seconds: float) -> "ProbeSides":
        """The same videos by windows: one after the other in training, sliding in test.

        Those of the validation part count as videos of their own.
        """
        validation = self.validation and _cut(self.validation, window_seconds, stride_seconds=window_seconds)
        if validation is not None and validation.windows is not None:
            of = validation.windows.video
            validation = replace(validation, labels=validation.labels[of], groups=validation.groups[of], windows=None)
        return replace(
            self,
            train=_cut(self.train, window_seconds, stride_seconds=window_seconds),
            validation=validation,
            tests=[_cut(test, window_seconds, stride_seconds=WINDOW_STRIDE_SECONDS) for test in self.tests],
        )


def _cut(side: ProbeSide, seconds: float, *, stride_seconds: float) -> ProbeSide:
    features, windows = cut_windows(side.features, seconds=seconds, stride_seconds=min(stride_seconds, seconds))
    return replace(side, features=features, windows=windows)


def read_side(
    store: ReadableStore, split: str, part: str, *, view: str, backbone: str, target: str = DEFAULT_TARGET
) -> ProbeSide:
    """Read one part of a split, and say how many of its videos have no features.

    Raises:
        StoreError: the view or the features are not there, or not complete.
        ValueError: there is no such split, or no such column to predict.
    """
    videos = store.videos
    rows = videos.in_split(split, part)
    features = store.read_features(view, backbone, rows)
    there = features.valid.any(axis=1)
    if not there.all():
        note(f"{(~there).sum()} of {len(rows)} {part} videos have no features and are left out")
        features = features.take(np.flatnonzero(there))
    kept = rows[there]
    return ProbeSide(
        features=features,
        labels=read_target(videos, target, dataset=store.attributes["dataset"]).values[kept],
        groups=np.array([videos.groups[row] for row in kept], dtype=np.str_),
        flips=store.plan_parameters(view).get("flip_probability", 0) > 0,
        num_left_out=len(rows) - len(kept),
    )
