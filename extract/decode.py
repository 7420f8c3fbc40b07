"""From a video file to the pixels of its clips, in one pass over the file for all who want any of it.

Measured against its peers (benchmarks/bench_decode.py): one forward pass in which only needed frames are converted to
RGB, each once, out of which each clip copies a crop, and one uint8 resize for several crops of a clip. Memory holds the
clips, some mebibytes of frames, and two of crops for each clip that is being filled, however long the video.

What comes out for a request does not depend on which others are served with it: its outcome is taken at the moment
when its last sample is answered, whatever the rest of the file holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_filling import ClipFilling, DecodedClips
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode_by_gop import decode_by_gop
from scale_video.extract.decode_in_order import decode_in_order
from scale_video.extract.picture_kinds import kind_reader
from scale_video.extract.truncation import bytes_cut_off
from scale_video.extract.video_file import VideoFileError, open_video
from scale_video.extract.video_packets import counts_slots

__all__ = ["DecodedClips", "DecodedVideo", "decode_clips"]


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """What was wanted of one video."""

    clips: tuple[DecodedClips, ...]
    """One for each request, in order."""
    decode_seconds: float
    """For opening, reading, decoding and the conversion of colours."""
    resize_seconds: float
    """For cropping and resizing, and for augmentation."""


def decode_clips(
    path: Path,
    requests: Sequence[ClipRequest],
    *,
    duration_seconds: float,
    out: Sequence[NDArray[np.uint8]] | None = None,
) -> DecodedVideo:
    """Decode clips of one video; a bad file gives a status and an error, never an exception.

    A clip's frames are those shown at its ``sample_times``: the last one whose time is at most 1 ms later than the
    sample. A sample past the end gets the last frame. A clip is valid when none of its frames is damaged, missing, or
    next to a gap that may have swallowed the right one.

    The status is ``CORRUPT`` when no clip is valid; ``PARTIAL`` when some are not, or when the file is shorter than
    its own header says (what is there may do for all clips); ``PADDED`` when a clip looks past the end of the video,
    so that the last frame repeats; else ``OK``.

    Args:
        path: The video file.
        requests: What is wanted of it; at least one.
        duration_seconds: The file's ``VideoProbe.duration_seconds``.
        out: For each request an array of its ``shape``, uint8, to decode into; what it held before does not matter.
            New ones where None.

    Returns:
        The clips, upright (box edges rounded to whole pixels), mirrored where ``flip`` is 1, and augmented where asked.

    Raises:
        ValueError: no request, arrays of another shape or type than the requests', a duration of 0.
        MemoryError: no memory left, whether for the file's frames or the clips; nothing is known of the file.
    """
    if not requests:
        raise ValueError("requests is empty; leave out videos of which nothing is wanted")
    if not duration_seconds > 0:
        raise ValueError(f"duration_seconds ({duration_seconds:g}) must be positive; take it from the file's probe")
    arrays = [np.empty(request.shape, np.uint8) for request in requests] if out is None else out
    given = [(array.shape, str(array.dtype)) for array in arrays]
    if given != [(request.shape, "uint8") for request in requests]:
        raise ValueError(f"out ({given}) must hold a uint8 array of each request's shape")
    begun = perf_counter()
    fillings = [ClipFilling(*pair, duration_seconds=duration_seconds) for pair in zip(requests, arrays, strict=True)]
    try:
        num_bytes_cut_off = _decode(path, fillings)
        clips = tuple(filling.outcome(num_bytes_cut_off) for filling in fillings)
    except VideoFileError as error:
        clips = tuple(filling.refuse(error) for filling in fillings)
    resize_seconds = sum(filling.resize_seconds for filling in fillings)
    return DecodedVideo(clips, perf_counter() - begun - resize_seconds, resize_seconds)


def _decode(path: Path, fillings: Sequence[ClipFilling]) -> int:
    """Fill them: by groups of pictures where that is beyond doubt, else from the beginning of the file.

    Returns:
        By how many bytes the file is shorter than its header says.
    """
    with open_video(path) as (container, stream):
        num_bytes_cut_off = bytes_cut_off(path)
        kind_of = None if counts_slots(container) else kind_reader(stream)
        if kind_of is None:
            decode_in_order(fillings, container, stream, is_cut=num_bytes_cut_off > 0)
        else:
            decode_by_gop(fillings, container, stream, kind_of, is_cut=num_bytes_cut_off > 0)
    rest = [filling for filling in fillings if not filling.concluded]
    if rest:
        with open_video(path) as (container, stream):
            decode_in_order(rest, container, stream, is_cut=num_bytes_cut_off > 0)
    return num_bytes_cut_off
