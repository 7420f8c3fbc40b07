"""From a video file to the pixels of its clips, in one pass over the file.

Measured against its peers (benchmarks/bench_decode.py): one forward pass in which only needed frames are converted to
RGB, each once, of which each clip takes a crop without copying and one uint8 resize. Memory holds the clips and one
frame, however long the video.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020 ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from scale_video.extract.orientation import Orientation, orientation_of
from scale_video.extract.sample_frames import TOLERANCE_SECONDS, PendingSamples, sample_times
from scale_video.extract.shown_frames import ShownFrame, ShownFrames
from scale_video.extract.truncation import bytes_cut_off
from scale_video.extract.video_file import LIBAV_ERRORS, VideoFileError, open_video, reason
from scale_video.extract.video_packets import VideoPackets
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus


@dataclass(frozen=True, slots=True)
class DecodedClips:
    """The pixels of the planned clips of one video."""

    frames: NDArray[np.uint8]
    """RGB, shape (K, T, S, S, 3); 0 where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (K,): clips all of whose frames were had; a subset of the planned ones."""
    status: VideoStatus
    """``OK``, ``PADDED``, ``PARTIAL``; ``NO_VIDEO_STREAM``, ``CORRUPT``, ``MISSING`` without a valid clip."""
    error: str = ""
    """Why the video could not be had in full, in one line without a path; empty where it could."""


def decode_clips(
    path: Path,
    *,
    coordinates: NDArray[np.float32],
    valid: NDArray[np.bool_],
    duration_seconds: float,
    num_frames: int,
    frame_size: int,
) -> DecodedClips:
    """Decode the clips of one video; a bad file gives a status and an error, never an exception.

    A clip's frames are those shown at its ``sample_times``: the last one whose time is at most 1 ms later than the
    sample. A sample past the end gets the last frame. A clip is valid when none of its frames is damaged, missing, or
    next to a gap that may have swallowed the right one.

    The status is ``CORRUPT`` when no clip is valid; ``PARTIAL`` when some are not, or when the file is shorter than
    its own header says (what is there may do for all clips); ``PADDED`` when a clip looks past the end of the video,
    so that the last frame repeats; else ``OK``.

    Args:
        path: The video file.
        coordinates: Shape (K, C = 7), columns of ``Coordinate``: seconds from the first shown frame, box edges as
            fractions of the upright frame (rounded to whole pixels). Not read where ``valid`` is false.
        valid: Shape (K,): which clips are planned.
        duration_seconds: The file's ``VideoProbe.duration_seconds``.
        num_frames: Frames a clip, T, spread evenly over its span, ends included; 1 takes the middle.
        frame_size: Pixels of the square frames, S.

    Returns:
        The clips, upright, mirrored where ``flip`` is 1.

    Raises:
        ValueError: arrays of other shapes, no planned clip, sizes below 1, a box or span without extent.
    """
    _check(coordinates, valid, num_frames=num_frames, frame_size=frame_size)
    painter = _ClipPainter(coordinates, num_frames=num_frames, frame_size=frame_size)
    pending = PendingSamples(sample_times(coordinates, num_frames=num_frames), planned=valid)
    try:
        with open_video(path) as (container, stream):
            frames = ShownFrames(VideoPackets(container, stream), stream)
            _fill(painter, pending, frames, duration_seconds=duration_seconds)
        num_cut_off = bytes_cut_off(path)
    except VideoFileError as error:
        return DecodedClips(np.zeros_like(painter.frames), np.zeros_like(valid), error.status, str(error))
    had = valid & ~pending.lost
    painter.frames[~had] = 0  # clips that were lost half-way
    num_lost = np.count_nonzero(pending.lost)
    if num_lost:
        status = VideoStatus.PARTIAL if had.any() else VideoStatus.CORRUPT
        why = frames.problem or f"it ends at {frames.read_seconds:.2f} of {duration_seconds:.2f} s"
        return DecodedClips(
            painter.frames, had, status, f"{num_lost} of {np.count_nonzero(valid)} clips cannot be decoded: {why}"
        )
    if num_cut_off:
        why = f"is cut short: {num_cut_off} bytes fewer than its header announces"
        return DecodedClips(painter.frames, had, VideoStatus.PARTIAL, why)
    padded = coordinates[valid, Coordinate.END].max() > duration_seconds - TOLERANCE_SECONDS
    return DecodedClips(painter.frames, had, VideoStatus.PADDED if padded else VideoStatus.OK)


def _fill(painter: "_ClipPainter", pending: PendingSamples, frames: ShownFrames, *, duration_seconds: float) -> None:
    """One pass over the frames, up to the one after the last that is needed."""
    shown: ShownFrame | None = None
    for following in frames:
        samples = pending.take(shown, until=following.seconds, gap=following.follows_gap)
        if shown is not None and len(samples):
            painter.paint(shown.picture, samples)
        if pending.done:
            return
        shown = following
    # By the probe the last frame starts one interval before the end; without it, the file is shorter than planned.
    ends_early = frames.read_seconds + 1.5 * frames.seconds_per_frame < duration_seconds
    samples = pending.take(shown, until=np.inf, gap=frames.ends_in_gap or ends_early)
    if shown is not None and len(samples):
        painter.paint(shown.picture, samples)


class _ClipPainter:
    """Turns decoded frames into the pixels of clips."""

    def __init__(self, coordinates: NDArray[np.float32], *, num_frames: int, frame_size: int) -> None:
        self.frames = np.zeros((len(coordinates), num_frames, frame_size, frame_size, 3), np.uint8)
        self._coordinates = coordinates.astype(np.float64)
        self._to_rgb = VideoReformatter()  # one for all frames: it keeps the tables of the conversion
        self._orientation: Orientation | None = None

    def paint(self, picture: VideoFrame, samples: NDArray[np.int64]) -> None:
        """Write one frame into all samples (flat indices into K, T) that want it.

        Raises:
            VideoFileError: its pixel format cannot be converted.
        """
        rgb = self._upright_rgb(picture)
        num_frames, frame_size = self.frames.shape[1:3]
        painted: dict[int, NDArray[np.uint8]] = {}
        for clip, position in zip(*(index.tolist() for index in np.divmod(samples, num_frames)), strict=True):
            if clip not in painted:
                painted[clip] = _resize(_crop(rgb, self._coordinates[clip]), frame_size)
                if self._coordinates[clip, Coordinate.FLIP] == 1:
                    painted[clip] = painted[clip][:, ::-1]
            self.frames[clip, position] = painted[clip]

    def _upright_rgb(self, picture: VideoFrame) -> NDArray[np.uint8]:
        if self._orientation is None:
            self._orientation = orientation_of(picture)
        try:
            rgb = self._to_rgb.reformat(picture, format="rgb24", threads=1).to_ndarray()
        except LIBAV_ERRORS as error:
            raise VideoFileError(VideoStatus.CORRUPT, f"cannot be converted to RGB: {reason(error)}") from None
        return self._orientation.upright(rgb)


def _crop(rgb: NDArray[np.uint8], coordinates: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A view of the clip's box, its edges rounded to whole pixels, at least one pixel wide and high."""
    height, width = rgb.shape[:2]
    top, bottom = _edges(coordinates[Coordinate.TOP], coordinates[Coordinate.BOTTOM], height)
    left, right = _edges(coordinates[Coordinate.LEFT], coordinates[Coordinate.RIGHT], width)
    return rgb[top:bottom, left:right]


def _edges(low: float, high: float, num_pixels: int) -> tuple[int, int]:
    first = min(max(round(low * num_pixels), 0), num_pixels - 1)
    return first, min(max(round(high * num_pixels), first + 1), num_pixels)


def _resize(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bilinear with antialiasing, in integers (the same bits whatever the number of threads), to (size, size, 3)."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb))[None].permute(0, 3, 1, 2)  # (1, 3, H, W), channels last
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _check(coordinates: NDArray[np.float32], valid: NDArray[np.bool_], *, num_frames: int, frame_size: int) -> None:
    if valid.ndim != 1 or coordinates.shape != (len(valid), len(Coordinate)):
        raise ValueError(
            f"coordinates {coordinates.shape} and valid {valid.shape} must be (K, {len(Coordinate)}) and (K,); "
            "pass the rows of one video"
        )
    if num_frames < 1 or frame_size < 1:
        raise ValueError(f"num_frames ({num_frames}) and frame_size ({frame_size}) must be at least 1")
    if not valid.any():
        raise ValueError("valid plans none of the clips; leave out videos that the view does not plan")
    planned = coordinates[valid]
    for low, high in ((Coordinate.TOP, Coordinate.BOTTOM), (Coordinate.LEFT, Coordinate.RIGHT)):
        wrong = ~(planned[:, low] < planned[:, high])  # NaN too
        if wrong.any():
            values = planned[wrong][0, [low, high]].tolist()
            raise ValueError(
                f"{low.name.lower()} ({values[0]:g}) must be less than {high.name.lower()} ({values[1]:g})"
            )
    if not (planned[:, Coordinate.START] <= planned[:, Coordinate.END]).all():
        raise ValueError("start must not be after end, in seconds, for every planned clip")
