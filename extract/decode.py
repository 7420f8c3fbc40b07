"""From a video file to the pixels of its clips, in one pass over the file.

Measured against its peers (benchmarks/bench_decode.py): one forward pass in which only needed frames are converted to
RGB, each once, of which each clip takes a crop without copying and one uint8 resize. Memory holds the clips and two
frames, however long the video.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_pixels import ClipPainter
from scale_video.extract.sample_frames import TOLERANCE_SECONDS, PendingSamples, sample_times
from scale_video.extract.shown_frames import ShownFrame, ShownFrames
from scale_video.extract.truncation import bytes_cut_off
from scale_video.extract.video_file import VideoFileError, open_video
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
    if not duration_seconds > 0:
        raise ValueError(f"duration_seconds ({duration_seconds:g}) must be positive; take it from the file's probe")
    painter = ClipPainter(coordinates, num_frames=num_frames, frame_size=frame_size)
    pending = PendingSamples(sample_times(coordinates, num_frames=num_frames), planned=valid)
    try:
        with open_video(path) as (container, stream):
            frames = ShownFrames(VideoPackets(container, stream), stream)
            _fill(painter, pending, frames, duration_seconds=duration_seconds)
        num_bytes_cut_off = bytes_cut_off(path)
    except VideoFileError as error:
        return DecodedClips(np.zeros_like(painter.frames), np.zeros_like(valid), error.status, str(error))
    had = valid & ~pending.lost
    painter.frames[~had] = 0  # clips that were lost half-way
    status, why = VideoStatus.OK, ""
    if pending.lost.any():
        status = VideoStatus.PARTIAL if had.any() else VideoStatus.CORRUPT
        cause = frames.problem or f"it ends at {frames.read_seconds:.2f} of {duration_seconds:.2f} s"
        why = f"{np.count_nonzero(pending.lost)} of {np.count_nonzero(valid)} clips cannot be decoded: {cause}"
    elif num_bytes_cut_off:
        status, why = VideoStatus.PARTIAL, f"is {num_bytes_cut_off} bytes shorter than its header says"
    elif coordinates[valid, Coordinate.END].max() > duration_seconds - TOLERANCE_SECONDS:
        status = VideoStatus.PADDED
    return DecodedClips(painter.frames, had, status, why)


def _fill(painter: ClipPainter, pending: PendingSamples, frames: ShownFrames, *, duration_seconds: float) -> None:
    """One pass over the frames, up to the one after the last that is needed."""
    shown: ShownFrame | None = None
    for following in frames:
        samples = pending.take(shown, until=following.seconds, gap=following.follows_gap)
        if shown is not None and len(samples):
            painter.paint(shown.picture, samples)
        if pending.done:
            break
        shown = following
    else:
        # By the probe, the last frame starts one interval before the end; else the file is shorter than planned.
        ends_early = frames.read_seconds + 1.5 * frames.seconds_per_frame < duration_seconds
        samples = pending.take(shown, until=np.inf, gap=frames.ends_in_gap or ends_early)
        if shown is not None and len(samples):
            painter.paint(shown.picture, samples)
    painter.finish()


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
