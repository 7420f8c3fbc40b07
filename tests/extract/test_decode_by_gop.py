"""What decoding by groups of pictures gives must be, bit for bit, what decoding in order gives."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from scale_video.extract import decode, gops
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, decode_clips
from scale_video.extract.decode_in_order import decode_in_order
from scale_video.extract.probe import probe_video
from scale_video.extract.video_packets import VideoPackets
from scale_video.store.video_probe import VideoStatus

NUM_FRAMES = 120
GOPS_OF_12 = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3", "preset": "veryfast"}


def request_of(spans: Sequence[tuple[float, float]], *, num_frames: int = 4, frame_size: int = 24) -> ClipRequest:
    coordinates = np.array([[0, 0, 0, 1, 1, *span] for span in spans], np.float32)
    return ClipRequest(coordinates, np.ones(len(spans), np.bool_), num_frames, frame_size)


def random_requests(duration_seconds: float, *, seed: int) -> list[ClipRequest]:
    """Few clips far apart, many clips, single frames, and the very end."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(0, duration_seconds, 12)
    return [
        request_of([(start, start + 0.1) for start in starts[:2]]),
        request_of([(start, start + 0.25 * (duration_seconds - start)) for start in starts]),
        request_of([(start, start) for start in starts], num_frames=1),
        request_of([(0, 0.02), (0.98 * duration_seconds, duration_seconds + 1)]),
        request_of([(0, duration_seconds)], num_frames=9, frame_size=40),
    ]


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[DecodedClips, ...]]:
    """``decode_clips``, every file from its beginning."""

    def decode_all(path: Path, requests: Sequence[ClipRequest], duration_seconds: float) -> tuple[DecodedClips, ...]:
        with monkeypatch.context() as patch:
            patch.setattr(decode, "kind_reader", lambda _stream: None)
            return decode_clips(path, requests, duration_seconds=duration_seconds).clips

    return decode_all


@pytest.fixture
def num_in_order(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests had to be decoded in order, per call."""
    calls: list[int] = []

    def counted(fillings: Sequence[Any], *rest: Any, **how: Any) -> None:
        calls.append(len(fillings))
        decode_in_order(fillings, *rest, **how)

    monkeypatch.setattr(decode, "decode_in_order", counted)
    return calls


def assert_same(clips: Sequence[DecodedClips], expected: Sequence[DecodedClips]) -> None:
    for ours, theirs in zip(clips, expected, strict=True):
        assert (ours.status, ours.error) == (theirs.status, theirs.error)
        np.testing.assert_array_equal(ours.valid, theirs.valid)
        np.testing.assert_array_equal(ours.frames, theirs.frames)


def check(path: Path, in_order: Callable[..., tuple[DecodedClips, ...]], *, num_seeds: int = 2) -> None:
    """All together, and each alone."""
    duration = probe_video(path).duration_seconds
    for seed in range(num_seeds):
        requests = random_requests(duration, seed=seed)
        expected = in_order(path, requests, duration)
        assert_same(decode_clips(path, requests, duration_seconds=duration).clips, expected)
        alone = [decode_clips(path, [request], duration_seconds=duration).clips[0] for request in requests]
        assert_same(alone, expected)


def test_every_kind_of_file(painted_video: Any, in_order: Callable[..., tuple[DecodedClips, ...]]) -> None:
    check(painted_video.path, in_order)


def count_seeks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where to, in ticks, as they happen."""
    seeks: list[int] = []
    seek = VideoPackets.seek

    def counted(packets: VideoPackets, ticks: int) -> bool:
        seeks.append(ticks)
        return seek(packets, ticks)

    monkeypatch.setattr(VideoPackets, "seek", counted)
    return seeks


def noisy(number: int) -> NDArray[np.uint8]:
    """A moving pattern with noise on it, whose coded pictures depend on each other."""
    rng = np.random.default_rng(number)
    ramp = np.add.outer(np.arange(64) * 3, np.arange(96) * 2 + 5 * number) % 200
    return np.repeat((ramp[:, :, None] + rng.integers(0, 50, (64, 96, 1))).astype(np.uint8), 3, 2)


BY_GOP: dict[str, dict[str, Any]] = {
    "h264 mp4": {"suffix": ".mp4", "options": GOPS_OF_12},
    "h264 mkv": {"suffix": ".mkv", "options": GOPS_OF_12},
    "h264 ts": {"suffix": ".ts", "options": GOPS_OF_12},
    "h264 flv": {"suffix": ".flv", "options": GOPS_OF_12},
    "h264, B-pyramid, many references": {
        "suffix": ".mp4",
        "options": {"x264-params": "keyint=40:min-keyint=20:bframes=8:b-pyramid=normal:ref=6:weightp=2:b-adapt=2"},
    },
    "h264, several slices": {"suffix": ".mp4", "options": {"x264-params": "keyint=15:slices=4:bframes=2"}},
    "h264 lossless": {"suffix": ".mp4", "options": {"x264-params": "keyint=15:qp=0:bframes=2"}},
    "h265": {
        "suffix": ".mp4",
        "codec": "libx265",
        "codec_tag": "hvc1",
        "options": {"x265-params": "keyint=15:no-open-gop=1:log-level=none"},
    },
    "vp8": {
        "suffix": ".webm",
        "codec": "libvpx",
        "gop_size": 12,
        "options": {"deadline": "realtime", "auto-alt-ref": "1"},
    },
    "vp9": {
        "suffix": ".webm",
        "codec": "libvpx-vp9",
        "gop_size": 15,
        "options": {"deadline": "good", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"},
    },
}


@pytest.mark.parametrize("name", BY_GOP)
@pytest.mark.parametrize("seek_seconds", [0.0, 5.0], ids=["seeking", "reading on"])
def test_files_with_clean_starts_are_never_decoded_in_order(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    num_in_order: list[int],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    seek_seconds: float,
) -> None:
    how = dict(BY_GOP[name])
    path = make_painted_video(tmp_path / f"a{how.pop('suffix')}", num_frames=NUM_FRAMES, draw=noisy, **how)
    monkeypatch.setattr(gops, "SEEK_SECONDS", seek_seconds)
    seeks = count_seeks(monkeypatch)
    duration = probe_video(path).duration_seconds
    for seed in range(2):
        requests = random_requests(duration, seed=seed)
        requests = [requests[0], requests[1], requests[2], request_of([(0, duration - 0.04)], num_frames=9)]
        expected = in_order(path, requests, duration)
        num_in_order.clear()
        assert_same(decode_clips(path, requests, duration_seconds=duration).clips, expected)
        assert_same(
            [decode_clips(path, [request], duration_seconds=duration).clips[0] for request in requests], expected
        )
        assert num_in_order == []
    assert bool(seeks) == (path.suffix == ".mp4" and seek_seconds == 0)


UNCLEAN: dict[str, dict[str, Any]] = {
    "open groups": {"suffix": ".mp4", "options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}},
    "open groups in mkv": {"suffix": ".mkv", "options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}},
    "open groups in ts": {"suffix": ".ts", "options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}},
    "intra refresh": {"suffix": ".mp4", "options": {"x264-params": "keyint=20:intra-refresh=1"}},
    "h265, open groups": {
        "suffix": ".mp4",
        "codec": "libx265",
        "codec_tag": "hvc1",
        "options": {"x265-params": "keyint=12:open-gop=1:log-level=none"},
    },
    "h265, headers in band": {
        "suffix": ".mp4",
        "codec": "libx265",
        "codec_tag": "hev1",
        "options": {"x265-params": "keyint=12:no-open-gop=1:log-level=none"},
    },
    "one start": {"suffix": ".mp4", "options": {"x264-params": "keyint=infinite:bframes=2"}},
    "mpeg-2": {"suffix": ".ts", "codec": "mpeg2video"},
    "mpeg-4": {"suffix": ".mp4", "codec": "mpeg4"},
    "motion jpeg": {"suffix": ".mp4", "codec": "mjpeg", "max_b_frames": 0},
    "av1": {
        "suffix": ".mp4",
        "codec": "libsvtav1",
        "gop_size": 16,
        "options": {"preset": "12", "svtav1-params": "lp=1"},
    },
}


@pytest.mark.parametrize("name", UNCLEAN)
def test_files_without_clean_starts(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    how = dict(UNCLEAN[name])
    path = make_painted_video(tmp_path / f"a{how.pop('suffix')}", num_frames=70, draw=noisy, **how)
    monkeypatch.setattr(gops, "SEEK_SECONDS", 0.0)
    check(path, in_order, num_seeds=1)


def test_a_group_that_is_too_long_is_decoded_in_order(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    num_in_order: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=60, draw=noisy, options=GOPS_OF_12)
    for limit, value in (("MAX_GOP_PACKETS", 11), ("MAX_GOP_BYTES", 4000)):
        with monkeypatch.context() as patch:
            patch.setattr(gops, limit, value)
            num_in_order.clear()
            check(path, in_order, num_seeds=1)
            assert num_in_order


def remux(source: Path, target: Path, *, hidden: int = 0, options: dict[str, str] | None = None) -> Path:
    """Copy the coded pictures, the first ones hidden by an edit list."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                ticks = int(hidden / (30 * packet.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, stream
                new.mux(packet)
    return target


@pytest.mark.parametrize("hidden", [5, 12, 17])
def test_hidden_pictures_at_the_beginning(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    monkeypatch: pytest.MonkeyPatch,
    hidden: int,
) -> None:
    whole = make_painted_video(tmp_path / "whole.mp4", num_frames=80, draw=noisy, options=GOPS_OF_12)
    path = remux(whole, tmp_path / "a.mp4", hidden=hidden)
    assert probe_video(path).num_frames == 80 - hidden
    monkeypatch.setattr(gops, "SEEK_SECONDS", 0.0)
    check(path, in_order)


@pytest.mark.parametrize("flags", ["frag_keyframe", "frag_keyframe+empty_moov+default_base_moof", "faststart"])
def test_fragments(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    num_in_order: list[int],
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
) -> None:
    whole = make_painted_video(tmp_path / "whole.mp4", num_frames=80, draw=noisy, options=GOPS_OF_12)
    path = remux(whole, tmp_path / "a.mp4", options={"movflags": flags})
    monkeypatch.setattr(gops, "SEEK_SECONDS", 0.0)
    check(path, in_order)
    duration = probe_video(path).duration_seconds
    num_in_order.clear()
    decode_clips(path, [request_of([(0.1, 0.2), (2.0, 2.3)])], duration_seconds=duration)
    assert num_in_order == []


def test_hours_apart_only_what_is_needed_is_read_and_decoded(
    tmp_path: Path, make_painted_video: Callable[..., Path], read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    """Four hours at five frames a second, in groups of ten: a few hundred pictures of 72 000 are read."""
    source = make_painted_video(tmp_path / "ten.mp4", num_frames=10, options={"x264-params": "keyint=10"})
    path = tmp_path / "long.mp4"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        pictures = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in old.demux(video=0) if p.size]
        base = old.streams.video[0].time_base
        for group in range(7200):
            for coded, pts, dts, is_key in pictures:
                packet = av.Packet(coded)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_key
                offset = group * int(2 / base)
                packet.pts, packet.dts = 6 * pts + offset, 6 * dts + offset
                new.mux(packet)
    seen = []
    ticks_of = VideoPackets.ticks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoPackets, "ticks", lambda *pair: seen.append(1) or ticks_of(*pair))
        spans = [(start, start + 1.8) for start in (0.0, 3600.0, 7200.0, 14398.0)]
        request = request_of(spans, num_frames=10)
        (clips,) = decode_clips(path, [request], duration_seconds=14400.0).clips
    assert clips.status == VideoStatus.OK
    assert [[read_number(frame) for frame in frames] for frames in clips.frames] == [list(range(10))] * 4
    assert len(seen) < 500


# Damage --------------------------------------------------------------------------------------------------------------


def damage(path: Path, index: int, *, how: str, seed: int) -> None:
    """Spoil one coded picture."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
    begin, end = packet.pos, packet.pos + packet.size
    rng = np.random.default_rng(seed)
    if how == "zeroed":
        content[begin:end] = bytes(end - begin)
    else:
        for place in rng.integers(begin + 6, end, 5).tolist():
            content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["zeroed", "flipped"])
@pytest.mark.parametrize("index", [0, 1, 3, 14, 25, 38, 59])
def test_in_a_damaged_file_a_request_gets_the_same_alone_and_nothing_wrong(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
    in_order: Callable[..., tuple[DecodedClips, ...]],
    monkeypatch: pytest.MonkeyPatch,
    index: int,
    how: str,
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=60, options=GOPS_OF_12)
    damage(path, index, how=how, seed=index)
    monkeypatch.setattr(gops, "SEEK_SECONDS", 0.0)
    rng = np.random.default_rng(index)
    requests = [request_of([(n / 30, n / 30) for n in rng.permutation(60)[:count]]) for count in (1, 2, 5, 20, 60)]
    together = decode_clips(path, requests, duration_seconds=2.0).clips
    assert_same([decode_clips(path, [request], duration_seconds=2.0).clips[0] for request in requests], together)
    for request, ours, theirs in zip(requests, together, in_order(path, requests, 2.0), strict=True):
        both = ours.valid & theirs.valid
        np.testing.assert_array_equal(ours.frames[both], theirs.frames[both])
        assert (ours.valid | ~theirs.valid).all()  # more may be had, never less
        if how == "zeroed" and index > 0:  # without its first picture a file begins later
            numbers = np.round(request.coordinates[:, -1] * 30)
            shown = [read_number(frames[0]) for frames in ours.frames[ours.valid]]
            assert shown == numbers[ours.valid].tolist()


@pytest.mark.parametrize("num_bytes", [60, 150, 300, 500, 700, 900])
def test_in_a_file_without_its_end_no_frame_stands_in_for_a_missing_one(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
    num_bytes: int,
) -> None:
    """B-frames are missing whose successor, which comes before them in the file, is there."""
    path = make_painted_video(tmp_path / "a.mkv", num_frames=45, options=GOPS_OF_12)
    path.write_bytes(path.read_bytes()[:-num_bytes])
    numbers = list(range(45))
    request = request_of([(number / 30, number / 30) for number in numbers], num_frames=1, frame_size=32)
    (clips,) = decode_clips(path, [request], duration_seconds=1.5).clips
    shown = [read_number(frame) for frame in clips.frames[clips.valid, 0]]
    assert shown == np.flatnonzero(clips.valid).tolist()
    assert clips.valid[:15].all()
    assert clips.status == VideoStatus.PARTIAL
