"""A chunk's bytes as the format fixes them: little-endian values or length-prefixed UTF-8, then their CRC-32C.

Decoding trusts nothing: every length is checked against the bytes that are there before anything of that length is
made. Zarr's own decoder of texts makes as many objects as a chunk's first four bytes demand, up to 32 GB.
"""

import sys
from typing import Any, Final, cast

import google_crc32c  # what Zarr's codec computes it with
import numpy as np
from numpy.typing import NDArray

CHECKSUM_BYTES: Final = 4


def check_checksum(content: NDArray[np.uint8], checksum: bytes) -> None:
    """Compare a chunk's CRC-32C with the four bytes that follow it.

    Raises:
        ValueError: they differ.
    """
    if google_crc32c.value(cast("bytes", content)) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is not that of its bytes")


def decode_values(content: bytes, out: NDArray[Any]) -> None:
    """Fill ``out`` with a chunk of numbers.

    Args:
        content: the whole chunk.
        out: shape and dtype of the chunk; contiguous.

    Raises:
        ValueError: the chunk is shorter or longer than it must be, or its checksum is another one.
    """
    check_length(len(content), num_bytes=out.nbytes)
    values = np.frombuffer(content, dtype=np.uint8, count=out.nbytes)
    check_checksum(values, content[out.nbytes :])
    out.reshape(-1).view(np.uint8)[:] = values
    to_native_order(out)


def check_length(length: int, *, num_bytes: int) -> None:
    """Compare the length of a chunk with that of its values and their checksum.

    Raises:
        ValueError: it is another one.
    """
    if length != num_bytes + CHECKSUM_BYTES:
        raise ValueError(f"it has {length} bytes instead of {num_bytes + CHECKSUM_BYTES}")


def to_native_order(values: NDArray[Any]) -> None:
    """Turn little-endian bytes that were put into ``values`` into this machine's order."""
    if sys.byteorder != "little":
        values.byteswap(inplace=True)


def decode_texts(content: bytes, number: int) -> NDArray[np.object_]:
    """The texts of a chunk.

    Args:
        content: the whole chunk.
        number: how many it must hold.

    Returns:
        Shape (number,), Python strings; made once the chunk turned out to be long enough for them.

    Raises:
        ValueError: the chunk holds another number of texts, ends early or late, is no UTF-8, or its checksum is wrong.
    """
    end = len(content) - CHECKSUM_BYTES
    if end < 4:
        raise ValueError(f"it has only {len(content)} bytes")
    check_checksum(np.frombuffer(content, dtype=np.uint8, count=end), content[end:])
    found = int.from_bytes(content[:4], "little")
    if found != number:
        raise ValueError(f"it holds {found} texts instead of {number}")
    if end < 4 + 4 * number:
        raise ValueError(f"it has only {len(content)} bytes, too few for {number} texts")
    texts = np.empty(number, dtype=object)
    if end == 4 + 4 * number and not any(content[4:end]):  # all empty, as errors mostly are
        texts[:] = ""
        return texts
    place = 4
    for index in range(number):
        start = place + 4
        place = start + int.from_bytes(content[place:start], "little")
        if start > end or place > end:
            raise ValueError(f"it ends within text {index} of {number}")
        texts[index] = content[start:place].decode()
    if place != end:
        raise ValueError(f"it has {end - place} bytes after its last text")
    return texts
