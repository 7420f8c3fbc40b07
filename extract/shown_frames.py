"""The frames of an open video in the order and at the times at which a player shows them, and whether to trust them.

A frame's time is its own less the first shown frame's: an offset (mpeg-ts) does not matter, and frames that an edit
list cuts away are not shown (the decoder drops them). Frames without a time (raw streams) are counted.

When a packet cannot be decoded, decoders go on and give frames predicted from what is missing, often without a word.
So from the first sign of damage on, no frame is trusted until a key frame that lies after it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from scale_video.extract.video_file import LIBAV_ERRORS, reason, size_problem
from scale_video.extract.video_packets import VideoPackets


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """One frame as it is shown."""

    picture: VideoFrame
    """As coded: not yet turned upright."""
    seconds: float
    """Time from the first shown frame; never less than that of the frame before."""
    trusted: bool
    """Whether the pixels are what the encoder meant, as far as a decoder can tell."""
    follows_gap: bool
    """Whether something between the frame before and this one could not be decoded."""
    in_tail: bool = False
    """Whether pictures that are shown before this one may be missing if the end of the file is."""


class ShownFrames(Iterator[ShownFrame]):
    """Iterator over the frames of an open video; damage neither ends it nor raises."""

    def __init__(self, packets: VideoPackets, stream: VideoStream) -> None:
        self.problem = ""
        """The first damage met, in one line; empty as long as there is none."""
        self.ends_in_gap = False
        """Whether something after the frame given out last could not be decoded."""
        self.start_ticks: int | None = None
        """Time of the first shown frame's packet; None before it, and where the file has no times."""
        self.nominal_rate = float(stream.guessed_rate or stream.average_rate or 1)
        """Frames a second by the header, for want of times; 1 when it says nothing."""
        self._packets = packets
        self._stream = stream
        self._frames = self._show()
        self._last_seconds = -math.inf
        self._ended = False
        # By how many ticks frames come out later than the slot of their packet.
        self._delay = 0
        # Time of the latest damage, inf where it is unknown; None while frames are trusted.
        self._damage: float | None = None

    def __next__(self) -> ShownFrame:
        return next(self._frames)

    @property
    def read_seconds(self) -> float:
        """Time of the last picture read so far, whether or not a frame has come of it."""
        if self.start_ticks is None or self._packets.last_ticks is None:
            return max(0, self._packets.num_shown - 1) / self.nominal_rate
        return (self._packets.last_ticks - self.start_ticks) * self._packets.seconds_per_tick

    @property
    def seconds_per_frame(self) -> float:
        """Average interval between the pictures read so far."""
        intervals = self._packets.num_shown - 1
        return self.read_seconds / intervals if intervals > 0 else 1 / self.nominal_rate

    def _show(self) -> Iterator[ShownFrame]:
        for packet in self._packets:
            yield from self._decode(packet)
        if self._packets.problem:
            self.problem = self.problem or self._packets.problem
        self._ended = True
        yield from self._decode(None)  # what the decoder still holds back

    def _decode(self, packet: "Packet[VideoStream] | None") -> Iterator[ShownFrame]:
        ticks = None if packet is None else self._packets.ticks(packet)
        try:
            pictures = self._stream.decode(packet)
        except av.error.EOFError:
            return
        except MemoryError:
            raise
        except LIBAV_ERRORS as error:
            problem = size_problem(self._stream)
            if not problem:
                _check_memory(self._stream)
            self._distrust(ticks, problem or f"a frame cannot be decoded: {reason(error)}")
            return
        if packet is not None and packet.is_corrupt:
            self._distrust(ticks, "a frame is incomplete in the file")
        for picture in pictures:
            shown = self._place(picture)
            if shown.seconds >= self._last_seconds:  # else it is out of order, and has no place
                self._last_seconds = shown.seconds
                self.ends_in_gap = False
                yield shown

    def _place(self, picture: VideoFrame) -> ShownFrame:
        ticks = self._packets.ticks(picture)
        if ticks is not None and self.start_ticks is None and self._last_seconds < 0:
            self.start_ticks = self._packets.first_ticks if self._packets.uses_slots else ticks
            self._delay = ticks - (self.start_ticks or 0)
        if ticks is None or self.start_ticks is None:
            coded_ticks = None
            seconds = max(0.0, self._last_seconds + 1 / self.nominal_rate)
        else:
            coded_ticks = ticks - self._delay
            seconds = (coded_ticks - self.start_ticks) * self._packets.seconds_per_tick
        if picture.is_corrupt:
            self._distrust(coded_ticks, "a frame is damaged")
        elif self._damage is not None and picture.key_frame and coded_ticks is not None and coded_ticks > self._damage:
            self._damage = None
        # B-frames lie in the file after the picture that they are shown before.
        last = self._packets.last_dts
        in_tail = self._ended and (ticks is None or last is None or ticks > last)
        return ShownFrame(picture, seconds, self._damage is None, follows_gap=self.ends_in_gap, in_tail=in_tail)

    def _distrust(self, ticks: int | None, problem: str) -> None:
        self.problem = self.problem or problem
        self.ends_in_gap = True
        self._damage = math.inf if ticks is None else max(float(ticks), self._damage or -math.inf)


def _check_memory(stream: VideoStream) -> None:
    """See whether there is memory for another frame as RGB: some of libav's decoders call it damage when there is not.

    Raises:
        MemoryError: there is none; nothing is known of the file.
    """
    np.empty(3 * stream.codec_context.width * stream.codec_context.height, np.uint8)
