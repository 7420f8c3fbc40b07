"""Which frames a clip consists of: from a span of time to sample times, and from these to frames as they go by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.shown_frames import ShownFrame
from scale_video.store.clip_plan import Coordinate

TOLERANCE_SECONDS = 1e-3
"""A frame counts as shown this long before its time. Files round timestamps (Matroska: to the millisecond) and plans
round starts to float32; without it, 47 % of the frames of starts on frame boundaries came out one too early."""


def sample_times(coordinates: NDArray[np.float32], *, num_frames: int) -> NDArray[np.float64]:
    """Sample times of clips, evenly from the first to the last, both included.

    Example: start 1.0, end 2.5, 4 frames -> [1.0, 1.5, 2.0, 2.5]; 1 frame -> [1.75], the middle.

    Args:
        coordinates: Shape (K, C = 7), columns of ``Coordinate``.
        num_frames: Frames a clip, T.

    Returns:
        Seconds from the file's first shown frame, shape (K, T).
    """
    start = coordinates[:, Coordinate.START, None].astype(np.float64)
    end = coordinates[:, Coordinate.END, None].astype(np.float64)
    steps = np.arange(num_frames) / (num_frames - 1) if num_frames > 1 else np.array([0.5])
    times: NDArray[np.float64] = start + steps * (end - start)
    return times


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A frame and the samples that it answers."""

    frame: ShownFrame
    samples: NDArray[np.int64]
    """Flat indices into the (K, T) sample times, in order of time."""


class FrameSampler:
    """Matches sample times with frames in one pass: each sample gets the last frame shown by then."""

    def __init__(self, times: NDArray[np.float64], *, planned: NDArray[np.bool_]) -> None:
        """Sort the samples of the planned clips.

        Args:
            times: Sample times, shape (K, T), seconds.
            planned: Shape (K,): clips to look at.
        """
        indices = np.flatnonzero(np.repeat(planned, times.shape[1]))
        self._pending = indices[np.argsort(times.ravel()[indices], kind="stable")]
        # Nothing is shown before the first frame, at 0.
        self._latest = np.maximum(times.ravel()[self._pending], 0) + TOLERANCE_SECONDS
        self._next = 0
        self.failed: list[NDArray[np.int64]] = []
        """Samples whose frame is damaged, or missing, or may be: flat indices."""

    def sample(self, frames: Iterable[ShownFrame]) -> "Iterable[SampledFrame]":
        """..."""
