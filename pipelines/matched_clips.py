"""Which clips of two videos are most alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.neighbours import directions
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate


@dataclass(frozen=True, slots=True)
class MatchedClip:
    """A clip of a video that was found, and the clip of the query that it resembles most."""

    clip: int
    """Which one, from 0, as ``scale-video show`` counts."""
    start_seconds: float
    """From the first frame of the file."""
    end_seconds: float
    """Of the last sample, which is included."""
    query_clip: int
    query_start_seconds: float
    query_end_seconds: float
    score: float
    """Cosine of the two clips' centred vectors."""


def match_clips(
    query: ClipFeatures,
    query_vectors: NDArray[np.float32],
    found: ClipFeatures,
    found_vectors: NDArray[np.float32],
    *,
    centre: NDArray[np.float32],
) -> MatchedClip:
    """The pair of valid clips with the largest cosine; of equal ones, the first of the query's, then of the other's.

    Args:
        query: One video.
        query_vectors: Of its clips, shape (K, E); those of clips that are not valid are not looked at.
        found: One video.
        found_vectors: Of its clips, shape (L, E).
        centre: What both are centred by, shape (E,).
    """
    ours, theirs = np.flatnonzero(query.valid[0]), np.flatnonzero(found.valid[0])
    sides = (query_vectors[ours], found_vectors[theirs])
    one, other = (directions(vectors, centre, device="cpu") for vectors in sides)
    cosines = (one @ other.T).numpy()
    i, j = np.unravel_index(int(cosines.argmax()), cosines.shape)
    spans = [
        tuple(float(video.coordinates[0, clip, side]) for side in (Coordinate.START, Coordinate.END))
        for video, clip in ((found, theirs[j]), (query, ours[i]))
    ]
    return MatchedClip(
        clip=int(theirs[j]),
        start_seconds=spans[0][0],
        end_seconds=spans[0][1],
        query_clip=int(ours[i]),
        query_start_seconds=spans[1][0],
        query_end_seconds=spans[1][1],
        score=float(cosines[i, j]),
    )
