"""Videos that are damaged in every way we could think of: small originals of many formats, and what is done to them.

All of it follows from a seed: file ``index`` of ``damaged_file(originals, seed, index)`` is always the same.
"""

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np

Originals = Mapping[str, bytes]
"""Contents by name; the suffix of a name is its format."""

ABSURD = (0, 1, 2, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
SECONDS_PER_YEAR = 31_557_600

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "rotated.mp4": {"rotation_degrees": 90},
    "index first.mp4": {"muxer_options": {"movflags": "faststart"}},
    "fragmented.mp4": {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h264.mkv": {"width": 272, "height": 80},  # sides of two bytes
    "xvid.avi": {"codec": "mpeg4", "codec_tag": "XVID", "max_b_frames": 0},
    "b_frames.avi": {"codec": "mpeg4", "codec_tag": "XVID"},
    "vp9.webm": {"codec": "libvpx-vp9", "width": 272, "height": 80},
    "h264.ts": {},
    "mjpeg.mov": {"codec": "mjpeg", "max_b_frames": 0},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "h264.flv": {},
    "wmv2.wmv": {"codec": "wmv2", "max_b_frames": 0},
}
"""How each original is made, see ``write_painted_video``."""

FIELDS: dict[str, tuple[tuple[bytes, int, int], ...]] = {
    "mp4": (
        *((box, -4, 4) for box in (b"moov", b"trak", b"mdat", b"stbl", b"stsd", b"moof", b"trun", b"ftyp")),
        *((box, offset, 4) for box in (b"mvhd", b"mdhd") for offset in (16, 20)),  # time scale, duration
        *((b"tkhd", offset, 4) for offset in (24, 44, 48, 56, 60, 80, 84)),  # duration, matrix, sides
        *((table, offset, 4) for table in (b"stts", b"ctts", b"stsc", b"elst", b"trun") for offset in (8, 12, 16, 20)),
        *((table, offset, 4) for table in (b"stsz", b"stco", b"stss") for offset in (8, 12, 16)),
        *((entry, offset, 2) for entry in (b"avc1", b"jpeg") for offset in (28, 30)),  # sides
        *((b"avcC", offset, 1) for offset in (4, 8, 9, 10, 11)),
        *((b"tfhd", offset, 4) for offset in (4, 8, 16, 20)),
        *((b"tfdt", offset, 8) for offset in (4, 8)),
    ),
    "mkv": (
        (b"\x18\x53\x80\x67", 4, 8),  # segment's size
        (b"\x1f\x43\xb6\x75", 4, 8),  # cluster's size
        (b"\x2a\xd7\xb1\x83", 4, 3),  # nanoseconds a tick
        (b"\x44\x89\x88", 3, 8),  # duration
        (b"\x23\xe3\x83", 4, 4),  # duration of a frame
        (b"\xb0\x82", 2, 2),  # sides
        (b"\xba\x81", 2, 1),
        (b"\xe7\x81", 2, 1),  # cluster's time
        (b"\x63\xa2", 2, 8),  # decoder's configuration
        (b"\xa3", 1, 2),  # a block's size
        (b"\xa3", 3, 4),  # a block's track and time
    ),
    "avi": (
        *((chunk, 4, 4) for chunk in (b"RIFF", b"LIST", b"strh", b"strf", b"idx1", b"00dc")),  # sizes
        *((b"avih", offset, 4) for offset in (8, 24, 32, 40, 44)),  # frame's microseconds, frames, streams, sides
        *((b"strh", offset, 4) for offset in (28, 32, 36, 40, 52)),  # scale, rate, start, length, sample's size
        *((b"strf", offset, 4) for offset in (8, 12, 16, 24)),  # size, sides, compression
        *((b"idx1", offset, 4) for offset in (12, 16, 20)),  # flags, place, size
    ),
    "ts": (*((b"\x00\x00\x01\xe0", offset, 5) for offset in (4, 9, 14)), (b"\x47", 1, 3)),
    "mpg": (*((b"\x00\x00\x01\xe0", offset, 5) for offset in (4, 9, 14)), (b"\x00\x00\x01\xb3", 4, 4)),
    "flv": ((b"\x09", 1, 3), (b"\x09", 4, 4), (b"duration", 9, 8), (b"framerate", 10, 8)),
    "wmv": ((b"\xa1\xdc\xab\x8c", 16, 8), (b"\xc0\xef\x19\xbc", 60, 4), (b"\x36\x26\xb2\x75", 16, 8)),
}
"""Where a format keeps sizes, times and counts: what stands before, how far from it, how many bytes."""
for _same, _like in (("mov", "mp4"), ("webm", "mkv")):
    FIELDS[_same] = FIELDS[_like]

FOREIGN: dict[str, bytes] = {
    "empty.mp4": b"",
    "one byte.avi": b"\0",
    "text.mp4": b"Kein Video, sondern Prosa.\n" * 300,
    "zeros.mkv": bytes(100_000),
    "zip.mp4": b"PK\x03\x04" + bytes(2000),
    "gzip.webm": b"\x1f\x8b\x08" + bytes(2000),
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
    "concat.mp4": b"ffconcat version 1.0\nfile '/etc/passwd'\nduration 1e300\n",
    "concat of its neighbour.mp4": b"ffconcat version 1.0\nfile h264.mp4\n",
    "list of its neighbour.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nh264.ts\n#EXT-X-ENDLIST\n",
    "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "subtitles.mkv": b"1\n00:00:01,000 --> 99:59:59,999\nHello\n\n" * 50,
    "page.mp4": b"<html><head><title>404 Not Found</title></head><body>" + bytes(800) + b"</body></html>",
    "sound.mp4": struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 2**32 - 1, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 9
    )
    + bytes(4000),
    "half a box.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\0\1mdat" + b"\xff" * 8,
}
"""Files that are no videos at all."""


@dataclass(frozen=True)
class DamagedFile:
    """A file, and what it was made from."""

    name: str
    content: bytes
    original: str
    """Name of the file that it was."""
    is_cut: bool = False
    """Whether it is the beginning of its original, and nothing else."""


def make_originals(folder: Path, write: Callable[..., Path]) -> dict[str, bytes]:
    """Encode the originals; ``write`` is ``write_painted_video``."""
    contents = {}
    for name, how in KINDS.items():
        options = dict(how)
        muxer_options = options.pop("muxer_options", None)
        path = write(folder / name, num_frames=36, fps=24, **options)
        contents[name] = path.read_bytes()
        if muxer_options:
            again = folder / f"again {name}"  # a muxer that moves what it has written needs a file
            _copied(contents[name], name, target=str(again), muxer_options=muxer_options)
            contents[name] = again.read_bytes()
    return contents


def damaged_file(originals: Originals, *, seed: int, index: int) -> DamagedFile:
    """The file of this number: each kind of damage in turn, done to a random original."""
    rng = np.random.default_rng((seed, index))
    name = list(originals)[rng.integers(len(originals))]
    kind = list(DAMAGES)[index % len(DAMAGES)]
    content = DAMAGES[kind](originals, name, rng)
    return DamagedFile(f"{index:05d} {kind} {name}", content, name, is_cut=kind == "cut")


def _flipped(originals: Originals, name: str, rng: np.random.Generator, *, count: int, head: bool) -> bytes:
    """Other values in a number of places: within the part that describes the rest, or anywhere."""
    content = np.frombuffer(originals[name], np.uint8).copy()
    places = rng.integers(len(content), size=count)
    if head:  # MP4's description stands at the end
        places = rng.integers(min(1500, len(content)), size=count)
        if name.endswith(("mp4", "mov")) and rng.random() < 0.8:
            places = len(content) - 1 - places
    content[places] ^= rng.integers(1, 256, size=count, dtype=np.uint8)
    return content.tobytes()


def _cut(originals: Originals, name: str, rng: np.random.Generator) -> bytes:
    content = originals[name]
    return content[: rng.integers(1, len(content) if rng.random() < 0.9 else 64)]


def _span(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Beginning and end of a stretch, short ones as likely as long ones."""
    length = int(len(content) ** rng.random())
    start = int(rng.integers(len(content) - length + 1))
    return start, start + length


def _blanked(originals: Originals, name: str, rng: np.random.Generator) -> bytes:
    content = originals[name]
    start, end = _span(content, rng)
    return content[:start] + bytes([rng.choice([0, 0, 255])]) * (end - start) + content[end:]


def _shifted(originals: Originals, name: str, rng: np.random.Generator) -> bytes:
    """A stretch that is taken out, doubled, or moved."""
    content = originals[name]
    start, end = _span(content, rng)
    what = rng.integers(3)
    if what == 0:
        return content[:start] + content[end:]
    if what == 1:
        return content[:end] + content[start:]
    rest = content[:start] + content[end:]
    place = int(rng.integers(len(rest) + 1))
    return rest[:place] + content[start:end] + rest[place:]


def _headed_by_another(originals: Originals, name: str, rng: np.random.Generator) -> bytes:
    other = originals[list(originals)[rng.integers(len(originals))]]
    length = int(rng.choice([4, 16, 64, 512, 4096]))
    return other[:length] + originals[name][length:]


def _absurd_fields(originals: Originals, name: str, rng: np.random.Generator, *, count: int) -> bytes:
    """Absurd values where the format keeps sizes, times and counts."""
    content = bytearray(originals[name])
    fields = FIELDS[name.rpartition(".")[2]]
    for _ in range(count):
        marker, offset, length = fields[rng.integers(len(fields))]
        places = [place for place in range(len(content)) if content.startswith(marker, place)]
        if not places:
            continue
        place = places[rng.integers(len(places))] + offset
        value = ABSURD[rng.integers(len(ABSURD))] % 256**length
        content[place : place + length] = value.to_bytes(length, "little" if name.endswith(("avi", "wmv")) else "big")
    return bytes(content)


def _copied(
    content: bytes,
    name: str,
    *,
    change: Callable[[list["av.Packet[Any]"]], list["av.Packet[Any]"]] = lambda packets: packets,
    target: str | BytesIO | None = None,
    muxer_options: dict[str, str] | None = None,
) -> bytes:
    """The same pictures in a new file of the same format, after something was done to the list of packets."""
    suffix = name.rpartition(".")[2]
    muxer = {"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg", "wmv": "asf"}.get(suffix, suffix)
    target = BytesIO() if target is None else target
    with (
        suppress(av.FFmpegError),  # a muxer that cannot end such a file; it has written most of it
        av.open(BytesIO(content)) as source,
        av.open(target, "w", format=muxer, options=muxer_options or {}) as sink,
    ):
        stream = sink.add_stream_from_template(source.streams.video[0])
        packets = change([packet for packet in source.demux(video=0) if packet.size])
        sink.start_encoding()  # a header, even if nothing follows
        for packet in packets:
            packet.stream = stream
            try:
                sink.mux_one(packet)
            except (av.FFmpegError, ValueError, OverflowError):
                continue  # a muxer that takes no such packet
    return target.getvalue() if isinstance(target, BytesIO) else b""


def _repacketed(originals: Originals, name: str, rng: np.random.Generator, *, how: str) -> bytes:
    """Pictures lost, doubled, out of order, or at impossible times."""

    def change(packets: list["av.Packet[Any]"]) -> list["av.Packet[Any]"]:
        if how == "none":
            return []
        if how == "dropped":
            return [packet for packet in packets if rng.random() < 0.7]
        if how == "no key frames":
            return [packet for packet in packets if not packet.is_keyframe]
        if how == "shuffled":
            return [packets[place] for place in rng.permutation(len(packets))]
        if how == "doubled":
            return [again for packet in packets for again in [packet] * int(rng.integers(1, 4))]
        seconds = {"years": rng.integers(1, 150) * SECONDS_PER_YEAR, "before zero": -rng.integers(1, 100_000)}[how]
        first = int(rng.integers(len(packets)))
        for packet in packets[first:]:
            shift = int(Fraction(int(seconds)) / packet.time_base)
            packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
        return packets

    return _copied(originals[name], name, change=change)


def _with_absurd_boxes(originals: Originals, name: str, rng: np.random.Generator) -> bytes:
    """An MP4 box of 64-bit size, or an EBML element of unknown length, in front of everything."""
    size = ABSURD[rng.integers(len(ABSURD))]
    kind = rng.choice([b"free", b"moov", b"mdat", b"uuid", b"meta"])
    if name.endswith(("mkv", "webm")):
        return originals[name][:48] + b"\xec\x01" + struct.pack(">Q", size)[1:] + originals[name][48:]
    return struct.pack(">I4sQ", 1, kind, size) + originals[name]


def _repeated(kind: Callable[..., bytes], **how: Any) -> Callable[[Originals, str, np.random.Generator], bytes]:
    return lambda originals, name, rng: kind(originals, name, rng, **how)


DAMAGES: dict[str, Callable[[Originals, str, np.random.Generator], bytes]] = {
    "cut": _cut,
    "1 flip in the head": _repeated(_flipped, count=1, head=True),
    "10 flips in the head": _repeated(_flipped, count=10, head=True),
    "1 flip": _repeated(_flipped, count=1, head=False),
    "10 flips": _repeated(_flipped, count=10, head=False),
    "1000 flips": _repeated(_flipped, count=1000, head=False),
    "absurd field": _repeated(_absurd_fields, count=1),
    "another absurd field": _repeated(_absurd_fields, count=1),
    "absurd fields": _repeated(_absurd_fields, count=5),
    "blanked": _blanked,
    "shifted": _shifted,
    "headed by another": _headed_by_another,
    "absurd box": _with_absurd_boxes,
    "no pictures": _repeated(_repacketed, how="none"),
    "pictures dropped": _repeated(_repacketed, how="dropped"),
    "no key frames": _repeated(_repacketed, how="no key frames"),
    "pictures shuffled": _repeated(_repacketed, how="shuffled"),
    "pictures doubled": _repeated(_repacketed, how="doubled"),
    "jump by years": _repeated(_repacketed, how="years"),
    "before zero": _repeated(_repacketed, how="before zero"),
}
"""By what is done."""
