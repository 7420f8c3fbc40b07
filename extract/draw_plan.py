"""Drawing the clips of a view before any pixel is decoded, from the seed and each video's id alone.

The random numbers of a video are read straight out of SHAKE-256 of (seed, view, id): so a video's clips do not depend
on which other videos exist, on their order, or on a release of NumPy, and a longer row of clips begins with a shorter
one. A generator per video, seeded by a hash, takes eight times as long.

Source: SCALE (ICCV 2023), its published sampling code, in seconds instead of frame indices.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.augmentation import DRAWS_PER_CLIP, draw_augmentation
from scale_video.extract.views import (
    AreaCrop,
    AugmentedView,
    GridView,
    RandomView,
    ShortSideCrop,
    View,
    view_parameters,
)
from scale_video.store.augmentation import Augmentation
from scale_video.store.clip_plan import ClipPlan, Coordinate
from scale_video.store.video_parts import VideoParts
from scale_video.store.video_probe import VideoProbe, VideoStatus

Floats = NDArray[np.float64]

ROWS_AT_A_TIME: Final = 65_536
"""Videos whose clips are drawn together: what lies between takes ten times the memory of the plan."""
_PLACE_DRAWS: Final = 6
"""Columns of a clip's uniform draws: start, flip, size, aspect, vertical place, horizontal place. Those of an augmented
view's augmentation follow."""


@dataclass(frozen=True, slots=True)
class ProbedVideos:
    """What a draw must know of N videos."""

    ids: tuple[str, ...]
    """N ids; they seed the draw."""
    status: NDArray[np.uint8]
    """Shape (N,): codes of ``VideoStatus``; only ``OK`` videos get clips."""
    begin_seconds: Floats
    """Shape (N,), as are the next four; not looked at where the status is not ``OK``. Where the video begins in its
    file: 0, unless it is a part of it."""
    duration_seconds: Floats
    """Of the video, or of the part."""
    frames_per_second: Floats
    height: Floats
    """Pixels of the upright frame."""
    width: Floats

    def __post_init__(self) -> None:
        """Check that there is a value for every video, and a positive one for every readable video.

        Raises:
            ValueError: one of these does not hold.
        """
        readable = self.status == VideoStatus.OK
        for name in ("status", "begin_seconds", "duration_seconds", "frames_per_second", "height", "width"):
            column = getattr(self, name)
            if column.shape != (len(self.ids),):
                raise ValueError(f"{name} must be one value for each of {len(self.ids)} videos, got {column.shape}")
            if name not in ("status", "begin_seconds") and not (bad := column[readable] > 0).all():
                row = np.flatnonzero(readable)[np.argmin(bad)]
                raise ValueError(f"{name} of readable video {self.ids[row]!r} must be above 0, got {column[row]}")

    @classmethod
    def of(cls, ids: Sequence[str], probes: Sequence[VideoProbe], parts: VideoParts | None = None) -> "ProbedVideos":
        """Gather the probes of the videos with these ids, in the same order.

        Args:
            ids: of N videos.
            probes: of their files; not ``OK`` where a part begins after the end of its file.
            parts: which part of its file each video is; the whole of it where None.

        Raises:
            ValueError: not as many probes as ids.
        """

        def column(name: str) -> Floats:
            return np.array([getattr(probe, name) for probe in probes], dtype=np.float64)

        parts = VideoParts.of(None, None, num_videos=len(ids)) if parts is None else parts
        return cls(
            ids=tuple(ids),
            status=np.array([probe.status for probe in probes], dtype=np.uint8),
            begin_seconds=parts.begin_seconds,
            duration_seconds=parts.durations(column("duration_seconds")),
            frames_per_second=column("frames_per_second"),
            height=column("height"),
            width=column("width"),
        )

    def rows(self, rows: slice) -> "ProbedVideos":
        """Some of the videos."""
        return ProbedVideos(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw_view(view: View, videos: ProbedVideos) -> ClipPlan:
    """Draw the clips of any view.

    Args:
        view: Parameters; their kind decides how clips are drawn.
        videos: N videos in the order of the store's rows.

    Returns:
        A plan of N rows. Every video is planned; one whose probe is not ``OK`` has no valid clips.
    """
    num_videos = len(videos.ids)
    coordinates = np.empty((num_videos, view.num_clips, len(Coordinate)), dtype=np.float32)
    valid = np.empty((num_videos, view.num_clips), dtype=np.bool_)
    augmentation = None
    if isinstance(view, AugmentedView):
        augmentation = np.empty((num_videos, view.num_clips, len(Augmentation)), dtype=np.float32)
    for first in range(0, num_videos, ROWS_AT_A_TIME):  # a video's clips do not depend on its neighbours
        rows = slice(first, first + ROWS_AT_A_TIME)
        some = videos.rows(rows)
        plan = draw_random(view, some) if isinstance(view, RandomView) else draw_grid(view, some)
        coordinates[rows], valid[rows] = plan.coordinates, plan.valid
        if augmentation is not None:
            augmentation[rows] = plan.augmentation
    return _clip_plan(view, coordinates=coordinates, valid=valid, augmentation=augmentation)


def draw_random(view: RandomView, videos: ProbedVideos) -> ClipPlan:
    """Draw random clips: start U(0, duration - span), a random box, mirrored with a probability.

    Args:
        view: Parameters.
        videos: N videos.

    Returns:
        A plan of shape (N, ``view.num_clips``), named ``random``, or ``augmented`` and with an augmentation.
    """
    rows = np.flatnonzero(videos.status == VideoStatus.OK)
    draws = _uniform_draws([videos.ids[row] for row in rows], view=view)  # (n, K, 6 or 15), n readable videos
    start, flip, size, aspect, vertical, horizontal = np.moveaxis(draws[:, :, :_PLACE_DRAWS], 2, 0)  # each (n, K)
    frame_aspect = (videos.width[rows] / videos.height[rows])[:, None]
    if isinstance(view.crop, ShortSideCrop):
        box_height, box_width = _short_side_box(view.crop, size=size, frame_aspect=frame_aspect)
    else:
        box_height, box_width = _area_box(view.crop, size=size, aspect=aspect, frame_aspect=frame_aspect)
    slack = _slack_seconds(videos, rows=rows, span_seconds=view.span_seconds)
    augmentation = None
    if isinstance(view, AugmentedView):
        of_pixels = draws[:, :, _PLACE_DRAWS:]
        augmentation = draw_augmentation(view.augmentation, of_pixels, nominal_size=view.nominal_size)
    return _plan(
        view,
        videos=videos,
        rows=rows,
        num_clips=_num_clips(view, videos.duration_seconds[rows]),
        augmentation=augmentation,
        flip=(flip < view.flip_probability).astype(np.float64),
        top=vertical * (1 - box_height),
        left=horizontal * (1 - box_width),
        box_height=box_height,
        box_width=box_width,
        start=start * slack,
    )


def draw_grid(view: GridView, videos: ProbedVideos) -> ClipPlan:
    """Lay a grid of clips: even starts i/T of the slack, i = 0 … T-1, and even places along the longer side.

    The very end of a video is never reached, as published. Clip ``i * num_places + j`` is time i, place j. T is
    ``num_times``, or follows the duration.

    Args:
        view: Parameters.
        videos: N videos.

    Returns:
        A plan of shape (N, ``num_times * num_places``), named ``grid``.
    """
    rows = np.flatnonzero(videos.status == VideoStatus.OK)
    times, places = view.num_times, view.num_places
    frame_aspect = (videos.width[rows] / videos.height[rows])[:, None]
    box_height, box_width = _square_box(view.nominal_size / view.short_side, frame_aspect=frame_aspect)
    along = np.tile(np.linspace(0, 1, places) if places > 1 else [0.5], times)[None]  # (1, K): 0 is left or top
    slack = _slack_seconds(videos, rows=rows, span_seconds=view.span_seconds)
    num_clips = _num_clips(view, videos.duration_seconds[rows])
    fractions = np.arange(times) / (num_clips // places)[:, None]  # (n, T)
    return _plan(
        view,
        videos=videos,
        rows=rows,
        num_clips=num_clips,
        flip=np.zeros((1, times * places)),
        top=np.where(frame_aspect < 1, along, 0.5) * (1 - box_height),
        left=np.where(frame_aspect < 1, 0.5, along) * (1 - box_width),
        box_height=box_height,
        box_width=box_width,
        start=np.repeat(fractions, places, axis=1) * slack,
    )


def _uniform_draws(ids: Sequence[str], *, view: RandomView) -> Floats:
    """U[0, 1) of each video, shape (len(ids), K, 6 or 15); a function of seed, view and id alone."""
    per_clip = _PLACE_DRAWS + (DRAWS_PER_CLIP if isinstance(view, AugmentedView) else 0)
    num_draws = view.num_clips * per_clip
    prefix = f"{view.seed}\0{view.kind}\0"
    bits = b"".join(hashlib.shake_256((prefix + video_id).encode()).digest(8 * num_draws) for video_id in ids)
    # The upper 53 bits of a word are a double in [0, 1), as NumPy draws them.
    uniform = (np.frombuffer(bits, dtype="<u8") >> np.uint64(11)) * np.float64(2.0**-53)
    return uniform.reshape(len(ids), view.num_clips, per_clip)


def _num_clips(view: View, duration_seconds: Floats) -> NDArray[np.int64]:
    """Clips of each video, shape (n,): as many in all, or by the duration, at least one and at most the view's K.

    Halves are rounded up. A grid has whole times: 12 a minute in 40 s are 8 clips, or 3 times of 3 places, which are 9.
    """
    if view.clips_per_minute == 0:
        return np.full(len(duration_seconds), view.num_clips)
    unit = view.num_places if isinstance(view, GridView) else 1
    wanted = np.floor(view.clips_per_minute * duration_seconds / (60 * unit) + 0.5)
    return np.clip(wanted, 1, view.num_clips // unit).astype(np.int64) * unit


def _square_box(side: Floats | float, *, frame_aspect: Floats) -> tuple[Floats, Floats]:
    """Height and width, as fractions of the frame, of a square whose side is a fraction of the frame's short side."""
    return side * np.minimum(frame_aspect, 1), side / np.maximum(frame_aspect, 1)


def _short_side_box(crop: ShortSideCrop, *, size: Floats, frame_aspect: Floats) -> tuple[Floats, Floats]:
    """The crop of ``size`` pixels out of a frame whose short side was scaled to U(min, max)."""
    short_side = crop.min + size * (crop.max - crop.min)
    return _square_box(crop.size / short_side, frame_aspect=frame_aspect)


def _area_box(crop: AreaCrop, *, size: Floats, aspect: Floats, frame_aspect: Floats) -> tuple[Floats, Floats]:
    """A box of uniform area and log-uniform aspect (in pixels), each out of those that fit into the frame.

    The usual rejection sampling leaves what does not fit to chance and to a fallback; here there is neither.
    """
    largest = np.minimum(crop.max_aspect / frame_aspect, frame_aspect / crop.min_aspect)
    max_area = np.minimum(crop.max_area, largest)
    min_area = np.minimum(crop.min_area, max_area)
    area = min_area + size * (max_area - min_area)
    low = np.log(np.maximum(crop.min_aspect, frame_aspect * area))
    high = np.log(np.minimum(crop.max_aspect, frame_aspect / area))
    ratio = np.exp(low + aspect * (high - low)) / frame_aspect  # of the box's width to its height, in fractions
    return np.minimum(np.sqrt(area / ratio), 1), np.minimum(np.sqrt(area * ratio), 1)


def _slack_seconds(videos: ProbedVideos, *, rows: NDArray[np.int64], span_seconds: float) -> Floats:
    """How late a clip may start, shape (n, 1); 0 for a video shorter than a clip, whose last frame then repeats."""
    return np.maximum(videos.duration_seconds[rows] - span_seconds, 0)[:, None]


def _plan(
    view: View,
    *,
    videos: ProbedVideos,
    rows: NDArray[np.int64],
    num_clips: NDArray[np.int64],
    flip: Floats,
    top: Floats,
    left: Floats,
    box_height: Floats,
    box_width: Floats,
    start: Floats,
    augmentation: Floats | None = None,
) -> ClipPlan:
    """Put the columns, each broadcast to (n, K), at their rows; float64 until here, rounded once to float32.

    The first ``num_clips`` of each row are valid.
    """
    # The last sample time is included: one frame before the span's end, but never before the start.
    start = start + videos.begin_seconds[rows, None]
    last_sample = np.maximum(view.span_seconds - 1 / videos.frames_per_second[rows], 0)[:, None]
    columns = {
        Coordinate.FLIP: flip,
        Coordinate.TOP: top,
        Coordinate.LEFT: left,
        Coordinate.BOTTOM: top + box_height,
        Coordinate.RIGHT: left + box_width,
        Coordinate.START: start,
        Coordinate.END: start + last_sample,
    }
    shape = (len(videos.ids), view.num_clips)
    coordinates = np.full((*shape, len(Coordinate)), np.nan, dtype=np.float32)
    for coordinate, column in columns.items():
        coordinates[rows, :, coordinate] = column
    valid = np.zeros(shape, dtype=np.bool_)
    valid[rows] = np.arange(view.num_clips) < num_clips[:, None]
    coordinates[~valid] = np.nan
    parameters = None
    if augmentation is not None:
        parameters = np.full((*shape, len(Augmentation)), np.nan, dtype=np.float32)
        parameters[rows] = augmentation
        parameters[~valid] = np.nan
    return _clip_plan(view, coordinates=coordinates, valid=valid, augmentation=parameters)


def _clip_plan(
    view: View,
    *,
    coordinates: NDArray[np.float32],
    valid: NDArray[np.bool_],
    augmentation: NDArray[np.float32] | None,
) -> ClipPlan:
    return ClipPlan(
        view=view.kind,
        parameters=view_parameters(view),
        coordinates=coordinates,
        valid=valid,
        planned=np.ones(len(valid), dtype=np.bool_),
        augmentation=augmentation,
    )
