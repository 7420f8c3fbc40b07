"""Decoding in processes of their own, ahead of the forward pass, into memory that the worker sees.

The worker hands a video to a process and knows from then on that this video, and no other, is what the process is at.
So the culprit of a crash or a hang is known exactly, and the forward pass waits for a decoder only where cores are too
few.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, DecodedVideo, decode_clips
from scale_video.extract.guarded_map import GuardedMap
from scale_video.extract.guarded_process import CallHarmedError, CallRaisedError, CallTimedOutError
from scale_video.extract.probe import probe_video
from scale_video.extract.shared_buffer import SharedBuffer, inherited_arrays
from scale_video.store.video_probe import VideoProbe, VideoStatus

DEFAULT_TIMEOUT_SECONDS = 600.0
DEFAULT_MEMORY_BYTES = 4 << 30
MAX_TIMEOUT_SECONDS = 1_000_000.0
"""What the operating system's own timers take, with room; eleven days."""
PREFETCH_PER_WORKER = 1
"""Decoded videos that wait for the forward pass, beside the one it is at and those being decoded."""

Decode = Callable[..., DecodedVideo]
"""``decode_clips``, or what stands in for it in a benchmark; importable by its name."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How decoding is spread and bounded on one worker."""

    num_processes: int = 1
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """For one video."""
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """What one process may allocate for a video."""

    def __post_init__(self) -> None:
        """Check that each is positive, and the time no longer than timers can take.

        Raises:
            ValueError: one is not.
        """
        if self.timeout_seconds > MAX_TIMEOUT_SECONDS:
            raise ValueError(
                f"the time for a video must be at most {MAX_TIMEOUT_SECONDS:,.0f} s, got {self.timeout_seconds:g}"
            )
        if self.num_processes < 1 or not self.timeout_seconds > 0 or self.memory_bytes < 1:
            raise ValueError(f"decoding needs at least one process, a time and memory above 0, got {self}")


@dataclass(frozen=True, slots=True)
class VideoOrder:
    """One video that is to be decoded."""

    path: Path
    duration_seconds: float
    """As probed."""
    requests: tuple[ClipRequest, ...]


@dataclass(frozen=True, slots=True)
class _BufferedOrder:
    order: VideoOrder
    descriptor: int
    num_bytes: int
    decode: Decode


class ClipDecoders:
    """The decoding processes of one worker thread."""

    def __init__(self, limits: DecodeLimits) -> None:
        """Prepare; processes start with the first video."""
        self.limits = limits
        # Those being decoded, those that wait, and the one whose clips the caller is looking at.
        prefetch = limits.num_processes + PREFETCH_PER_WORKER + 1
        self._buffers = [SharedBuffer() for _ in range(prefetch)]
        self._processes = GuardedMap(
            limits.num_processes,
            prefetch=prefetch,
            memory_bytes=limits.memory_bytes,
            libraries=("av", "numpy", "torch"),
            shared_files=tuple(buffer.descriptor for buffer in self._buffers),
        )

    def decode(self, orders: Iterable[VideoOrder], *, decode: Decode = decode_clips) -> Generator[DecodedVideo]:
        """Decode videos in order, a bounded number of them ahead.

        Args:
            orders: consumed lazily.
            decode: the function that decodes one.

        Yields:
            The clips of each. Their frames lie in memory that is used again: they hold until the next video is asked
            for.
        """
        shapes: list[list[tuple[int, ...]]] = []  # of the videos under way
        buffers = cycle(self._buffers)
        places = cycle(self._buffers)

        def buffered() -> Iterator[_BufferedOrder]:
            for order in orders:
                shapes.append([request.shape for request in order.requests])
                buffer = next(buffers)
                buffer.arrays(shapes[-1])
                yield _BufferedOrder(order, buffer.descriptor, buffer.num_bytes, decode)

        for outcome in self._processes.map(_decode_into, buffered(), timeout_seconds=self.limits.timeout_seconds):
            arrays = next(places).arrays(shapes.pop(0))
            if isinstance(outcome, CallHarmedError):
                yield _harmed(outcome, arrays)
            else:
                clips = zip(outcome.clips, arrays, strict=True)
                yield replace(outcome, clips=tuple(replace(one, frames=array) for one, array in clips))

    def probe(self, paths: Iterable[Path]) -> Iterator[VideoProbe]:
        """Look at files in order; one that crashes or hangs its process says so in its probe."""
        for outcome in self._processes.map(_probe, paths, timeout_seconds=self.limits.timeout_seconds):
            if isinstance(outcome, CallHarmedError):
                yield VideoProbe(_status(outcome), error=f"a look at it {outcome}")
            else:
                yield outcome

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


def _probe(path: Path) -> VideoProbe:
    """Look at one file; runs in a decoding process."""
    with _blaming(path):
        return probe_video(path)


def _decode_into(buffered: _BufferedOrder) -> DecodedVideo:
    """Decode one video into its buffer; runs in a decoding process, and sends everything but the pixels back."""
    order = buffered.order
    arrays = inherited_arrays(buffered.descriptor, buffered.num_bytes, [request.shape for request in order.requests])
    with _blaming(order.path):
        video = buffered.decode(order.path, order.requests, duration_seconds=order.duration_seconds, out=arrays)
    nothing = np.empty((0, 0, 0, 0, 0), np.uint8)
    return replace(video, clips=tuple(replace(clips, frames=nothing) for clips in video.clips))


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Make an error that nobody foresaw the matter of one video: a job of days must not end with it.

    Raises:
        CallRaisedError: says in one line, without the path, what was raised.
        MemoryError: as it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        message = " ".join(str(error).replace(str(path), "the file").split())
        raise CallRaisedError(f"raised {type(error).__name__}: {message}") from None


def _harmed(error: CallHarmedError, arrays: tuple[NDArray[np.uint8], ...]) -> DecodedVideo:
    for array in arrays:
        array[...] = 0  # the process may have painted some of it
    clips = tuple(
        DecodedClips(array, np.zeros(len(array), np.bool_), _status(error), f"decoding {error}") for array in arrays
    )
    return DecodedVideo(clips=clips, decode_seconds=0.0, resize_seconds=0.0)


def _status(error: CallHarmedError) -> VideoStatus:
    return VideoStatus.TIMEOUT if isinstance(error, CallTimedOutError) else VideoStatus.CRASHED
