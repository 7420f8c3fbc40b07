"""From a video file to the pixels of its clips, in one pass over the file for all who want any of it.

Measured against its peers (benchmarks/bench_decode.py): one forward pass in which only needed frames are converted to
RGB, each once, of which each clip takes a crop without copying and one uint8 resize. Memory holds the clips and two
frames, however long the video.

What comes out for a request does not depend on which others are served with it: its outcome is taken at the moment
when its last sample is answered, whatever the rest of the file holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_pixels import ClipPainter, RgbConverter
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.orientation import orientation_of
from scale_video.extract.sample_frames import TOLERANCE_SECONDS, PendingSamples, sample_times
from scale_video.extract.shown_frames import ShownFrame, ShownFrames
from scale_video.extract.truncation import bytes_cut_off
from scale_video.extract.video_file import VideoFileError, open_video
from scale_video.extract.video_packets import VideoPackets
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus


@dataclass(frozen=True, slots=True)
class DecodedClips:
    """The pixels of the planned clips of one request."""

    frames: NDArray[np.uint8]
    """RGB, shape (K, T, S, S, 3); 0 where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (K,): clips all of whose frames were had; a subset of the planned ones."""
    status: VideoStatus
    """``OK``, ``PADDED``, ``PARTIAL``; ``NO_VIDEO_STREAM``, ``CORRUPT``, ``MISSING`` without a valid clip."""
    error: str = ""
    """Why the video could not be had in full, in one line without a path; empty where it could."""


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """What was wanted of one video."""

    clips: tuple[DecodedClips, ...]
    """One for each request, in order."""
    decode_seconds: float
    """For opening, reading, decoding and the conversion of colours."""
    resize_seconds: float
    """For cropping and resizing."""


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
        The clips, upright (box edges rounded to whole pixels), mirrored where ``flip`` is 1.

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
    fillings = [_Filling(*pair, duration_seconds=duration_seconds) for pair in zip(requests, arrays, strict=True)]
    try:
        with open_video(path) as (container, stream):
            _fill(fillings, ShownFrames(VideoPackets(container, stream), stream))
        num_bytes_cut_off = bytes_cut_off(path)
        clips = tuple(filling.outcome(num_bytes_cut_off) for filling in fillings)
    except VideoFileError as error:
        clips = tuple(filling.refuse(error) for filling in fillings)
    resize_seconds = sum(filling.painter.seconds for filling in fillings)
    return DecodedVideo(clips, perf_counter() - begun - resize_seconds, resize_seconds)


class _Filling:
    """One request as its samples are answered."""

    def __init__(self, request: ClipRequest, frames: NDArray[np.uint8], *, duration_seconds: float) -> None:
        self.pending = PendingSamples(
            sample_times(request.coordinates, num_frames=request.num_frames), planned=request.valid
        )
        self.painter = ClipPainter(request, frames)
        self.error: VideoFileError | None = None
        """Why nothing can be had for this request after all."""
        self._request = request
        self._frames = frames
        self._duration_seconds = duration_seconds
        self._cause = ""

    @property
    def done(self) -> bool:
        """Whether it needs no further frame."""
        return self.pending.done or self.error is not None

    def conclude(self, frames: ShownFrames) -> None:
        """Note how the file looks at this moment: the last sample has been answered."""
        self._cause = frames.problem or f"it ends at {frames.read_seconds:.2f} of {self._duration_seconds:.2f} s"
        self.painter.finish()

    def outcome(self, num_bytes_cut_off: int) -> DecodedClips:
        """The clips, when all samples have been answered."""
        if self.error is not None:
            return self.refuse(self.error)
        planned, lost = self._request.valid, self.pending.lost
        had = planned & ~lost
        self._frames[~had] = 0  # clips that are not planned, or were lost half-way
        status, why = VideoStatus.OK, ""
        if lost.any():
            status = VideoStatus.PARTIAL if had.any() else VideoStatus.CORRUPT
            why = f"{np.count_nonzero(lost)} of {np.count_nonzero(planned)} clips cannot be decoded: {self._cause}"
        elif num_bytes_cut_off:
            status, why = VideoStatus.PARTIAL, f"is {num_bytes_cut_off} bytes shorter than its header says"
        elif self._request.coordinates[planned, Coordinate.END].max() > self._duration_seconds - TOLERANCE_SECONDS:
            status = VideoStatus.PADDED
        return DecodedClips(self._frames, had, status, why)

    def refuse(self, error: VideoFileError) -> DecodedClips:
        """No clips."""
        self._frames[...] = 0
        return DecodedClips(self._frames, np.zeros_like(self._request.valid), error.status, str(error))

    def ends_early(self, frames: ShownFrames) -> bool:
        """Whether the file, read to its end, is shorter than planned."""
        # By the probe, the last frame starts one interval before the end.
        return frames.read_seconds + 1.5 * frames.seconds_per_frame < self._duration_seconds


def _fill(fillings: Sequence[_Filling], frames: ShownFrames) -> None:
    """One pass over the frames, up to the one after the last that is needed."""
    convert: RgbConverter | None = None
    shown: ShownFrame | None = None
    waiting = list(fillings)
    for following in frames:
        convert = convert or RgbConverter(orientation_of(following.picture))
        if _answer(waiting, shown, convert, until=following.seconds, gap=following.follows_gap):
            for filling in waiting:
                if filling.done:
                    filling.conclude(frames)
            waiting = [filling for filling in waiting if not filling.done]
            if not waiting:
                return
        shown = following
    for filling in waiting:
        gap = frames.ends_in_gap or filling.ends_early(frames)
        _answer([filling], shown, convert, until=np.inf, gap=gap)
        filling.conclude(frames)


def _answer(
    waiting: Sequence[_Filling], shown: ShownFrame | None, convert: RgbConverter | None, *, until: float, gap: bool
) -> bool:
    """Give a frame to all whose samples it answers; gives whether there was any such sample."""
    rgb: NDArray[np.uint8] | None = None
    any_taken = False
    for filling in waiting:
        if until <= filling.pending.next_reach:  # most frames answer none
            continue
        any_taken = True
        samples = filling.pending.take(shown, until=until, gap=gap)
        if shown is None or convert is None or not len(samples):
            continue
        try:
            rgb = convert(shown.picture) if rgb is None else rgb
        except VideoFileError as error:
            filling.error = error
        else:
            filling.painter.paint(rgb, samples.tolist())
    return any_taken
