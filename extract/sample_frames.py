"""Which frames a clip consists of: from a span of time to sample times, and from these to frames as they go by."""

import math
from bisect import bisect_left, bisect_right

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


def within_part(times: NDArray[np.float64], *, begin_seconds: float, until_seconds: float) -> NDArray[np.float64]:
    """Sample times that only frames of a part ``[begin, until)`` of the file answer.

    Its first frame is the one shown at its beginning, its last one the last that begins at least a millisecond before
    its end. Example: part [1, 2), a frame each half second, times [.9, 1.4, 1.9, 2.4] -> frames at [1, 1, 1.5, 1.5].

    Args:
        times: Seconds, any shape.
        begin_seconds: Of the part.
        until_seconds: Of the part; inf for the end of the file.
    """
    last = max(begin_seconds, until_seconds - 2 * TOLERANCE_SECONDS)  # a frame counts as shown a millisecond early
    return np.clip(times, begin_seconds, last)


class PendingSamples:
    """The samples of a video's clips in order of time, as a stream of frames answers them one after the other."""

    def __init__(self, times: NDArray[np.float64], *, planned: NDArray[np.bool_]) -> None:
        """Sort them.

        Args:
            times: Sample times, shape (K, T), seconds.
            planned: Shape (K,): the clips that want frames.
        """
        self.lost = np.zeros(len(planned), np.bool_)
        """Shape (K,): clips of which a frame is damaged or missing, or may be."""
        self._any_lost = False
        self._num_frames = times.shape[1]
        samples = np.flatnonzero(np.repeat(planned, self._num_frames))
        samples = samples[np.argsort(times.ravel()[samples], kind="stable")]
        # Lists, because frames come by the thousand and most answer none or few.
        self._samples: list[int] = samples.tolist()
        # Frames shown up to here count. Nothing comes before the first frame, at 0.
        self._reach: list[float] = (np.maximum(times.ravel()[samples], 0.0) + TOLERANCE_SECONDS).tolist()
        self.next_reach = self._reach[0] if self._reach else math.inf
        """Frames up to this time, in seconds, may answer the next sample; inf when all have been taken."""
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether every sample has been taken."""
        return self._next == len(self._samples)

    def take(self, frame: ShownFrame | None, *, until: float, gap: bool) -> list[int]:
        """Take the samples that a frame answers; note the clips of those that it fails.

        Args:
            frame: The frame shown last, None before the first.
            until: Time of the frame after it; inf when there is none.
            gap: Whether frames between the two are missing. Then only samples at the frame's own time are sure.

        Returns:
            Flat indices into the (K, T) sample times, of clips that have lost no frame so far.
        """
        taken, reach = self.take_all(until=until)
        if frame is None or not frame.trusted:
            self._lose(taken)
        elif gap:
            sure = bisect_right(reach, frame.seconds + 2 * TOLERANCE_SECONDS)
            self._lose(taken[sure:])
        return [sample for sample in taken if not self.lost[sample // self._num_frames]] if self._any_lost else taken

    def take_all(self, *, until: float) -> tuple[list[int], list[float]]:
        """Take the samples that frames before a time answer.

        Args:
            until: Seconds; inf for all.

        Returns:
            Flat indices into the (K, T) sample times, and the latest time of a frame that answers each, ascending.
        """
        begin, stop = self._next, bisect_left(self._reach, until, lo=self._next)
        self._next = stop
        self.next_reach = math.inf if self.done else self._reach[stop]
        return self._samples[begin:stop], self._reach[begin:stop]

    def _lose(self, samples: list[int]) -> None:
        for sample in samples:
            self.lost[sample // self._num_frames] = self._any_lost = True
