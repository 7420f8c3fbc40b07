import os
import resource
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from scale_video.extract import video_file
from scale_video.extract.probe import probe_video
from scale_video.store.video_probe import VideoStatus


def test_every_kind_of_file_is_measured_right(painted_video: Any) -> None:
    probe = probe_video(painted_video.path)
    times = painted_video.times
    assert (probe.status, probe.error) == (VideoStatus.OK, "")
    assert probe.num_frames == len(times)
    assert probe.variable_frame_rate == painted_video.variable
    assert probe.rotation_degrees == painted_video.rotation_degrees
    assert (probe.height, probe.width) == (64, 96)  # upright
    if len(times) > 1:  # a millisecond of rounding in containers that keep milliseconds
        assert probe.duration_seconds - 1 / probe.frames_per_second == pytest.approx(times[-1], abs=1.001e-3)
        assert probe.frames_per_second == pytest.approx((len(times) - 1) / times[-1], rel=1e-3)
    else:
        assert (probe.frames_per_second, probe.duration_seconds) == (30, pytest.approx(1 / 30))


def test_duration_and_rate_of_constant_rate_mp4_are_exact(
    tmp_path: Path, make_painted_video: Callable[..., Path]
) -> None:
    probe = probe_video(make_painted_video(tmp_path / "a.mp4", num_frames=50, fps=25))
    assert (probe.duration_seconds, probe.frames_per_second) == (2.0, 25.0)


def test_a_webm_that_says_no_duration_is_measured(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    path = tmp_path / "live.mkv"
    with (
        av.open(str(path), "w", options={"live": "1"}) as live,
        av.open(str(make_painted_video(tmp_path / "a.mkv", max_b_frames=0))) as source,
    ):
        stream = live.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                live.mux(packet)
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe_video(path).duration_seconds == pytest.approx(2.0, abs=2e-3)


def test_a_title_that_is_no_utf8_does_not_matter(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    source, path = make_painted_video(tmp_path / "a.mkv", num_frames=5), tmp_path / "b.mkv"
    with av.open(str(source)) as plain, av.open(str(path), "w") as titled:
        titled.metadata["title"] = "TITLE"
        stream = titled.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.dts is not None or packet.pts is not None:
                packet.stream = stream
                titled.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xe4\xf6\xfc\xdf\xff"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    assert probe_video(path).num_frames == 5


def _audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _missing(tmp_path: Path) -> Path:
    return tmp_path / "gone.mp4"


def _directory(tmp_path: Path) -> Path:
    (tmp_path / "folder.mp4").mkdir()
    return tmp_path / "folder.mp4"


def _pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.mp4")
    return tmp_path / "pipe.mp4"


def _below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path / "file" / "a.mp4"


def _loop(tmp_path: Path) -> Path:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    return tmp_path / "loop.mp4"


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty.mp4").touch()
    return tmp_path / "empty.mp4"


def _text(tmp_path: Path) -> Path:
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 50)
    return tmp_path / "text.mp4"


def _playlist(tmp_path: Path) -> Path:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    return tmp_path / "list.mp4"


def _audio_only(tmp_path: Path) -> Path:
    _audio(tmp_path / "audio.mp4")
    return tmp_path / "audio.mp4"


BAD_FILES = {
    _missing: (VideoStatus.MISSING, "cannot be read: No such file or directory"),
    _directory: (VideoStatus.MISSING, "is a directory, not a file"),
    _pipe: (VideoStatus.MISSING, "is a pipe, socket or device, not a file"),
    _below_a_file: (VideoStatus.MISSING, "cannot be read: Not a directory"),
    _loop: (VideoStatus.MISSING, "cannot be read: Too many levels of symbolic links"),
    _empty: (VideoStatus.CORRUPT, "is empty (0 bytes)"),
    _text: (VideoStatus.CORRUPT, "cannot be opened as a video: Invalid data found when processing input"),
    _playlist: (VideoStatus.CORRUPT, "cannot be opened as a video: Invalid data found when processing input"),
    _audio_only: (VideoStatus.NO_VIDEO_STREAM, "has no video stream, only: audio"),
}


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_a_file_that_is_no_video_says_so_in_one_line(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    probe = probe_video(make(tmp_path))
    assert (probe.status, probe.error) == BAD_FILES[make]
    assert probe.num_frames == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (tmp_path / "secret.mp4").chmod(0)
    probe = probe_video(tmp_path / "secret.mp4")
    assert (probe.status, probe.error) == (VideoStatus.MISSING, "cannot be read: Permission denied")


def test_the_cover_picture_of_a_song_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    probe = probe_video(path)
    assert (probe.status, probe.error) == (VideoStatus.NO_VIDEO_STREAM, "has no video stream, only: audio, video")


def test_a_file_of_which_no_frame_decodes_is_corrupt(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=20)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    probe = probe_video(path)
    assert probe.status == VideoStatus.CORRUPT
    assert probe.error == (
        "no frame can be decoded: a frame cannot be decoded: Invalid data found when processing input"
    )


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mkv", "libx264"), (".ts", "libx264")])
def test_a_cut_file_is_measured_by_what_is_left(
    tmp_path: Path, make_painted_video: Callable[..., Path], cut_short: Callable[..., Path], suffix: str, codec: str
) -> None:
    probe = probe_video(cut_short(make_painted_video(tmp_path / f"a{suffix}", codec=codec), part=0.7))
    assert probe.status == VideoStatus.OK
    assert 10 < probe.num_frames < 55
    assert probe.duration_seconds == pytest.approx(probe.num_frames / 30, rel=0.1)


@pytest.mark.parametrize("front_index", [False, True])
def test_a_cut_mp4_is_corrupt_or_measured(
    tmp_path: Path, make_painted_video: Callable[..., Path], cut_short: Callable[..., Path], front_index: bool
) -> None:
    path = tmp_path / "a.mp4"
    make_painted_video(path)
    if front_index:
        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        path = tmp_path / "b.mp4"
    probe = probe_video(cut_short(path, part=0.75))
    if front_index:
        assert probe.status == VideoStatus.OK
        assert 5 < probe.num_frames < 55
    else:
        assert probe.status == VideoStatus.CORRUPT
        assert "\n" not in probe.error
        assert str(tmp_path) not in probe.error


def test_the_rate_of_a_single_frame_is_the_headers(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    probe = probe_video(make_painted_video(tmp_path / "a.avi", codec="mpeg4", num_frames=1, fps=Fraction(25, 2)))
    assert (probe.num_frames, probe.frames_per_second, probe.duration_seconds) == (1, 12.5, 0.08)


def test_the_digest_is_of_size_first_and_last_mebibyte(tmp_path: Path) -> None:
    content = bytearray(np.random.default_rng(0).bytes(3 << 20))
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    expected = blake2b(len(content).to_bytes(8, "little") + content[: 1 << 20] + content[-(1 << 20) :], digest_size=8)
    assert probe_video(path).content_digest == int.from_bytes(expected.digest(), "little")
    content[3 << 19] ^= 1  # in the middle: not looked at
    path.write_bytes(content)
    assert probe_video(path).content_digest == int.from_bytes(expected.digest(), "little")
    content[-1] ^= 1
    path.write_bytes(content)
    assert probe_video(path).content_digest != int.from_bytes(expected.digest(), "little")


# What a header can demand ---------------------------------------------------------------------------------------------


def test_frames_larger_than_any_video_are_refused(
    tmp_path: Path, make_painted_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=2, height=256, width=256)
    monkeypatch.setattr(video_file, "MAX_FRAME_PIXELS", 256 * 256 - 1)
    probe = probe_video(path)
    assert probe.status == VideoStatus.CORRUPT
    assert probe.error == "has frames of 256 x 256 pixels; at most 65535 pixels can be had"
    monkeypatch.setattr(video_file, "MAX_FRAME_PIXELS", 256 * 256)
    assert probe_video(path).status == VideoStatus.OK


def test_stills_of_900_megapixels_take_no_memory(tmp_path: Path) -> None:
    """A PNG in an AVI: a kilobyte whose frame would be 2.7 GB; libav decodes it while it looks into the file."""
    rows = zlib.compress(bytes(1 << 20))
    size = (30_000).to_bytes(4, "big") * 2
    chunks = [(b"IHDR", size + b"\x08\x02\x00\x00\x00"), (b"IDAT", rows), (b"IEND", b"")]
    crcs = [zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks]
    coded = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + crc for (name, body), crc in zip(chunks, crcs, strict=True)
    )
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb24"
        for index in range(3):
            packet = av.Packet(coded)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 30), True
            packet.pts = packet.dts = index
            container.mux(packet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    probe = probe_video(path)
    assert probe.status == VideoStatus.CORRUPT
    assert probe.error == (
        "no frame can be decoded: a frame cannot be decoded: Invalid data found when processing input"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def write_raw(path: Path, times: Iterable[int], *, time_base: Fraction = Fraction(1, 1000)) -> Path:
    """A video of 2 x 2 pixels, a few bytes a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width = stream.height = 2
        stream.pix_fmt = "rgb24"
        for ticks in times:
            packet = av.Packet(bytes(12))
            packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, True
            packet.pts = packet.dts = ticks
            container.mux(packet)
    return path


@pytest.mark.parametrize("ticks", [1 << 31, 1 << 40, 1 << 50])
def test_absurd_times_are_just_numbers(tmp_path: Path, ticks: int) -> None:
    probe = probe_video(write_raw(tmp_path / "a.nut", [0, 33, 66, ticks]))
    assert probe.status == VideoStatus.OK
    assert probe.num_frames == 4
    assert probe.variable_frame_rate
    assert probe.duration_seconds == pytest.approx(ticks / 1000 * 4 / 3)


def test_memory_hardly_grows_with_the_length_of_a_video(tmp_path: Path) -> None:
    num_frames = 200_000
    path = write_raw(tmp_path / "a.nut", range(0, 40 * num_frames, 40))
    tracemalloc.start()
    probe = probe_video(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (probe.num_frames, probe.frames_per_second) == (num_frames, pytest.approx(25))
    assert peak < 40 * num_frames
