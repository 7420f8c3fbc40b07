"""A video by groups of pictures (GOPs) that can be decoded on their own, one in memory at a time.

A file that does not look as it should (times missing, repeated or out of order, groups without end) is not for this:
``IrregularVideoError`` says so, and the file is to be decoded in order, from its beginning.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from scale_video.extract.picture_kinds import KindOf, PictureKind
from scale_video.extract.video_packets import VideoPackets

MAX_GOP_BYTES = 64 << 20
MAX_GOP_PACKETS = 1 << 14
"""Longer groups are irregular: half a minute at 17 Mbit a second, nine minutes at 30 pictures a second."""
SEEK_SECONDS = 5.0
"""A gap of this length is jumped over rather than read, which takes a third of a millisecond for a second of 720p."""


class IrregularVideoError(Exception):
    """A video that cannot be decoded by groups of pictures."""


@dataclass(frozen=True, slots=True)
class Gop:
    """Pictures that are decoded from the first on without anything before it."""

    packets: "list[Packet[VideoStream]]"
    """In the order of decoding."""
    ticks: list[int]
    """Their times."""
    kinds: list[PictureKind]
    shown: NDArray[np.int64]
    """Times of those that are shown (an edit list may hide some), ascending, none twice."""
    until: int | None
    """Time of the first picture of the next group; None at the end of the file."""


class Gops(Iterator[Gop]):
    """Iterator over the groups of an open video, in order; passes over those that nobody needs."""

    def __init__(self, packets: VideoPackets, container: InputContainer, stream: VideoStream, kind_of: KindOf) -> None:
        self._packets = packets
        self._kind_of = kind_of
        self._start: Packet[VideoStream] | None = None  # of the next group
        self._start_ticks = 0
        self._last_seek: int | None = None
        self._is_first = True
        # MP4's index is whole and exact. Of one that is still being written (fragments) only what is known by now.
        index = stream.index_entries
        has_index = "mp4" in container.format.name and len(index) > 0
        self._indexed_ticks = index[-1].timestamp if has_index else None
        self._begin()

    def __next__(self) -> Gop:
        """Read one group.

        Raises:
            IrregularVideoError: see above; from here on nothing can be had this way.
        """
        if self._start is None:
            raise StopIteration
        packets, ticks, kinds = [self._start], [self._start_ticks], [PictureKind.START]
        num_bytes = self._start.size
        self._start = None
        for packet in self._packets:
            kind, time = self._look_at(packet)
            if kind is PictureKind.START:
                self._start, self._start_ticks = packet, time
                break
            num_bytes += packet.size
            if num_bytes > MAX_GOP_BYTES or len(packets) >= MAX_GOP_PACKETS:
                raise IrregularVideoError("has groups of pictures without end")
            packets.append(packet)
            ticks.append(time)
            kinds.append(kind)
        until = None if self._start is None else self._start_ticks
        shown = np.array([time for time, packet in zip(ticks, packets, strict=True) if not packet.is_discard], np.int64)
        shown.sort()
        in_order = len(shown) > 0 and shown[0] >= ticks[0] and (until is None or shown[-1] < until)
        begins_hidden = len(shown) > 0 and shown[0] > ticks[0] and not self._is_first
        if not in_order or begins_hidden or (np.diff(shown) == 0).any():
            raise IrregularVideoError("shows pictures at odd times")
        self._is_first = False
        return Gop(packets, ticks, kinds, shown, until)

    def skip_to(self, ticks: int) -> None:
        """Pass over groups that end before a time, where that is worth it and exact; else they are read.

        Raises:
            IrregularVideoError: the file does not go on where its index says.
        """
        if self._start is None or self._indexed_ticks is None:
            return
        ticks = min(ticks, self._indexed_ticks)
        if (ticks - self._start_ticks) * self._packets.seconds_per_tick < SEEK_SECONDS or ticks == self._last_seek:
            return
        before = self._start_ticks
        self._last_seek = ticks
        if not self._packets.seek(ticks):
            raise IrregularVideoError("cannot be searched")
        self._begin()
        if self._start is None or not before <= self._start_ticks <= ticks:
            raise IrregularVideoError("goes on elsewhere than its index says")

    def _begin(self) -> None:
        self._start = next(self._packets, None)
        if self._start is not None:
            kind, self._start_ticks = self._look_at(self._start)
            if kind is not PictureKind.START:
                raise IrregularVideoError("does not begin with a picture that stands on its own")

    def _look_at(self, packet: "Packet[VideoStream]") -> tuple[PictureKind, int]:
        time = self._packets.ticks(packet)
        if time is None or packet.has_sidedata("new_extradata"):
            raise IrregularVideoError("has pictures without a time, or changes its headers midway")
        return self._kind_of(packet), time
