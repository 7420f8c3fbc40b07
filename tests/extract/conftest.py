"""Makers of painted videos: real files each of whose frames says its own number in its pixels.

def test_something(tmp_path, make_painted_video, read_number):
    path = make_painted_video(tmp_path / "a.mp4", num_frames=30, fps=25)
    ...
    assert read_number(frame) == 7          # any upright RGB frame of it, at any size
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from numpy.typing import NDArray

GRID = 4  # cells a side: the corners are marks (white, black, black, black), the other 12 the number's bits
CORNERS = {0, GRID - 1, GRID * (GRID - 1), GRID * GRID - 1}
BIT_CELLS = [cell for cell in range(GRID * GRID) if cell not in CORNERS]


def paint_number(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """An upright RGB frame (height, width, 3) that shows a number below 4096."""
    cells = np.zeros(GRID * GRID, np.uint8)
    cells[0] = 255
    cells[BIT_CELLS] = [255 * (number >> bit & 1) for bit in range(len(BIT_CELLS))]
    blocks = cells.reshape(GRID, GRID).repeat(height // GRID, 0).repeat(width // GRID, 1)
    return np.repeat(blocks[:, :, None], 3, 2)


@pytest.fixture(scope="session")
def read_number() -> Callable[[NDArray[np.uint8]], int]:
    """The number that a frame shows; -1 when it does not stand upright, or shows none."""

    def read(rgb: NDArray[np.uint8]) -> int:
        height, width = rgb.shape[:2]
        middles = (np.arange(GRID) + 0.5) / GRID
        white = rgb[(middles * height).astype(int)][:, (middles * width).astype(int)].mean(2).ravel() > 127
        if [bool(white[cell]) for cell in sorted(CORNERS)] != [True, False, False, False]:
            return -1
        return sum(int(white[cell]) << bit for bit, cell in enumerate(BIT_CELLS))

    return read


def write_painted_video(
    path: Path,
    *,
    num_frames: int = 60,
    fps: Fraction | int = 30,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    max_b_frames: int = 2,
    gop_size: int = 12,
    codec_tag: str | None = None,
    rotation_degrees: int = 0,
    height: int = 64,
    width: int = 96,
    first_number: int = 0,
    draw: Callable[[int], NDArray[np.uint8]] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frames show first_number, first_number + 1, ...

    Args:
        path: The file; its suffix chooses the container.
        num_frames: How many frames.
        fps: Frames a second.
        codec: One of libav's encoders.
        pts: Presentation times in ``time_base``, for a variable rate.
        time_base: Their unit.
        max_b_frames: B-frames in a row; not every codec has them.
        gop_size: Frames from one key frame to the next.
        codec_tag: Four letters, for example ``XVID``.
        rotation_degrees: Clockwise turn by which a player must show the file; painted lying down accordingly.
        height: Pixels of the upright frame.
        width: Likewise.
        first_number: The first frame's number.
        draw: Another painting: from the number to an upright RGB frame.
        options: The encoder's options.
    """
    fast = {"libx264": {"preset": "veryfast"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options or fast.get(codec, {}))
        turned = rotation_degrees in (90, 270)
        stream.width, stream.height = (height, width) if turned else (width, height)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.thread_count = 1
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = max_b_frames, gop_size
        if codec_tag:
            stream.codec_context.codec_tag = codec_tag
        if time_base:
            stream.codec_context.time_base = time_base
        if rotation_degrees:
            stream.set_display_rotation(-rotation_degrees)
        for index in range(num_frames):
            number = first_number + index
            upright = draw(number) if draw else paint_number(number, height, width)
            lying = np.ascontiguousarray(np.rot90(upright, rotation_degrees // 90))
            frame = av.VideoFrame.from_ndarray(lying, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[index], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def make_painted_video() -> Callable[..., Path]:
    """``write_painted_video``."""
    return write_painted_video


@dataclass(frozen=True)
class PaintedVideo:
    """A file, and what a player shows of it."""

    path: Path
    times: list[float]
    """Seconds from the first shown frame."""
    numbers: list[int]
    """What the frames show."""
    rotation_degrees: int = 0
    variable: bool = False


def _regular(path: Path, *, rate: Fraction | int = 30, num_frames: int = 60, **how: object) -> PaintedVideo:
    write_painted_video(path, fps=rate, num_frames=num_frames, **how)  # type: ignore[arg-type]
    times = [float(index / Fraction(rate)) for index in range(num_frames)]
    return PaintedVideo(path, times, list(range(num_frames)), rotation_degrees=int(how.get("rotation_degrees", 0)))  # type: ignore[call-overload]


def _variable(path: Path, codec: str, time_base: Fraction) -> PaintedVideo:
    steps = np.random.default_rng(5).choice([0.02, 0.04, 0.1, 0.35], 40)
    pts = [round(float(seconds) / time_base) for seconds in np.cumsum(steps)]
    write_painted_video(path, num_frames=40, codec=codec, pts=pts, time_base=time_base)
    return PaintedVideo(path, [float((p - pts[0]) * time_base) for p in pts], list(range(40)), variable=True)


def _dropped_frames(path: Path, codec: str, max_b_frames: int) -> PaintedVideo:
    """AVI with empty chunks: frame 5 is late by three slots."""
    slots = [index + 3 * (index >= 5) for index in range(40)]
    write_painted_video(
        path, num_frames=40, codec=codec, pts=slots, time_base=Fraction(1, 30), max_b_frames=max_b_frames
    )
    return PaintedVideo(path, [slot / 30 for slot in slots], list(range(40)), variable=True)


def _packed_xvid(path: Path) -> PaintedVideo:
    """Old XviD's packed bitstream: a P- and a B-frame share a chunk, and an empty frame fills the next one."""
    packets = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 1, 12
        stream.codec_context.codec_tag = "XVID"
        for number in range(30):
            packets += stream.encode(av.VideoFrame.from_ndarray(paint_number(number, 64, 96), format="rgb24"))
        packets += stream.encode(None)
        encoder_name = f"Lavc{'.'.join(map(str, av.library_versions['libavcodec']))}".encode()
        chunks, skip = [], False
        for packet, following in zip(packets, [*packets[1:], None], strict=True):
            if skip:
                chunks.append((b"\x00\x00\x01\xb6\x50\x4f", False))  # a frame that is "not coded"
            coded = bytes(packet).replace(encoder_name, b"DivX503b1393p")
            if not skip:
                pair = following is not None and packet.pts > following.pts
                chunks.append((coded + bytes(following) if pair else coded, packet.is_keyframe))
            skip = not skip and following is not None and packet.pts > following.pts
        for slot, (coded, is_key) in enumerate(chunks):
            packet = av.Packet(coded)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 30), is_key
            packet.pts = packet.dts = slot
            container.mux(packet)
    assert b"DivX503b1393p" in path.read_bytes()
    return PaintedVideo(path, [slot / 30 for slot in range(30)], list(range(30)))


def _trimmed(path: Path) -> PaintedVideo:
    """An edit list hides the first five frames, on which the others build."""
    whole = write_painted_video(path.with_name("whole.mp4"), gop_size=30)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                hidden = int(5 / (30 * packet.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts - hidden, packet.dts - hidden, stream
                target.mux(packet)
    return PaintedVideo(path, [index / 30 for index in range(55)], list(range(5, 60)))


KINDS: dict[str, Callable[[Path], PaintedVideo]] = {
    "mp4": lambda d: _regular(d / "a.mp4"),
    "mp4 at 29.97": lambda d: _regular(d / "a.mp4", rate=Fraction(30000, 1001)),
    "mp4 variable": lambda d: _variable(d / "a.mp4", "libx264", Fraction(1, 15360)),
    "mp4 trimmed": lambda d: _trimmed(d / "a.mp4"),
    "mp4 turned 90": lambda d: _regular(d / "a.mp4", rotation_degrees=90),
    "mp4 turned 180": lambda d: _regular(d / "a.mp4", rotation_degrees=180),
    "mp4 turned 270": lambda d: _regular(d / "a.mp4", rotation_degrees=270),
    "mp4, odd name": lambda d: _regular(d / "ein Häuschen: 日本 %d #1.mp4"),
    "mkv": lambda d: _regular(d / "a.mkv", rate=Fraction(24000, 1001)),
    "mkv variable": lambda d: _variable(d / "a.mkv", "libx264", Fraction(1, 1000)),
    "webm vp9": lambda d: _regular(d / "a.webm", codec="libvpx-vp9", num_frames=30),
    "mpeg-ts, late start": lambda d: _regular(d / "a.ts"),
    "mpeg-2 program stream": lambda d: _regular(d / "a.mpg", codec="mpeg2video"),
    "flv": lambda d: _regular(d / "a.flv"),
    "avi xvid": lambda d: _regular(d / "a.avi", codec="mpeg4", codec_tag="XVID", max_b_frames=0),
    "avi xvid, B-frames": lambda d: _regular(d / "a.avi", codec="mpeg4", codec_tag="XVID"),
    "avi, B-frames, one key frame": lambda d: _regular(d / "a.avi", codec="mpeg4", gop_size=600),
    "avi packed xvid": lambda d: _packed_xvid(d / "a.avi"),
    "avi h264, B-frames": lambda d: _regular(d / "a.avi"),
    "avi xvid, dropped frames": lambda d: _dropped_frames(d / "a.avi", "mpeg4", 0),
    "avi h264, dropped frames, B-frames": lambda d: _dropped_frames(d / "a.avi", "libx264", 2),
    "raw h264": lambda d: _regular(d / "a.h264"),
    "one frame": lambda d: _regular(d / "a.mp4", num_frames=1),
    "one frame avi": lambda d: _regular(d / "a.avi", num_frames=1, codec="mpeg4"),
}


@pytest.fixture(scope="session", params=KINDS)
def painted_video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PaintedVideo:
    """One file of each kind, made once."""
    return KINDS[request.param](tmp_path_factory.mktemp("painted"))


@pytest.fixture
def cut_short() -> Callable[..., Path]:
    """Cut a file to a part of its length."""

    def cut(source: Path, *, part: float) -> Path:
        target = source.with_name(f"cut {source.name}")
        content = source.read_bytes()
        target.write_bytes(content[: int(len(content) * part)])
        return target

    return cut


@pytest.fixture
def harmful(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``harmful_calls``, importable by name here and in processes that are started from here."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
    return importlib.import_module("harmful_calls")
