"""From a video file to the pixels of its clips, in one pass over the file.

Measured against its peers (benchmarks/bench_decode.py): one forward pass in which only needed frames are converted to
RGB, each once, of which each clip takes a crop without copying and one uint8 resize. Memory holds the clips and one
frame, however long the video.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020 ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from scale_video.extract.orientation import Orientation, orientation_of
from scale_video.extract.sample_times import TOLERANCE_SECONDS, sample_times
from scale_video.extract.shown_frames import ShownFrame, ShownFrames
from scale_video.extract.truncation import announced_bytes
from scale_video.extract.video_file import VideoFileError, check_readable, open_video
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

    A clip's frames are those shown at ``sample_times``: the last one whose time is at most 1 ms after the sample. A
    sample past the end gets the last frame. A clip is valid when all its frames were had and none is damaged or lies
    next to a gap that may have swallowed the right one.

    The status is ``PADDED`` when a clip reaches past the end of the video (the last frame repeats), ``PARTIAL`` when
    the file ends before ``duration_seconds`` or is damaged where a clip needs it, or is shorter than its own header
    says (its clips may all be valid), ``CORRUPT`` when no clip is valid, else ``OK``.

    Args:
        path: The video file.
        coordinates: Shape (K, C = 7), columns of ``Coordinate``: seconds from the first shown frame, box edges as
            fractions of the upright frame, rounded to whole pixels. Not read where ``valid`` is false.
        valid: Shape (K,): which clips are planned.
        duration_seconds: ``VideoProbe.duration_seconds`` of the file.
        num_frames: Frames a clip, T, the first and last at the ends of its span; 1 takes the middle.
        frame_size: Pixels of the square frames, S.

    Returns:
        The clips, with mirroring (``flip`` = 1) and rotation done.

    Raises:
        ValueError: arrays of other shapes, no planned clip, sizes below 1, or boxes and spans without extent.
    """
    _check(coordinates, valid, num_frames=num_frames, frame_size=frame_size)
    sampler = _ClipSampler(coordinates, planned=valid, num_frames=num_frames, frame_size=frame_size)
    try:
        missing_bytes = (announced_bytes(path) or 0) - check_readable(path)
        with open_video(path) as (container, stream):
            frames = ShownFrames(VideoPackets(container, stream), stream)
            sampler.fill(frames, duration_seconds=duration_seconds)
    except VideoFileError as error:
        return sampler.result(error.status, str(error))
    ...
