"""Kinds of coded pictures, on bytes written by hand from the specifications, and on an encoder's."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from scale_video.extract.picture_kinds import PictureKind, kind_reader

AVC_RECORD = b"\x01\x64\x00\x1f\xff\xe1"  # avcC: units behind lengths of 4 bytes
HEVC_RECORD = b"\x01" + bytes(20) + b"\x03"  # hvcC: likewise
START_CODE = b"\x00\x00\x01"


def stream(name: str, *, header: bytes | None = None, tag: str = "") -> Any:
    return SimpleNamespace(codec_context=SimpleNamespace(name=name, extradata=header, codec_tag=tag))


def units(*first_bytes: int, coded: bool = True) -> bytes:
    """NAL units of three bytes each, behind lengths or start codes."""
    return b"".join((b"\x00\x00\x00\x03" if coded else START_CODE) + bytes([first, 1, 2]) for first in first_bytes)


def kind(of: Any, content: bytes) -> PictureKind:
    read = kind_reader(of)
    assert read is not None
    return read(av.Packet(content))  # type: ignore[arg-type]


AVC1, AVC3 = (stream("h264", header=AVC_RECORD, tag=tag) for tag in ("avc1", "avc3"))
HVC1, HEV1 = (stream("hevc", header=HEVC_RECORD, tag=tag) for tag in ("hvc1", "hev1"))
RAW = stream("h264")


@pytest.mark.parametrize(
    ("of", "content", "expected"),
    [
        (AVC1, units(0x65), PictureKind.START),
        (AVC1, units(0x09, 0x06, 0x65, 0x65), PictureKind.START),  # behind a delimiter and SEI
        (AVC1, units(0x41), PictureKind.REFERENCE),
        (AVC1, units(0x06, 0x01), PictureKind.DISPOSABLE),
        (AVC1, units(0x06), PictureKind.REFERENCE),  # no picture at all
        (AVC1, b"\xff\xff\xff\xff\x65", PictureKind.START),  # a length beyond the end
        (AVC1, b"\x00", PictureKind.REFERENCE),
        (AVC3, units(0x65), PictureKind.REFERENCE),  # its sets may have come, and changed, before
        (AVC3, units(0x67, 0x68, 0x65), PictureKind.START),
        (RAW, units(0x67, 0x68, 0x65, coded=False), PictureKind.START),
        (RAW, units(0x67, 0x65, coded=False), PictureKind.REFERENCE),  # one of two sets
        (RAW, units(0x65, coded=False), PictureKind.REFERENCE),
        (RAW, units(0x09, 0x01, coded=False), PictureKind.DISPOSABLE),
        (RAW, b"\x00\x00\x01", PictureKind.REFERENCE),
        (HVC1, units(19 << 1), PictureKind.START),
        (HVC1, units(35 << 1, 20 << 1), PictureKind.START),
        (HVC1, units(21 << 1), PictureKind.REFERENCE),  # CRA: pictures before it may follow
        (HVC1, units(0), PictureKind.REFERENCE),  # another sub-layer may refer to it
        (HEV1, units(19 << 1), PictureKind.REFERENCE),
        (HEV1, units(32 << 1, 33 << 1, 34 << 1, 19 << 1), PictureKind.START),
        (stream("vp8"), b"\x10\x02", PictureKind.START),
        (stream("vp8"), b"\x11\x02", PictureKind.REFERENCE),
        (stream("vp9"), b"\x82\x49", PictureKind.START),  # profile 0, key frame
        (stream("vp9"), b"\x86\x49", PictureKind.REFERENCE),
        (stream("vp9"), b"\x88\x49", PictureKind.REFERENCE),  # shows an older frame again
        (stream("vp9"), b"\xb0\x49", PictureKind.START),  # profile 3
        (stream("vp9"), b"\xb2\x49", PictureKind.REFERENCE),
    ],
)
def test_kinds_follow_the_specifications(of: Any, content: bytes, expected: PictureKind) -> None:
    assert kind(of, content) is expected


@pytest.mark.parametrize("name", ["mpeg4", "mpeg2video", "mjpeg", "av1"])
def test_other_codecs_are_not_known(name: str) -> None:
    assert kind_reader(stream(name)) is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_an_encoders_pictures_are_told_apart(
    tmp_path: Path, make_painted_video: Callable[..., Path], suffix: str
) -> None:
    options = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=1:b-adapt=0"}
    path = make_painted_video(tmp_path / f"a{suffix}", num_frames=20, options=options)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        read = kind_reader(video)
        assert read is not None
        kinds = [(packet.pts, read(packet)) for packet in container.demux(video) if packet.size]
    in_order = [kind for _, kind in sorted(kinds, key=lambda pair: pair[0] or 0)]
    assert [index for index, kind in enumerate(in_order) if kind is PictureKind.START] == [0, 10]
    # I b P b P b P b P P | I ...
    assert [index for index, kind in enumerate(in_order[:10]) if kind is PictureKind.DISPOSABLE] == [1, 3, 5, 7]
