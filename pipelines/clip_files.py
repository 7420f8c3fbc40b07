"""A clip as a file to look at: a strip of frames without loss (png), or a film that every player takes (mp4)."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

FORMATS: Final[Mapping[str, str]] = {
    ".png": "a strip of the frames from left to right, without loss",
    ".mp4": "h264, yuv420p, each pixel doubled; off by a few levels of 256 at most",
}
"""By extension, what the file is."""

_CONSTANT_QUALITY: Final = 1
"""The best that yuv420p has in the profiles that all players know; 0, without any loss, is in a profile of its own."""
_JPEG_QUANTISER: Final = 4
"""Of 2 (best) to 31."""
_MIN_SIDE: Final = 256
"""Pixels; players show smaller films as a stamp."""


def write_clip(path: Path, frames: NDArray[np.uint8], *, seconds: Sequence[float]) -> None:
    """Write a clip; the extension says how.

    Args:
        path: ``.png`` or ``.mp4``; overwritten.
        frames: RGB, shape (T, S, S, 3).
        seconds: T sample times; a film is played at their pace.

    Raises:
        OSError: the file cannot be written.
        ValueError: another extension.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"a clip is written as {' or '.join(FORMATS)}, not as {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".png":
        path.write_bytes(encode_png(np.concatenate(list(frames), axis=1)))
    else:
        _write_mp4(path, frames, frames_per_second=_pace(seconds))


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """An RGB image, shape (H, W, 3), as the bytes of a png file."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """An RGB image, shape (H, W, 3), as the bytes of a jpeg file, off by a few levels of 256."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, 1)
    codec.qmin = codec.qmax = _JPEG_QUANTISER
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    whole = frame.reformat(format="yuvj420p", dst_color_range=ColorRange.JPEG)
    return b"".join(bytes(packet) for packet in [*codec.encode(whole), *codec.encode(None)])


def _write_mp4(path: Path, frames: NDArray[np.uint8], *, frames_per_second: Fraction) -> None:
    # yuv420p has one colour for every 2 × 2 pixels: with each pixel doubled, none is mixed with another.
    factor = 2 * max(1, -(-_MIN_SIDE // (2 * frames.shape[1])))
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options={"crf": str(_CONSTANT_QUALITY)})
        stream.height, stream.width = large.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # What the conversion from RGB uses; players would guess another for large frames.
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        for image in large:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            # By area: the default filter is wider than two pixels, and was off by 91 levels on noise instead of by 6.
            container.mux(stream.encode(frame.reformat(format="yuv420p", interpolation=Interpolation.AREA)))
        container.mux(stream.encode(None))


def _pace(seconds: Sequence[float]) -> Fraction:
    """Frames a second of evenly spaced sample times; a clip of one frame, or of no extent, is shown for a second."""
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return Fraction(len(seconds))
    return Fraction((len(seconds) - 1) / (seconds[-1] - seconds[0])).limit_denominator(1000)
