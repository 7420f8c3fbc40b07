"""Whether a file is shorter than its own header says: the silent kind of damage.

Cut AVI and Matroska files open and play to where they end, without an error. Their outermost element tells its length,
though, as do the boxes of an MP4. Formats that are meant to be cut anywhere (mpeg-ts, raw streams) tell nothing.
"""

from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from scale_video.extract.video_file import VideoFileError, reason
from scale_video.store.video_probe import VideoStatus

_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"styp"})
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MAX_BOXES = 1 << 18
"""More are not counted: 18 hours in fragments of half a second."""
_SLACK_BYTES = 8
"""Some writers of AVI count the eight bytes that tell the length as well."""


def bytes_cut_off(path: Path) -> int:
    """By how many bytes a file is shorter than its header says; 0 where it is whole, or the header does not tell.

    Raises:
        VideoFileError: the file cannot be read (any more).
    """
    try:
        with path.open("rb") as file:
            num_bytes = file.seek(0, SEEK_END)
            num_missing = (_announced_bytes(file, num_bytes) or 0) - num_bytes
    except OSError as error:
        raise VideoFileError(VideoStatus.MISSING, f"cannot be read: {reason(error)}") from None
    return num_missing if num_missing > _SLACK_BYTES else 0


def _announced_bytes(file: BinaryIO, file_bytes: int) -> int | None:
    file.seek(0)
    head = file.read(8)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == _EBML:
        return _matroska_bytes(file)
    if head[4:8] in _MP4_BOXES:
        return _mp4_bytes(file, file_bytes)
    return None


def _matroska_bytes(file: BinaryIO) -> int | None:
    """End of the segment, which follows the EBML header; live recordings leave its size open."""
    end = 0
    for element in (_EBML, _SEGMENT):
        file.seek(end)
        if file.read(4) != element:
            return None
        # The size: as many bytes as the first has leading zero bits, plus one; all ones means unknown.
        first = file.read(1)
        num_bytes = 9 - first[0].bit_length() if first else 9
        if num_bytes > 8:
            return None
        value_mask = (1 << 7 * num_bytes) - 1
        size = int.from_bytes(first + file.read(num_bytes - 1), "big") & value_mask
        if size == value_mask:
            return None
        end = file.tell() + size
    return end


def _mp4_bytes(file: BinaryIO, file_bytes: int) -> int | None:
    """End of the last top-level box; what follows the known boxes is padding that some cameras append."""
    end = 0
    for _ in range(_MAX_BOXES):
        if end >= file_bytes:
            return end
        file.seek(end)
        header = file.read(16)
        if header[4:8] not in _MP4_BOXES:
            return None
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: to the end of the file
            return None
        end += size
    return None
