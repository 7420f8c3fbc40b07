"""FFmpeg's libraries, and which codecs really work here: a small clip is encoded and decoded by each."""

import io
import os
from typing import Any, Final

import numpy as np

from scale_video.pipelines.finding import Finding, State, or_broken

CODECS: Final[dict[str, tuple[str, State]]] = {
    "h264": ("libx264", "broken"),
    "mpeg4": ("mpeg4", "warning"),
    "hevc": ("libx265", "warning"),
    "vp9": ("libvpx-vp9", "warning"),
    "av1": ("libsvtav1", "warning"),
}
"""Codecs by the encoder that makes the clip, and what it means if they fail; the demo is in h264."""
_OPTIONS: Final = {
    "libx265": {"x265-params": "log-level=none:pools=1", "preset": "ultrafast"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}
_QUIET: Final = {"SVT_LOG": "1"}
"""For SVT-AV1, which else tells stderr all about itself."""
_NUM_FRAMES: Final = 6
_SIDE: Final = 128
_BRIGHTNESS_STEP: Final = 40
_TOLERANCE: Final = 8.0
"""By which the mean brightness of a decoded frame may be off."""


def look_at_video() -> list[Finding]:
    """The libraries, then each codec."""
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, numbers))}" for name, numbers in _libraries(av).items())
    ffmpeg = getattr(av, "ffmpeg_version_info", "")
    findings = [Finding("video", "FFmpeg", "ok", f"{ffmpeg}: {libraries}" if ffmpeg else libraries)]
    for codec, (encoder, state) in CODECS.items():
        advice = "reinstall PyAV: pip install --force-reinstall av"
        with or_broken(findings, "video", codec, advice=advice, state=state):
            findings.append(_look_at_codec(codec, encoder=encoder, if_missing=state))
    return findings


def _libraries(av: Any) -> dict[str, tuple[int, ...]]:
    return {name: numbers for name, numbers in av.library_versions.items() if name in ("libavcodec", "libavformat")}


def _look_at_codec(codec: str, *, encoder: str, if_missing: State) -> Finding:
    import av

    if codec not in av.codecs_available:
        advice = (
            "files of it will be recorded as corrupt; a PyAV of PyPI decodes them: pip install --force-reinstall av"
        )
        return Finding("video", codec, if_missing, "no decoder", advice)
    if encoder not in av.codecs_available:
        return Finding("video", codec, "ok", f"decoder is there; not tried, for want of {encoder}")
    decoder, brightness = decode(encode(encoder))
    expected = [_brightness(index) for index in range(_NUM_FRAMES)]
    if len(brightness) != _NUM_FRAMES or np.abs(np.subtract(brightness, expected)).max() > _TOLERANCE:
        seen = ", ".join(f"{value:.0f}" for value in brightness)
        raise ValueError(f"frames of brightness {', '.join(map(str, expected))} came out as {seen}")
    return Finding("video", codec, "ok", f"{_NUM_FRAMES} frames encoded by {encoder} and decoded by {decoder}")


def _brightness(index: int) -> int:
    return 20 + _BRIGHTNESS_STEP * index


def encode(encoder: str) -> bytes:
    """A Matroska file of grey frames, each brighter than the one before."""
    import av

    os.environ |= {name: value for name, value in _QUIET.items() if name not in os.environ}
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(encoder, rate=10, options=_OPTIONS.get(encoder, {}))
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        for index in range(_NUM_FRAMES):
            pixels = np.full((_SIDE, _SIDE, 3), _brightness(index), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode(content: bytes) -> tuple[str, list[float]]:
    """The decoder's name, and the mean brightness of each frame."""
    import av

    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        brightness = [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(stream)]
        return stream.codec_context.codec.name, brightness
