"""Opening a video file: the one place that meets files which are no videos, and says in one line what they are.

Errors never hold the path (the store keeps it in a column of its own) nor anything that differs between machines.
libav's own messages need no silencing: PyAV drops them unless a program asks for them.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from scale_video.store.video_probe import VideoStatus

MAX_FRAME_PIXELS = 1 << 27
"""Larger frames are refused: 134 megapixels hold 16K video (15360 x 8640, 133 megapixels). A header of a few bytes can
demand more memory than a machine has; a frame of this size takes 600 MB while it is decoded and converted."""

LIBAV_ERRORS = (av.FFmpegError, ValueError, ArithmeticError)
"""What PyAV raises over bytes that make no sense: mostly its own errors, else a value that Python cannot hold.

Its error for want of memory is both an FFmpegError and a MemoryError: catch the latter first and pass it on, for it
says nothing of the file."""

PLAYLISTS = frozenset({"concat", "dash", "hls", "imf"})
"""Formats of libav whose files only name others."""


class VideoFileError(Exception):
    """A file from which no frame can be had.

    Attributes:
        status: ``MISSING`` (nothing there that can be read), ``NO_VIDEO_STREAM`` or ``CORRUPT``.
    """

    def __init__(self, status: VideoStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_readable(path: Path) -> int:
    """Refuse what is no file with bytes in it before anything opens it (opening a pipe would wait for ever).

    Returns:
        The file's size in bytes, at least 1.

    Raises:
        VideoFileError: no such file, no permission, a directory or a device (``MISSING``); zero bytes (``CORRUPT``).
    """
    try:
        info = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise VideoFileError(VideoStatus.MISSING, f"cannot be read: {reason(error)}") from None
    if not stat.S_ISREG(info.st_mode):
        kind = "a directory" if stat.S_ISDIR(info.st_mode) else "a pipe, socket or device"
        raise VideoFileError(VideoStatus.MISSING, f"is {kind}, not a file")
    if info.st_size == 0:
        raise VideoFileError(VideoStatus.CORRUPT, "is empty (0 bytes)")
    return info.st_size


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream, which decodes in the calling thread only; closed on leaving.

    Args:
        path: A local file. A playlist in it leads nowhere: only the ``file`` protocol is allowed.

    Yields:
        The container and the stream. Cover pictures of audio files do not count as video.

    Raises:
        VideoFileError: there is no such file, no video in it, or nothing that libav understands.
        MemoryError: no memory left.
    """
    check_readable(path)
    limits = {"max_pixels": str(MAX_FRAME_PIXELS)}  # libav looks before it allocates, also where a size changes midway
    try:
        # "file:" keeps a colon in a name from being read as a protocol.
        container = av.open(
            f"file:{path}",
            "r",
            container_options={"protocol_whitelist": "file"},
            options=limits,  # a look into the streams decodes frames where headers are silent
            metadata_errors="replace",
        )
    except MemoryError:
        raise
    except LIBAV_ERRORS as error:
        if not os.access(path, os.R_OK):
            raise VideoFileError(VideoStatus.MISSING, f"cannot be read: {reason(error)}") from None
        raise VideoFileError(VideoStatus.CORRUPT, f"cannot be opened as a video: {reason(error)}") from None
    with container:
        if container.format.name in PLAYLISTS:  # it may lead to files outside the data root
            raise VideoFileError(VideoStatus.CORRUPT, "is a playlist, not a video")
        stream = _first_video(container)
        if problem := size_problem(stream):
            raise VideoFileError(VideoStatus.CORRUPT, problem)
        stream.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.options = limits
        yield container, stream


def size_problem(stream: VideoStream) -> str:
    """Why frames of the stream's present size are refused, in one line; empty where they are not."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height <= MAX_FRAME_PIXELS:
        return ""
    return f"has frames of {width} x {height} pixels; at most {MAX_FRAME_PIXELS} pixels can be had"


def reason(error: BaseException) -> str:
    """The cause in one line, without the path that ``str(error)`` would add."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def _first_video(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures that some decoder knows."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        kinds = sorted({str(s.type) for s in container.streams})
        if "audio" in kinds or "subtitle" in kinds:
            raise VideoFileError(VideoStatus.NO_VIDEO_STREAM, f"has no video stream, only: {', '.join(kinds)}")
        raise VideoFileError(VideoStatus.CORRUPT, "opens, but holds no stream that can be shown")
    known = [s for s in videos if s.codec_context is not None]
    if not known:
        raise VideoFileError(VideoStatus.CORRUPT, "has a video stream that no decoder here knows")
    return known[0]
