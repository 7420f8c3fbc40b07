"""What a coded picture is to the others: where decoding may begin, and which pictures nothing else is built on.

Containers mark key frames, but not all of them are clean starts: behind an I-frame of an open GOP follow pictures that
refer to frames before it. So the bitstream itself is asked, by the first bytes of each picture:

- H.264 (ITU-T H.264, 7.4.1): an IDR picture (NAL unit type 5) ends all references; ``nal_ref_idc`` 0 means that nothing
  refers to the picture.
- H.265 (ITU-T H.265, 7.4.2.2): IDR_W_RADL and IDR_N_LP (19, 20).
- VP8 (RFC 6386, 9.1) and VP9 (bitstream specification, 6.2): key frames renew all of a decoder's state.

Decoding from there needs the parameter sets too. They lie in the picture itself, or in a header that holds for the
whole file; everything else (sets that were sent once, some time before) counts as no start.
"""

from collections.abc import Callable, Iterator
from enum import Enum, auto

from av.packet import Packet
from av.video.stream import VideoStream


class PictureKind(Enum):
    """Of a coded picture."""

    START = auto()
    """Nothing from here on, in file order, refers to anything before."""
    REFERENCE = auto()
    """Others may refer to it."""
    DISPOSABLE = auto()
    """None refers to it."""


KindOf = Callable[["Packet[VideoStream]"], PictureKind]

_H264_SLICES, _H264_IDR, _H264_SETS = range(1, 6), 5, {7, 8}
_H265_SLICES, _H265_IDR, _H265_SETS = range(32), {19, 20}, {32, 33, 34}
_IN_BAND_TAGS = {"avc3", "hev1", "avc4", "dvhe"}
"""Sample entries of MP4 (ISO/IEC 14496-15) whose parameter sets may lie, and change, among the pictures."""


def kind_reader(stream: VideoStream) -> KindOf | None:
    """What reads the kinds of a stream's pictures; None where the codec's are not known here."""
    name = stream.codec_context.name
    header = stream.codec_context.extradata or b""
    has_record = header[:1] == b"\x01"  # avcC, hvcC: lengths instead of start codes, and parameter sets
    holds_throughout = has_record and stream.codec_context.codec_tag not in _IN_BAND_TAGS
    if name == "h264":
        length_bytes = (header[4] & 3) + 1 if has_record and len(header) > 4 else 0
        return lambda packet: _h264_kind(packet, length_bytes, needs_sets=not holds_throughout)
    if name == "hevc":
        length_bytes = (header[21] & 3) + 1 if has_record and len(header) > 21 else 0
        return lambda packet: _h265_kind(packet, length_bytes, needs_sets=not holds_throughout)
    if name in ("vp8", "libvpx"):
        return _vp8_kind
    if name in ("vp9", "libvpx-vp9"):
        return _vp9_kind
    return None


def _h264_kind(packet: "Packet[VideoStream]", length_bytes: int, *, needs_sets: bool) -> PictureKind:
    sets: set[int] = set()
    for first in _nal_headers(packet, length_bytes):
        unit_type = first & 31
        if unit_type == _H264_IDR:
            is_start = not needs_sets or sets >= _H264_SETS
            return PictureKind.START if is_start else PictureKind.REFERENCE
        if unit_type in _H264_SLICES:
            return PictureKind.REFERENCE if first & 0x60 else PictureKind.DISPOSABLE
        sets.add(unit_type)
    return PictureKind.REFERENCE


def _h265_kind(packet: "Packet[VideoStream]", length_bytes: int, *, needs_sets: bool) -> PictureKind:
    sets: set[int] = set()
    for first in _nal_headers(packet, length_bytes):
        unit_type = first >> 1 & 63
        if unit_type in _H265_SLICES:
            is_start = unit_type in _H265_IDR and (not needs_sets or sets >= _H265_SETS)
            return PictureKind.START if is_start else PictureKind.REFERENCE
        sets.add(unit_type)
    return PictureKind.REFERENCE


def _nal_headers(packet: "Packet[VideoStream]", length_bytes: int) -> Iterator[int]:
    """First byte of each NAL unit; the units follow their lengths, or start codes where 0."""
    data = memoryview(packet)
    place = 0
    if length_bytes:
        while place + length_bytes < len(data):
            yield data[place + length_bytes]
            place += length_bytes + int.from_bytes(data[place : place + length_bytes], "big")
        return
    content = bytes(data)
    while (place := content.find(b"\x00\x00\x01", place)) >= 0 and place + 3 < len(content):
        place += 3
        yield content[place]


def _vp8_kind(packet: "Packet[VideoStream]") -> PictureKind:
    is_key = not memoryview(packet)[0] & 1
    return PictureKind.START if is_key else PictureKind.REFERENCE


def _vp9_kind(packet: "Packet[VideoStream]") -> PictureKind:
    # From the top: 2 bits of mark, profile's low and high bit, [reserved in profile 3], show existing, frame type.
    first = memoryview(packet)[0]
    shift = 1 if first >> 4 & 3 == 3 else 2
    is_key = first >> 6 == 2 and first >> shift & 3 == 0
    return PictureKind.START if is_key else PictureKind.REFERENCE
