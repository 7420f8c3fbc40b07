"""Rows that are parts of files: which seconds of its file each row is, and what such a row is called."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VideoParts:
    """For each of N rows the part ``[begin, end)`` of its file, in seconds from the file's first frame."""

    begin_seconds: Floats
    """Shape (N,); 0 where the row begins with its file."""
    end_seconds: Floats
    """Shape (N,); inf where it goes on to the end of its file, wherever that is."""

    @classmethod
    def of(cls, start_seconds: Floats | None, end_seconds: Floats | None, *, num_videos: int) -> "VideoParts":
        """From the columns of a table of videos, which may be absent, and in which NaN stands for no bound."""
        start = np.zeros(num_videos) if start_seconds is None else np.where(np.isnan(start_seconds), 0, start_seconds)
        end = (
            np.full(num_videos, np.inf) if end_seconds is None else np.where(np.isnan(end_seconds), np.inf, end_seconds)
        )
        return cls(start, end)

    @property
    def any(self) -> bool:
        """Whether some row is not the whole of its file."""
        return bool((self.begin_seconds > 0).any() or (self.end_seconds < np.inf).any())

    def durations(self, file_seconds: Floats) -> Floats:
        """Seconds of each part, shape (N,); 0 or less where it begins after the end of its file.

        Args:
            file_seconds: durations of the files, shape (N,).
        """
        durations: Floats = np.minimum(self.end_seconds, file_seconds) - self.begin_seconds
        return durations

    def suffix(self, row: int) -> str:
        """``#start-end`` of a row, as ids have it; empty for a whole file."""
        return part_suffix(float(self.begin_seconds[row]), float(self.end_seconds[row]))


def part_suffix(begin_seconds: float, end_seconds: float) -> str:
    """What an id adds to the path of a file of which it is a part.

    >>> part_suffix(12.0, 20.5), part_suffix(0, 7), part_suffix(3.25, math.inf), part_suffix(0, math.inf)
    ('#12-20.5', '#-7', '#3.25-', '')
    """
    begin = _seconds(begin_seconds) if begin_seconds > 0 else ""
    end = _seconds(end_seconds) if end_seconds < math.inf else ""
    return f"#{begin}-{end}" if begin or end else ""


def _seconds(value: float) -> str:
    """The shortest decimal that reads back as the same number; ``12`` rather than ``12.0``."""
    return repr(float(value)).removesuffix(".0")


def check_parts(start_seconds: Floats | None, end_seconds: Floats | None) -> None:
    """Check that parts lie after the beginning of their files and end after they begin.

    Raises:
        ValueError: one does not, or a bound is infinite.
    """
    for name, bounds in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
        if bounds is not None and (wrong := np.isinf(bounds) | (bounds < 0)).any():
            raise ValueError(f"{name} must be 0 or more, and finite, or NaN for no bound; got {bounds[wrong][0]:g}")
    begin = 0.0 if start_seconds is None else np.where(np.isnan(start_seconds), 0, start_seconds)
    if end_seconds is not None and (wrong := end_seconds <= begin).any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"a part must end after it begins, got {np.broadcast_to(begin, wrong.shape)[row]:g} to "
            f"{end_seconds[row]:g} seconds"
        )
