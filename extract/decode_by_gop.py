"""Decoding just the groups of pictures that are needed, and of them just the pictures that are needed.

Only what is beyond doubt is done here. Every group is decoded as if it were the file: from a picture that stands on
its own, with a decoder that remembers nothing, up to the last picture that is needed, without those that nobody needs
and nothing refers to. Then every needed picture must have come out, at its time, in order, and without a complaint.
Otherwise the requests concerned are not concluded: their clips are to be decoded in order, from the file's beginning.

So what comes out is what decoding in order gives (tests/extract/test_decode_by_gop.py), whichever groups are passed
over and whatever else is decoded along with it. Memory holds one group of coded pictures and a few frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from scale_video.extract.clip_filling import ClipFilling
from scale_video.extract.clip_pixels import RgbConverter
from scale_video.extract.gops import Gop, Gops, IrregularVideoError
from scale_video.extract.orientation import orientation_of
from scale_video.extract.picture_kinds import KindOf, PictureKind
from scale_video.extract.video_file import LIBAV_ERRORS, VideoFileError
from scale_video.extract.video_packets import VideoPackets


def decode_by_gop(
    fillings: Sequence[ClipFilling],
    container: InputContainer,
    stream: VideoStream,
    kind_of: KindOf,
    *,
    is_cut: bool = False,
) -> None:
    """Fill what can be filled; the fillings that are not concluded afterwards must be decoded in order.

    Args:
        fillings: What is wanted.
        container: A file that has just been opened, whose pictures have times of their own.
        stream: Its stream of pictures.
        kind_of: What a picture is to the others.
        is_cut: Whether the end of the file is known to be missing.
    """
    # Where a decoder would paint over a damaged part with what it has decoded before, it shall say so instead.
    stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}
    packets = VideoPackets(container, stream)
    with suppress(IrregularVideoError):
        _Decoding(fillings, packets, stream, is_cut=is_cut).run(Gops(packets, container, stream, kind_of))
    for filling in fillings:
        if not filling.concluded:
            filling.restart()


@dataclass(frozen=True, slots=True)
class _Want:
    """What one request wants of a group."""

    filling: ClipFilling | None
    """None: just that the picture can be had."""
    samples: dict[int, list[int]] = field(default_factory=dict)
    """By the time of a picture, in ticks."""


class _Decoding:
    """One pass over the groups of a file."""

    def __init__(
        self, fillings: Sequence[ClipFilling], packets: VideoPackets, stream: VideoStream, *, is_cut: bool
    ) -> None:
        self._is_cut = is_cut
        self._waiting = list(fillings)
        self._doubtful: set[ClipFilling] = set()
        self._packets = packets
        self._stream = stream
        self._start_ticks = 0  # of the first shown picture
        self._convert: RgbConverter | None = None

    def run(self, gops: Gops) -> None:
        for gop in gops:
            wants = []
            if self._convert is None:  # times count from the first shown picture, which must be there
                self._start_ticks = int(gop.shown[0])
                wants.append(_Want(None, {self._start_ticks: []}))
            wants += [want for filling in self._waiting if (want := self._want(filling, gop)) is not None]
            if wants:
                self._serve(gop, wants)
            self._waiting = [filling for filling in self._waiting if filling not in self._doubtful]
            for filling in self._waiting:
                if filling.pending.done:
                    filling.conclude()
            self._waiting = [filling for filling in self._waiting if not filling.concluded]
            if not self._waiting:
                return
            next_reach = min(filling.pending.next_reach for filling in self._waiting)
            gops.skip_to(self._start_ticks + int(next_reach / self._packets.seconds_per_tick))

    def _want(self, filling: ClipFilling, gop: Gop) -> _Want | None:
        samples, reach = filling.pending.take_all(until=self._seconds(gop.until) if gop.until is not None else np.inf)
        if not samples:
            return None
        if gop.until is None and reach[-1] > self._sure_until(gop) and not self._ends_as_planned(filling):
            self._doubtful.add(filling)
            return None
        want = _Want(filling)
        times = (gop.shown - self._start_ticks) * self._packets.seconds_per_tick
        pictures = gop.shown[np.searchsorted(times, reach, side="right") - 1]  # the last one up to then
        for ticks, sample in zip(pictures.tolist(), samples, strict=True):
            want.samples.setdefault(ticks, []).append(sample)
        return want

    def _sure_until(self, last: Gop) -> float:
        """Up to when the last group holds all pictures, even if the end of the file is missing.

        What is missing would have been decoded later than what is there, and is shown no earlier than decoded. B-frames
        follow, in the file, the picture that they are shown before.
        """
        last_dts = last.packets[-1].dts
        return -np.inf if last_dts is None else self._seconds(last_dts)

    def _ends_as_planned(self, filling: ClipFilling) -> bool:
        packets = self._packets
        # Only in files with a whole index are parts passed over.
        num_shown = len(self._stream.index_entries) if packets.skipped else packets.num_shown
        if self._is_cut or packets.problem or packets.last_ticks is None or num_shown < 2:
            return False
        read_seconds = self._seconds(packets.last_ticks)
        return not filling.ends_early(read_seconds=read_seconds, seconds_per_frame=read_seconds / (num_shown - 1))

    def _seconds(self, ticks: int) -> float:
        return (ticks - self._start_ticks) * self._packets.seconds_per_tick

    def _serve(self, gop: Gop, wants: Sequence[_Want]) -> None:
        if self._decode(gop, wants):
            return
        if self._convert is None:
            raise IrregularVideoError("does not begin with a picture that can be decoded")
        # Something is wrong with the group, but maybe not with what each request needs of it.
        for want in wants:
            if want.filling is not None and (len(wants) == 1 or not self._decode(gop, [want])):
                self._doubtful.add(want.filling)

    def _decode(self, gop: Gop, wants: Sequence[_Want]) -> bool:
        """Decode a group up to the last wanted picture; gives whether all is well, and else may have painted some."""
        missing = {ticks for want in wants for ticks in want.samples}
        last_ticks = int(gop.shown[0]) - 1
        try:
            for packet in self._needed(gop, wants):
                if packet is not None and packet.is_corrupt:
                    return False
                for picture in self._pictures(packet):
                    if picture.is_corrupt or picture.pts is None or picture.pts <= last_ticks:
                        return False
                    if self._convert is None:
                        if picture.pts != self._start_ticks:
                            return False
                        self._convert = RgbConverter(orientation_of(picture))
                    last_ticks = picture.pts
                    if picture.pts in missing:
                        missing.discard(picture.pts)
                        self._paint(picture, self._convert, wants)
                if not missing:
                    return True
        except MemoryError:
            raise
        except (*LIBAV_ERRORS, VideoFileError):
            return False
        finally:
            self._stream.codec_context.flush_buffers()
        return False

    def _needed(self, gop: Gop, wants: Sequence[_Want]) -> "Iterator[Packet[VideoStream] | None]":
        """What the decoder must get of a group; None at the end, for what it still holds back."""
        pictures = {ticks for want in wants if want.filling is not None for ticks in want.samples}
        num_needed = 1 + max((index for index, ticks in enumerate(gop.ticks) if ticks in pictures), default=-1)
        for index, (packet, ticks, kind) in enumerate(zip(gop.packets, gop.ticks, gop.kinds, strict=True)):
            begins = self._convert is None  # the file's first picture must come out as it does when decoding in order
            if begins or (index < num_needed and (kind is not PictureKind.DISPOSABLE or ticks in pictures)):
                yield packet
        yield None

    def _pictures(self, packet: "Packet[VideoStream] | None") -> Sequence[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except av.error.EOFError:
            return ()

    def _paint(self, picture: VideoFrame, convert: RgbConverter, wants: Sequence[_Want]) -> None:
        rgb: NDArray[np.uint8] | None = None
        for want in wants:
            samples = want.samples.get(picture.pts or 0)
            if samples and want.filling is not None:
                rgb = convert(picture) if rgb is None else rgb
                want.filling.painter.paint(rgb, samples)
