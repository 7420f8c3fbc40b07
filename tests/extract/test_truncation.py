from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest

from scale_video.extract.truncation import bytes_cut_off
from scale_video.extract.video_file import VideoFileError

TELLS = [("a.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")]


@pytest.mark.parametrize(("name", "codec"), TELLS)
def test_whole_files_lack_nothing_and_cut_ones_what_was_cut(
    tmp_path: Path, make_painted_video: Callable[..., Path], name: str, codec: str
) -> None:
    path = make_painted_video(tmp_path / name, codec=codec, num_frames=10)
    content = path.read_bytes()
    assert bytes_cut_off(path) == 0
    for num_bytes in (9, 100, len(content) // 3):
        path.write_bytes(content[:-num_bytes])
        assert bytes_cut_off(path) == num_bytes


@pytest.mark.parametrize("name", ["a.ts", "a.h264"])
def test_formats_without_a_length_tell_nothing(
    tmp_path: Path, make_painted_video: Callable[..., Path], name: str
) -> None:
    path = make_painted_video(tmp_path / name, num_frames=10)
    path.write_bytes(path.read_bytes()[:-200])
    assert bytes_cut_off(path) == 0


def test_an_open_ended_matroska_tells_nothing(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    path = make_painted_video(tmp_path / "a.mkv", num_frames=10)
    content = bytearray(path.read_bytes())
    size_at = content.index(b"\x18\x53\x80\x67") + 4
    content[size_at : size_at + 8] = b"\x01" + b"\xff" * 7  # unknown, as in a live recording
    path.write_bytes(content[:-200])
    assert bytes_cut_off(path) == 0


def test_bytes_behind_an_mp4_do_not_count(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=10)
    path.write_bytes(path.read_bytes() + b"\xff" * 50)
    assert bytes_cut_off(path) == 0


def test_an_mp4_with_a_64_bit_box_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes((16).to_bytes(4, "big") + b"ftypisom" + bytes(4) + b"\0\0\0\1mdat" + (1 << 33).to_bytes(8, "big"))
    assert bytes_cut_off(path) == 16 + (1 << 33) - 32


def test_a_file_of_nothing_but_empty_boxes_does_not_take_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(((8).to_bytes(4, "big") + b"free") * (1 << 20))
    begun = perf_counter()
    assert bytes_cut_off(path) == 0
    path.write_bytes(((8).to_bytes(4, "big") + b"free") * 1000 + (99).to_bytes(4, "big") + b"mdat")
    assert bytes_cut_off(path) == 91
    assert perf_counter() - begun < 5


@pytest.mark.parametrize(
    "content", [b"", b"RIF", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x00\x00", b"\0\0\0\0ftyp", b"no"]
)
def test_what_is_no_header_tells_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert bytes_cut_off(path) == 0


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VideoFileError, match="cannot be read: No such file or directory"):
        bytes_cut_off(tmp_path / "a.mp4")
