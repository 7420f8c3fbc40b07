"""A look at a video file before it is planned: how long, how fast, how large, which way up, and whether it is one.

Headers lie (AVI frame counts, rates of trimmed or variable files) or are silent (webm without a duration), so every
file's packets are read to the end, without decoding any but those of the first frame. That costs one reading of the
file (.8 s for 300 MiB; .5 % of the time to decode half an hour of 720p, 10-20 % for ten seconds, where opening the
file dominates), and makes duration and rate exact: ``duration_seconds - 1 / frames_per_second`` is the time of the
last frame.
"""

from hashlib import blake2b
from pathlib import Path

import numpy as np

from scale_video.extract.orientation import orientation_of
from scale_video.extract.shown_frames import ShownFrames
from scale_video.extract.video_file import VideoFileError, check_readable, open_video, reason
from scale_video.extract.video_packets import VideoPackets
from scale_video.store.video_probe import VideoProbe, VideoStatus

MEBIBYTE = 1 << 20
JITTER_SECONDS = 1e-3
"""Intervals that differ by no more than this and one tick are rounding (Matroska keeps milliseconds), not variable."""


def probe_video(path: Path) -> VideoProbe:
    """Look at one file; whatever is wrong with it is in the result's ``status`` and ``error``.

    Args:
        path: The video file, read once from end to end.

    Returns:
        What is known of it. ``content_digest`` is there for every file that can be read, a broken one too.

    Raises:
        MemoryError: no memory left; nothing is known of the file.
    """
    digest = 0
    try:
        digest = content_digest(path)
        return _probe_readable(path, digest)
    except VideoFileError as error:
        return VideoProbe(error.status, error=str(error), content_digest=digest)


def content_digest(path: Path) -> int:
    """blake2b-8 (little-endian) of a file's size (eight bytes, little-endian) and of its first and last MiB.

    Raises:
        VideoFileError: the file cannot be read, or is empty.
    """
    num_bytes = check_readable(path)
    try:
        with path.open("rb") as file:
            head = file.read(MEBIBYTE)
            file.seek(max(0, num_bytes - MEBIBYTE))
            tail = file.read(MEBIBYTE)
    except OSError as error:
        raise VideoFileError(VideoStatus.MISSING, f"cannot be read: {reason(error)}") from None
    digest = blake2b(num_bytes.to_bytes(8, "little") + head + tail, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _probe_readable(path: Path, digest: int) -> VideoProbe:
    with open_video(path) as (container, stream):
        packets = VideoPackets(container, stream, keep_times=True)
        frames = ShownFrames(packets, stream)
        first = next(frames, None)
        if first is None:
            why = frames.problem or "it holds no picture that is shown"
            raise VideoFileError(VideoStatus.CORRUPT, f"no frame can be decoded: {why}")
        for _ in packets:  # the rest is counted, not decoded
            pass
        num_frames, rate, variable = _timing(packets, frames)
        orientation = orientation_of(first.picture)
        sides = first.picture.height, first.picture.width
        height, width = reversed(sides) if orientation.swaps_sides else sides
        return VideoProbe(
            VideoStatus.OK,
            duration_seconds=num_frames / rate,
            frames_per_second=rate,
            num_frames=num_frames,
            height=height,
            width=width,
            rotation_degrees=orientation.rotation_degrees,
            variable_frame_rate=variable,
            content_digest=digest,
        )


def _timing(packets: VideoPackets, frames: ShownFrames) -> tuple[int, float, bool]:
    """Number of frames, average rate and whether the rate varies, after all packets have been read."""
    # Pictures before the first decodable one are not shown; of two at one time only one is seen.
    times = np.frombuffer(packets.times, np.int64) if packets.times else np.zeros(0, np.int64)
    times.sort()  # in place: hours of video stay a few bytes a frame
    times = times[:0] if frames.start_ticks is None else times[np.searchsorted(times, frames.start_ticks) :]
    intervals = np.diff(times).view(np.uint64)  # also of times that lie further apart than an int64 can tell
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return max(1, min(1, len(times)) or packets.num_shown), frames.nominal_rate, False
    rate = len(intervals) / ((int(times[-1]) - int(times[0])) * packets.seconds_per_tick)
    spread_seconds = (int(intervals.max()) - int(intervals.min())) * packets.seconds_per_tick
    # A thousandth more, so that a spread of just these two stays on one side whatever the rounding.
    return len(intervals) + 1, rate, spread_seconds > 1.001 * (packets.seconds_per_tick + JITTER_SECONDS)
