"""The coded pictures of an open video, in file order, until the file ends or breaks off."""

from array import array
from collections.abc import Iterator

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from scale_video.extract.video_file import LIBAV_ERRORS, reason


class VideoPackets:
    """Iterator over the packets that hold pictures, which counts what it passes on; it never raises.

    A picture's time, in ticks of ``seconds_per_tick``, is its presentation timestamp; in AVI, which stores none, it
    is its slot (dts). libav guesses timestamps for AVI, and guesses wrong for H.264 with B-frames, for packed
    B-frames (old XviD) and after dropped frames; slots are right in all of these (tests/extract).
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, keep_times: bool = False) -> None:
        """Begin at the file's start.

        Args:
            container: An open file.
            stream: Its stream of pictures.
            keep_times: Whether to list all times: eight bytes a picture, 7 MB for 10 hours at 25 a second.
        """
        self.seconds_per_tick = float(stream.time_base or 1)
        self.problem = ""
        """Why reading broke off, in one line; empty when the file simply ended."""
        self.num_shown = 0
        """Pictures passed on that are to be shown: neither cut away by an edit list nor incomplete."""
        self.first_ticks: int | None = None
        """Time of the first of them, in file order."""
        self.last_ticks: int | None = None
        """Greatest time of any of them."""
        self.last_dts: int | None = None
        """Decoding time of the last picture passed on, None where the file has none. What is not in the file because
        its end is missing is decoded, and so shown, later."""
        self.times = array("q")
        """The times of all of them if asked for, in file order."""
        self.skipped = False
        """Whether parts of the file were passed over, so that the counts are not those of the file."""
        self._keep_times = keep_times
        self.uses_slots = counts_slots(container)
        self._container, self._stream = container, stream
        self._demuxed = container.demux(stream)

    def __iter__(self) -> "Iterator[Packet[VideoStream]]":
        return self

    def __next__(self) -> "Packet[VideoStream]":
        while True:
            try:
                packet = next(self._demuxed)
            except MemoryError:
                raise
            except IndexError:  # PyAV stumbles at the very end of a file in which streams begin midway (mpeg-ts)
                raise StopIteration from None
            except LIBAV_ERRORS as error:
                self.problem = f"reading breaks off: {reason(error)}"
                raise StopIteration from None
            if packet.size:  # else it is the mark by which PyAV would flush the decoder
                self._count(packet)
                return packet

    def ticks(self, picture: "Packet[VideoStream] | VideoFrame") -> int | None:
        """A picture's time, coded or decoded; None where the file has none."""
        return picture.dts if self.uses_slots else picture.pts

    def seek(self, ticks: int) -> bool:
        """Go on with the last key frame at or before a time, as the file's index has it.

        Returns:
            Whether the container could; if not, nothing is known of what comes next.
        """
        self.skipped = True
        try:
            self._container.seek(ticks, stream=self._stream)
        except MemoryError:
            raise
        except LIBAV_ERRORS:
            return False
        return True

    def _count(self, packet: "Packet[VideoStream]") -> None:
        self.last_dts = packet.dts
        if packet.is_discard or packet.is_corrupt:
            return
        self.num_shown += 1
        ticks = self.ticks(packet)
        if ticks is not None:
            self.first_ticks = ticks if self.first_ticks is None else self.first_ticks
            self.last_ticks = ticks if self.last_ticks is None else max(self.last_ticks, ticks)
            if self._keep_times:
                self.times.append(ticks)


def counts_slots(container: InputContainer) -> bool:
    """Whether a file has slots in the place of times."""
    return container.format.name == "avi"
