"""Of some videos, the clip of each that is most like one clip: every clip of theirs is looked at, none is kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.neighbours import directions
from scale_video.pipelines.gallery import VectorsOf
from scale_video.store.clip_features import ClipFeatures

_CLIPS_AT_A_TIME: Final = 8192
"""Whose vectors are in memory in float32: 25 MB of 768 numbers each."""


@dataclass(frozen=True, slots=True)
class BestClips:
    """Of each of N videos, the clip that is most alike."""

    rows: NDArray[np.int64]
    """Of the videos, shape (N,)."""
    clips: NDArray[np.int64]
    """From 0, shape (N,); of equal ones the first."""
    cosines: NDArray[np.float32]
    """Of the centred vectors, shape (N,)."""


def best_clips(
    query: NDArray[np.float32],
    runs: Iterable[tuple[NDArray[np.int64], ClipFeatures]],
    vectors: VectorsOf,
    *,
    centre: NDArray[np.float32],
) -> BestClips:
    """Compare a clip with all valid clips of some videos.

    Args:
        query: Vector of the clip, shape (E,).
        runs: Rows of videos with a valid clip each, and their features; one run at a time is in memory.
        vectors: What clips are compared by.
        centre: What they are centred by, shape (E,).
    """
    direction = directions(query[None], centre, device="cpu")[0]
    rows, clips, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for some, features in _smaller(runs):
        of_clips = vectors.of_clips(features)  # (n, K, E)
        units = directions(of_clips.reshape(-1, of_clips.shape[2]), centre, device="cpu")
        cosines = (units @ direction).numpy().reshape(features.valid.shape)
        cosines[~features.valid] = -np.inf
        best = cosines.argmax(axis=1)
        rows.append(some)
        clips.append(best)
        found.append(cosines[np.arange(len(best)), best])
    return BestClips(np.concatenate(rows), np.concatenate(clips), np.concatenate(found))


def _smaller(
    runs: Iterable[tuple[NDArray[np.int64], ClipFeatures]],
) -> Iterator[tuple[NDArray[np.int64], ClipFeatures]]:
    for rows, features in runs:
        step = max(1, _CLIPS_AT_A_TIME // features.valid.shape[1])
        for first in range(0, len(rows), step):
            places = np.arange(first, min(first + step, len(rows)))
            yield rows[places], features.take(places)
