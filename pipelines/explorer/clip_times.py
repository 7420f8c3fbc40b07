"""Where a video's clips lie: bars on a line of time, and boxes on frames. Numbers only; the templates draw them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate

NUM_FRAMES: Final = 6
"""Shown of a video."""
NUM_COLOURS: Final = 8
_MAX_TICKS: Final = 10
_TICK_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


@dataclass(frozen=True, slots=True)
class Bar:
    """A clip on the line of time."""

    clip: int
    colour: int
    """Of ``NUM_COLOURS``; the clip's everywhere on the page."""
    left: float
    """Percent of the line."""
    width: float
    lane: int
    """From 0; clips of one lane don't overlap."""
    has_feature: bool
    seconds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class TimeLine:
    """All clips of a video."""

    bars: tuple[Bar, ...]
    num_lanes: int
    ticks: tuple[tuple[float, str], ...]
    """Percent of the line, and what stands there."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a clip is cut out of a frame, as fractions of it."""

    clip: int
    colour: int
    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame, and the clips that go on at its time."""

    seconds: float
    boxes: tuple[Box, ...]


def time_line(
    coordinates: NDArray[np.float32],
    planned: NDArray[np.bool_],
    has_feature: NDArray[np.bool_],
    *,
    begin: float,
    duration: float,
) -> TimeLine:
    """Place clips on a line.

    Args:
        coordinates: Shape (K, C = 7).
        planned: Which clips are there, shape (K,).
        has_feature: Of which there is a feature, shape (K,).
        begin: Of the video in its file, seconds.
        duration: Of the video, seconds; the line is longer if a clip is.
    """
    clips = np.flatnonzero(planned)
    start, end = (coordinates[:, side].astype(np.float64) - begin for side in (Coordinate.START, Coordinate.END))
    length = max(duration, float(end[clips].max(initial=0.0)), 1e-3)
    bars: list[Bar] = []
    lane_ends: list[float] = []
    for clip in clips[np.argsort(start[clips], kind="stable")].tolist():
        lane = next((one for one, until in enumerate(lane_ends) if until < start[clip]), len(lane_ends))
        lane_ends[lane:] = [end[clip], *lane_ends[lane + 1 :]]
        bars.append(
            Bar(
                clip=clip,
                colour=clip % NUM_COLOURS,
                left=100 * start[clip] / length,
                width=100 * max(end[clip] - start[clip], 0) / length,
                lane=lane,
                has_feature=bool(has_feature[clip]),
                seconds=(float(start[clip] + begin), float(end[clip] + begin)),
            )
        )
    return TimeLine(tuple(bars), len(lane_ends), _ticks(length, begin))


def shown_times(
    coordinates: NDArray[np.float32], planned: NDArray[np.bool_], *, begin: float, duration: float, clip: int | None
) -> NDArray[np.float64]:
    """Times of the frames that show where clips lie: middles of clips, evenly out of all, with that of ``clip``.

    Without clips, middles of equal parts of the video.

    Args:
        coordinates: As for ``time_line``, as are the others.
        planned: Likewise.
        begin: Likewise.
        duration: Likewise.
        clip: One whose middle must be among the times.

    Returns:
        Seconds from the first frame of the file, ascending; at most ``NUM_FRAMES``.
    """
    middles = coordinates[:, [Coordinate.START, Coordinate.END]].astype(np.float64).mean(axis=1)
    times = np.unique(middles[planned])
    if not len(times):
        return even_times(begin=begin, duration=duration)
    chosen = times[np.unique(np.linspace(0, len(times) - 1, NUM_FRAMES).round().astype(np.int64))]
    if clip is not None and planned[clip]:
        chosen[np.abs(chosen - middles[clip]).argmin()] = middles[clip]
    return np.sort(chosen)


def even_times(*, begin: float, duration: float, num_frames: int = NUM_FRAMES) -> NDArray[np.float64]:
    """Middles of equal parts of a video, seconds."""
    return begin + (np.arange(num_frames) + 0.5) / num_frames * duration


def frames_with_boxes(
    times: NDArray[np.float64], coordinates: NDArray[np.float32], planned: NDArray[np.bool_]
) -> tuple[ShownFrame, ...]:
    """The clips that go on at each time; a clip of one frame goes on for that moment."""
    start, end = (coordinates[:, side].astype(np.float64) for side in (Coordinate.START, Coordinate.END))
    return tuple(
        ShownFrame(
            float(time),
            tuple(_box(clip, coordinates[clip]) for clip in np.flatnonzero(planned & (start <= time) & (time <= end))),
        )
        for time in times
    )


def _box(clip: np.int64, coordinates: NDArray[np.float32]) -> Box:
    sides = (Coordinate.TOP, Coordinate.LEFT, Coordinate.BOTTOM, Coordinate.RIGHT)
    top, left, bottom, right = (float(coordinates[side]) for side in sides)
    return Box(int(clip), int(clip) % NUM_COLOURS, top, left, bottom - top, right - left)


def _ticks(length: float, begin: float) -> tuple[tuple[float, str], ...]:
    step = next((one for one in _TICK_STEPS if length / one <= _MAX_TICKS), length)
    times = np.arange(np.ceil(begin / step) * step, begin + length * 1.0001, step)
    return tuple((float(100 * (time - begin) / length), _short(float(time))) for time in times)


def _short(seconds: float) -> str:
    return f"{seconds:.4g} s" if seconds < 60 else clock(seconds)


def clock(seconds: float) -> str:
    """A duration for people: ``4.25 s``, ``1:05``, ``2:03:09``."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
