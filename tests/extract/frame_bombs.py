"""Small files that ask for large memory or much time: frames of a hundred megapixels and more, endless lists, skips.

libav itself refuses pictures of more than about 16 000 × 16 000; those just below are what it would decode.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import av

MEBIBYTE = 1 << 20
_I_PCM_FREE_MACROBLOCK = 0b00100_1_1_1
"""I16x16 of mean prediction without residual, mean chroma, same quantiser, no coefficient: 8 bits, and never 0."""


def frame_bombs(originals: "dict[str, bytes]") -> Iterator[tuple[str, bytes]]:
    """Names (with the suffix of their format) and contents; what they claim is real unless they are called a lie."""
    yield "h264, lie of 30000 pixels.h264", h264_of_skips(30_000, 30_000, num_frames=2, with_picture=False)
    yield "h264, lie of 16000 pixels.h264", h264_of_skips(16_000, 16_000, num_frames=2, with_picture=False)
    large = h264_of_skips(16_000, 16_000, num_frames=3)
    yield "h264, 16000 pixels.h264", large
    yield "h264, 16000 pixels.mp4", remuxed(large, "mp4")
    yield "h264, 16000 pixels.mkv", remuxed(large, "matroska")
    yield "h264, grows to 16000 pixels.h264", h264_of_skips(96, 64, num_frames=12) + large
    yield "png, 30000 pixels.png", png(30_000, 30_000, num_channels=1)
    yield "png, 16000 pixels.png", png(16_000, 16_000, num_channels=3)
    yield "gif, 65535 pixels.gif", gif(65_535, 65_535)
    yield "gif, 16000 pixels.gif", gif(16_000, 16_000)
    for side in (16_000, 65_000):
        yield f"mjpeg, lie of {side} pixels.mov", jpeg_sizes_replaced(originals["mjpeg.mov"], side)
    yield "a billion samples of one size.mp4", endless_samples(originals["h264.mp4"], size=1)
    yield "a billion samples of no size.mp4", endless_samples(originals["h264.mp4"], size=0)


def time_bomb() -> bytes:
    """A raw H.264 file of 270 kB whose frames of 8192 × 8192 pixels take minutes to decode."""
    return h264_of_skips(8192, 8192, num_frames=1500)


class _Bits:
    """A bit string that is written from the left."""

    def __init__(self) -> None:
        self.value, self.length = 0, 0

    def put(self, value: int, length: int) -> "_Bits":
        self.value, self.length = self.value << length | value, self.length + length
        return self

    def golomb(self, *values: int) -> "_Bits":
        """Unsigned Exp-Golomb codes, as H.264 has them."""
        for value in values:
            self.put(value + 1, 2 * (value + 1).bit_length() - 1)
        return self

    def unit(self, kind: int) -> bytes:
        """A NAL unit: stop bit, padding, emulation prevention."""
        self.put(1, 1).put(0, -self.length % 8)
        payload = self.value.to_bytes(self.length // 8, "big")
        guarded, zeros = bytearray(), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                guarded.append(3)
                zeros = 0
            guarded.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([kind]) + bytes(guarded)


def h264_of_skips(width: int, height: int, *, num_frames: int, with_picture: bool = True) -> bytes:
    """A raw H.264 stream (baseline): a grey picture, then frames that repeat it in a few bytes each.

    Args:
        width: a multiple of 16.
        height: likewise.
        num_frames: frames in all.
        with_picture: whether the picture is there, a byte per 16 × 16 pixels; else all frames refer to nothing.
    """
    num_macroblocks = width // 16 * (height // 16)
    sequence = _Bits().put(66, 8).put(0, 8).put(62, 8).golomb(0, 0, 2, 1).put(0, 1)
    sequence.golomb(width // 16 - 1, height // 16 - 1).put(0b1100, 4)  # frames only, direct 8x8, no cropping, no VUI
    picture = _Bits().golomb(0, 0).put(0, 2).golomb(0, 0, 0).put(0, 3).golomb(0, 0, 0).put(0b100, 3)
    units = [sequence.unit(0x67), picture.unit(0x68)]
    for number in range(num_frames):
        if number == 0 and with_picture:
            # First macroblock, slice of I, parameter set, frame 0, IDR id, two marking flags, quantiser, no deblocking.
            slice_ = _Bits().golomb(0, 7, 0).put(0, 4).golomb(0).put(0, 2).golomb(0, 1)
            macroblocks = bytes([_I_PCM_FREE_MACROBLOCK]) * num_macroblocks
            slice_.put(int.from_bytes(macroblocks, "big"), 8 * num_macroblocks)
            units.append(slice_.unit(0x65))
        else:
            slice_ = _Bits().golomb(0, 5, 0).put(number % 16, 4).put(0, 3).golomb(0, 1)
            units.append(slice_.golomb(num_macroblocks).unit(0x61))
    return b"".join(units)


def remuxed(raw_h264: bytes, container_format: str) -> bytes:
    """The same pictures in a container."""
    target = BytesIO()
    with av.open(BytesIO(raw_h264), format="h264") as source, av.open(target, "w", format=container_format) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number * int(1 / (25 * packet.time_base))
                packet.stream = stream
                sink.mux(packet)
    return target.getvalue()


def png(width: int, height: int, *, num_channels: int) -> bytes:
    """A black picture whose pixels are a thousandth of their size."""
    compressor = zlib.compressobj(9)
    first = compressor.compress(bytes(MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(bytes(MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)
    num_mebibytes = -(-height * (1 + width * num_channels) // MEBIBYTE)
    num_zeros = num_mebibytes * MEBIBYTE  # a few more than there are pixels
    pixels = first + again * (num_mebibytes - 1) + compressor.flush()[:-4] + struct.pack(">HH", num_zeros % 65_521, 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if num_channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def gif(width: int, height: int, *, num_frames: int = 5) -> bytes:
    """An animation of nearly empty frames."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + image * num_frames + b";"


def jpeg_sizes_replaced(content: bytes, side: int) -> bytes:
    """Motion JPEG whose frame headers claim another size."""
    changed, place = bytearray(content), -1
    while (place := content.find(b"\xff\xc0\x00\x11\x08", place + 1)) >= 0:
        struct.pack_into(">HH", changed, place + 5, side, side)
    return bytes(changed)


def endless_samples(content: bytes, *, size: int) -> bytes:
    """An MP4 whose tables list a billion samples."""
    changed = bytearray(content)
    struct.pack_into(">II", changed, content.index(b"stsz") + 8, size, 1 << 30)
    struct.pack_into(">II", changed, content.index(b"stts") + 12, 1 << 30, 512)
    return bytes(changed)
