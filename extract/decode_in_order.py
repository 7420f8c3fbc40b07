"""Decoding a file from its beginning, frame after frame, as a player does: slow on long files, and right on all.

What is damaged shows here, and what it spoils: see ``ShownFrames``.
"""

from collections.abc import Sequence

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from scale_video.extract.clip_filling import ClipFilling
from scale_video.extract.clip_pixels import RgbConverter
from scale_video.extract.orientation import orientation_of
from scale_video.extract.shown_frames import ShownFrame, ShownFrames
from scale_video.extract.video_file import VideoFileError
from scale_video.extract.video_packets import VideoPackets


def decode_in_order(
    fillings: Sequence[ClipFilling], container: InputContainer, stream: VideoStream, *, is_cut: bool = False
) -> None:
    """One pass over the frames, up to the one after the last that is needed; concludes all fillings.

    Args:
        fillings: What is wanted.
        container: A file that has just been opened.
        stream: Its stream of pictures.
        is_cut: Whether the end of the file is known to be missing.
    """
    frames = ShownFrames(VideoPackets(container, stream), stream)
    convert: RgbConverter | None = None
    shown: ShownFrame | None = None
    waiting = list(fillings)
    for following in frames:
        convert = convert or RgbConverter(orientation_of(following.picture))
        gap = following.follows_gap
        if following.in_tail and not gap:
            read = {"read_seconds": frames.read_seconds, "seconds_per_frame": frames.seconds_per_frame}
            gap = is_cut or any(filling.ends_early(**read) for filling in waiting)
        if _answer(waiting, shown, convert, until=following.seconds, gap=gap):
            for filling in waiting:
                if filling.pending.done and not filling.concluded:
                    filling.conclude(problem=frames.problem, read_seconds=frames.read_seconds)
            waiting = [filling for filling in waiting if not filling.concluded]
            if not waiting:
                return
        shown = following
    end = {"read_seconds": frames.read_seconds, "seconds_per_frame": frames.seconds_per_frame}
    for filling in waiting:
        gap = frames.ends_in_gap or filling.ends_early(**end)
        _answer([filling], shown, convert, until=np.inf, gap=gap)
        if not filling.concluded:
            filling.conclude(problem=frames.problem, read_seconds=frames.read_seconds)


def _answer(
    waiting: Sequence[ClipFilling], shown: ShownFrame | None, convert: RgbConverter | None, *, until: float, gap: bool
) -> bool:
    """Give a frame to all whose samples it answers; gives whether there was any such sample."""
    rgb: NDArray[np.uint8] | None = None
    any_taken = False
    for filling in waiting:
        if until <= filling.pending.next_reach:  # most frames answer none
            continue
        any_taken = True
        samples = filling.pending.take(shown, until=until, gap=gap)
        if shown is None or convert is None or not samples:
            continue
        try:
            rgb = convert(shown.picture) if rgb is None else rgb
        except VideoFileError as error:
            filling.fail(error)
        else:
            filling.painter.paint(rgb, samples)
    return any_taken
