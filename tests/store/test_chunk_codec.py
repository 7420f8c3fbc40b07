import struct
from collections.abc import Callable

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale_video.store.chunk_codec import decode_texts, decode_values

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=9)


def with_checksum(content: bytes) -> bytes:
    return content + struct.pack("<I", google_crc32c.value(content))


def encode(values: list[str]) -> bytes:
    """Written from the format's text: the number of texts, then each with its length in bytes."""
    encoded = [value.encode() for value in values]
    return struct.pack("<I", len(values)) + b"".join(struct.pack("<I", len(text)) + text for text in encoded)


@given(values=texts)
def test_texts_come_back(values: list[str]) -> None:
    assert decode_texts(with_checksum(encode(values)), len(values)).tolist() == values


@given(values=texts, place=st.integers(0), bits=st.integers(1, 255))
def test_no_text_is_wrong_silently(values: list[str], place: int, bits: int) -> None:
    content = bytearray(with_checksum(encode(values)))
    content[place % len(content)] ^= bits
    with pytest.raises(ValueError):
        decode_texts(bytes(content), len(values))


@given(content=st.binary(max_size=200), number=st.integers(0, 20))
def test_any_bytes_are_texts_or_refused(content: bytes, number: int) -> None:
    try:
        out = decode_texts(with_checksum(content), number)
    except ValueError:
        return
    assert encode(out.tolist()) == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has only 0 bytes"),
        (with_checksum(b""), "it has only 4 bytes"),
        (with_checksum(struct.pack("<I", 2**32 - 1)), "it holds 4294967295 texts instead of 2"),
        (with_checksum(struct.pack("<III", 2, 2**32 - 1, 0)), "it ends within text 0 of 2"),
        (with_checksum(struct.pack("<II", 2, 0)), "it has only 12 bytes, too few for 2 texts"),
        (with_checksum(struct.pack("<III", 2, 4, 0)), "it ends within text 1 of 2"),
        (with_checksum(encode(["a", "b"]) + b"x"), "it has 1 bytes after its last text"),
        (with_checksum(encode(["", ""]) + b"\0"), "it has 1 bytes after its last text"),
        (with_checksum(struct.pack("<II", 2, 1) + b"\xff" + struct.pack("<I", 0)), "can't decode byte 0xff"),
        (encode(["a", "b"]) + b"1234", "its checksum is not that of its bytes"),
    ],
)
def test_texts_that_are_none(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_texts(content, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[:-1], "it has 15 bytes instead of 16"),
        (lambda content: content + b"x", "it has 17 bytes instead of 16"),
        (lambda content: b"", "it has 0 bytes instead of 16"),
        (lambda content: b"x" + content[1:], "its checksum is not that of its bytes"),
    ],
)
def test_values(change: Callable[[bytes], bytes], reason: str) -> None:
    values = np.array([[1.5, -2.0, np.nan], [3.0, 65504.0, 0.0]], dtype=np.float16)
    out = np.empty_like(values)
    content = with_checksum(values.astype("<f2").tobytes())
    decode_values(content, out)
    assert out.tobytes() == values.tobytes()
    with pytest.raises(ValueError, match=reason):
        decode_values(change(content), out)
