import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scale_video.extract import video_file
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, decode_clips
from scale_video.extract.probe import probe_video
from scale_video.store.video_probe import VideoStatus

Coordinates = NDArray[np.float32]
INVALID_DATA = "Invalid data found when processing input"


def clip(
    start: float,
    end: float,
    *,
    top: float = 0.0,
    left: float = 0.0,
    bottom: float = 1.0,
    right: float = 1.0,
    flip: float = 0.0,
) -> Coordinates:
    return np.array([[flip, top, left, bottom, right, start, end]], np.float32)


def request_of(
    coordinates: Coordinates, *, num_frames: int = 5, frame_size: int = 32, valid: NDArray[np.bool_] | None = None
) -> ClipRequest:
    return ClipRequest(
        coordinates=coordinates,
        valid=np.ones(len(coordinates), np.bool_) if valid is None else valid,
        num_frames=num_frames,
        frame_size=frame_size,
    )


def decode(path: Path, coordinates: Coordinates, *, duration_seconds: float, **how: Any) -> DecodedClips:
    (decoded,) = decode_clips(path, [request_of(coordinates, **how)], duration_seconds=duration_seconds).clips
    return decoded


def expected_numbers(
    times: Sequence[float], numbers: Sequence[int], coordinates: Coordinates, num_frames: int
) -> list[list[int]]:
    """Slow and obvious: the last frame whose time is at most a millisecond after the sample's."""
    rows = []
    for *_, start, end in coordinates.astype(np.float64).tolist():
        row = []
        for j in range(num_frames):
            sample = start + j * (end - start) / (num_frames - 1)
            row.append([n for t, n in zip(times, numbers, strict=True) if t <= sample + 1e-3][-1])
        rows.append(row)
    return rows


def spans(times: Sequence[float], *, num_clips: int, num_frames: int = 5) -> Coordinates:
    """From end to end, at each single frame, and at random where a container's rounding of times does not matter."""
    rng = np.random.default_rng(3)
    rows = [clip(0, times[-1]), *(clip(t, t) for t in times)]
    for _ in range(num_clips):
        start, end = np.sort(rng.uniform(0, times[-1], 2))
        samples = np.linspace(start, end, num_frames)
        if np.abs(samples[:, None] + 1e-3 - np.array(times)).min() > 0.75e-3:
            rows.append(clip(start, end))
    return np.concatenate(rows)


def test_each_clip_holds_the_frames_its_coordinates_demand(
    painted_video: Any, read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    times = painted_video.times
    coordinates = spans(times, num_clips=12)
    decoded = decode(painted_video.path, coordinates, duration_seconds=probe_video(painted_video.path).duration_seconds)
    assert (decoded.status, decoded.error) == (VideoStatus.OK, "")
    assert decoded.valid.all()
    numbers = [[read_number(frame) for frame in frames] for frames in decoded.frames]
    assert numbers == expected_numbers(times, painted_video.numbers, coordinates, 5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, make_painted_video: Callable[..., Path]) -> Path:
    """60 frames at 30 a second, 2 s, upright."""
    return make_painted_video(tmp_path_factory.mktemp("plain") / "a.mp4")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    ticks=st.lists(st.tuples(st.integers(0, 1990), st.integers(0, 1990)).map(sorted), min_size=1, max_size=6),
    num_frames=st.integers(2, 9),
)
def test_random_spans_hold_the_frames_they_demand(
    plain: Path, read_number: Callable[[NDArray[np.uint8]], int], ticks: list[list[int]], num_frames: int
) -> None:
    # Starts and ends at odd multiples of 1/2 ms: never where float32 and the tolerance decide.
    coordinates = np.concatenate([clip(start / 1000 + 5e-4, end / 1000 + 5e-4) for start, end in ticks])
    times = [index / 30 for index in range(60)]
    decoded = decode(plain, coordinates, duration_seconds=2.0, num_frames=num_frames)
    numbers = [[read_number(frame) for frame in frames] for frames in decoded.frames]
    for row, expected, samples in zip(
        numbers, expected_numbers(times, range(60), coordinates, num_frames), coordinates[:, 5:], strict=True
    ):
        sample_times = np.linspace(*samples.astype(float), num_frames)
        clear = np.abs(sample_times[:, None] + 1e-3 - np.array(times)).min(1) > 1e-6
        assert np.array(row)[clear].tolist() == np.array(expected)[clear].tolist()


def test_a_clip_of_the_published_span_has_the_published_frames(
    plain: Path, read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    # 64 native frames, stride 4, from frame 7 on: floor(7 + j (64 - 1) / 15), of a video of 2 s only up to frame 59.
    coordinates = clip(7 / 30, (7 + 48) / 30)
    decoded = decode(plain, coordinates, duration_seconds=2.0, num_frames=13)
    assert [read_number(frame) for frame in decoded.frames[0]] == [7 + 4 * j for j in range(13)]


def test_a_single_frame_is_taken_from_the_middle(plain: Path, read_number: Callable[[NDArray[np.uint8]], int]) -> None:
    decoded = decode(plain, clip(0.5, 1.5), duration_seconds=2.0, num_frames=1)
    assert [read_number(frame) for frame in decoded.frames[0]] == [30]


def test_past_the_end_the_last_frame_repeats_and_the_status_is_padded(
    plain: Path, read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    decoded = decode(plain, clip(1.8, 2.6), duration_seconds=2.0)
    assert (decoded.status, decoded.error) == (VideoStatus.PADDED, "")
    assert [read_number(frame) for frame in decoded.frames[0]] == [54, 59, 59, 59, 59]
    assert decoded.valid.all()


def test_a_clip_that_ends_with_the_video_is_not_padded(plain: Path) -> None:
    assert decode(plain, clip(0, 59 / 30), duration_seconds=2.0).status == VideoStatus.OK
    assert decode(plain, clip(0, 60 / 30), duration_seconds=2.0).status == VideoStatus.PADDED


def test_clips_that_are_not_planned_stay_empty(plain: Path, read_number: Callable[[NDArray[np.uint8]], int]) -> None:
    coordinates = np.concatenate([clip(0, 1), np.full((1, 7), np.nan, np.float32), clip(1, 1)])
    decoded = decode(plain, coordinates, duration_seconds=2.0, valid=np.array([True, False, True]))
    assert decoded.status == VideoStatus.OK
    assert decoded.valid.tolist() == [True, False, True]
    assert not decoded.frames[1].any()
    assert read_number(decoded.frames[2, 0]) == 30


def test_the_same_bits_come_out_every_time(plain: Path) -> None:
    coordinates = spans([index / 30 for index in range(60)], num_clips=5)
    first, second = (decode(plain, coordinates, duration_seconds=2.0) for _ in range(2))
    assert first.frames.tobytes() == second.frames.tobytes()


def test_a_change_of_size_midway_is_cropped_by_fractions(
    tmp_path: Path, make_painted_video: Callable[..., Path], read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    first = make_painted_video(tmp_path / "1.h264", num_frames=15)
    second = make_painted_video(tmp_path / "2.h264", num_frames=15, height=128, width=128, first_number=15)
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    decoded = decode(path, clip(0, 29 / 30), duration_seconds=1.0, num_frames=30)
    assert [read_number(frame) for frame in decoded.frames[0]] == list(range(30))


def test_frames_that_grow_beyond_all_bounds_midway_end_the_clips_there(
    tmp_path: Path, make_painted_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_painted_video(tmp_path / "1.h264", num_frames=15)
    second = make_painted_video(tmp_path / "2.h264", num_frames=15, height=256, width=256, first_number=15)
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    monkeypatch.setattr(video_file, "MAX_FRAME_PIXELS", 256 * 256 - 1)
    decoded = decode(path, np.concatenate([clip(0, 10 / 30), clip(0.5, 0.9)]), duration_seconds=1.0)
    assert decoded.status == VideoStatus.PARTIAL
    assert decoded.valid.tolist() == [True, False]
    assert decoded.error == (
        "1 of 2 clips cannot be decoded: has frames of 256 x 256 pixels; at most 65535 pixels can be had"
    )


# Damage --------------------------------------------------------------------------------------------------------------


def seconds_of(*numbers: int) -> Coordinates:
    return np.concatenate([clip(number / 30, number / 30) for number in numbers])


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "mpeg4"), (".mkv", "libx264"), (".ts", "libx264"), (".webm", "libvpx-vp9")]
)
def test_a_file_cut_after_planning_is_partial(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    cut_short: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
    suffix: str,
    codec: str,
) -> None:
    path = make_painted_video(tmp_path / f"a{suffix}", codec=codec, num_frames=240)
    whole = probe_video(path)
    coordinates = seconds_of(0, 3, 5, 200, 220, 239)
    decoded = decode(cut_short(path, part=0.6), coordinates, duration_seconds=whole.duration_seconds, num_frames=2)
    assert decoded.status == VideoStatus.PARTIAL
    assert decoded.valid.tolist() == [True, True, True, False, False, False]
    assert [read_number(frames[0]) for frames in decoded.frames[:3]] == [0, 3, 5]
    assert not decoded.frames[3:].any()
    assert decoded.error.startswith("3 of 6 clips cannot be decoded: ")
    assert "\n" not in decoded.error
    assert str(tmp_path) not in decoded.error


def test_a_cut_mp4_without_its_index_is_corrupt(plain: Path, tmp_path: Path, cut_short: Callable[..., Path]) -> None:
    path = Path(shutil.copy(plain, tmp_path))
    decoded = decode(cut_short(path, part=0.6), clip(0, 1), duration_seconds=2.0)
    assert decoded.status == VideoStatus.CORRUPT
    assert decoded.error == f"cannot be opened as a video: {INVALID_DATA}"
    assert not decoded.valid.any()
    assert not decoded.frames.any()


def test_a_file_cut_before_planning_keeps_its_clips_but_is_partial(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    cut_short: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
) -> None:
    path = cut_short(make_painted_video(tmp_path / "a.mkv", num_frames=40), part=0.6)
    decoded = decode(path, seconds_of(0, 5), duration_seconds=probe_video(path).duration_seconds, num_frames=2)
    assert decoded.status == VideoStatus.PARTIAL
    assert decoded.valid.all()
    assert decoded.error.startswith("is ")
    assert decoded.error.endswith(" bytes shorter than its header says")


@pytest.mark.parametrize("suffix", [".mkv", ".flv", ".ts"])
def test_b_frames_that_are_cut_off_before_a_picture_that_is_there_are_missed(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
    suffix: str,
) -> None:
    path = make_painted_video(tmp_path / f"a{suffix}", num_frames=24, options={"bf": "3", "b-adapt": "0"})
    whole, content = probe_video(path), path.read_bytes()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        starts, last_shown = [packet.pos for packet in packets], max(packets, key=lambda packet: packet.pts)
    cut, num_checked = tmp_path / f"cut{suffix}", 0
    for start in starts[1:]:
        if suffix != ".mkv" and start > last_shown.pos:
            break  # its length is right, and nothing in it tells that it is not whole
        cut.write_bytes(content[:start])
        decoded = decode(cut, seconds_of(*range(24)), duration_seconds=whole.duration_seconds, num_frames=1)
        numbers = np.flatnonzero(decoded.valid).tolist()
        assert [read_number(decoded.frames[number, 0]) for number in numbers] == numbers
        num_checked += len(numbers)
    assert num_checked > 100


def test_a_file_all_of_whose_clips_lie_behind_its_end_is_corrupt(
    tmp_path: Path, make_painted_video: Callable[..., Path]
) -> None:
    path = make_painted_video(tmp_path / "a.ts", num_frames=20)
    decoded = decode(path, clip(1, 2), duration_seconds=3.0)
    assert decoded.status == VideoStatus.CORRUPT
    assert decoded.error == "1 of 1 clips cannot be decoded: it ends at 0.63 of 3.00 s"
    assert not decoded.frames.any()


def damage_packet(path: Path, index: int) -> int:
    """Zero the packet of that number, in file order; gives the frame that it held."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
        number = round(packet.pts * packet.time_base * 30)
    path.write_bytes(content)
    return number


def test_after_damage_nothing_is_trusted_until_the_next_key_frame(
    tmp_path: Path, make_painted_video: Callable[..., Path], read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    path = make_painted_video(
        tmp_path / "a.mp4", num_frames=36, max_b_frames=0, options={"x264-params": "keyint=12:scenecut=0"}
    )
    assert damage_packet(path, 15) == 15
    decoded = decode(path, seconds_of(*range(36)), duration_seconds=1.2, num_frames=2)
    assert np.flatnonzero(~decoded.valid).tolist() == list(range(15, 24))
    assert [read_number(frames[0]) for frames in decoded.frames[decoded.valid]] == [*range(15), *range(24, 36)]
    assert decoded.status == VideoStatus.PARTIAL
    assert decoded.error.startswith("9 of 36 clips cannot be decoded: a frame ")


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".avi", "mpeg4")])
@pytest.mark.parametrize("packet", [14, 17, 20])
def test_with_b_frames_a_clip_is_right_or_lost(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    read_number: Callable[[NDArray[np.uint8]], int],
    suffix: str,
    codec: str,
    packet: int,
) -> None:
    path = make_painted_video(tmp_path / f"a{suffix}", codec=codec, num_frames=48, options={"sc_threshold": "0"})
    damage_packet(path, packet)
    decoded = decode(path, seconds_of(*range(48)), duration_seconds=1.6, num_frames=2)
    numbers = np.array([read_number(frames[0]) for frames in decoded.frames])
    assert numbers[decoded.valid].tolist() == np.flatnonzero(decoded.valid).tolist()
    assert decoded.valid[:10].all()
    assert not decoded.valid[10:30].all()
    assert decoded.valid[30:].all()


def test_damage_between_key_frames_costs_only_what_lies_there(
    tmp_path: Path, make_painted_video: Callable[..., Path], read_number: Callable[[NDArray[np.uint8]], int]
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=20, codec="mjpeg", max_b_frames=0)
    assert damage_packet(path, 8) == 8
    late = np.concatenate([seconds_of(*range(20)), clip(7.5 / 30, 7.5 / 30), clip(9.5 / 30, 9.5 / 30)])
    decoded = decode(path, late, duration_seconds=20 / 30, num_frames=2)
    # Frame 7 itself is sure; half a frame later a gap begins that may have held another one.
    assert np.flatnonzero(~decoded.valid).tolist() == [8, 20]
    assert read_number(decoded.frames[21, 0]) == 9


@pytest.mark.parametrize(
    ("name", "content", "status", "error"),
    [
        ("gone.mp4", None, VideoStatus.MISSING, "cannot be read: No such file or directory"),
        ("empty.avi", b"", VideoStatus.CORRUPT, "is empty (0 bytes)"),
        ("a.mp4", b"text " * 99, VideoStatus.CORRUPT, f"cannot be opened as a video: {INVALID_DATA}"),
    ],
)
def test_a_file_that_is_no_video_gives_a_status(
    tmp_path: Path, name: str, content: bytes | None, status: VideoStatus, error: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    decoded = decode(tmp_path / name, clip(0, 1), duration_seconds=2.0)
    assert (decoded.status, decoded.error) == (status, error)
    assert decoded.frames.shape == (1, 5, 32, 32, 3)
    assert not decoded.frames.any()
    assert not decoded.valid.any()


# Several requests ---------------------------------------------------------------------------------------------------


def assert_same(together: DecodedClips, alone: DecodedClips) -> None:
    assert (together.status, together.error) == (alone.status, alone.error)
    np.testing.assert_array_equal(together.valid, alone.valid)
    np.testing.assert_array_equal(together.frames, alone.frames)


def assorted_requests(duration_seconds: float) -> list[ClipRequest]:
    """Early, late, everywhere, past the end, and the same clips at another length and size."""
    steps = np.linspace(0, duration_seconds, 9)
    everywhere = np.concatenate([clip(a, b, flip=1, right=0.7) for a, b in pairwise(steps.tolist())])
    return [
        request_of(clip(0, 0.1)),
        request_of(everywhere),
        request_of(everywhere, num_frames=3, frame_size=20),
        request_of(clip(0.8 * duration_seconds, 0.9 * duration_seconds)),
        request_of(clip(0.3 * duration_seconds, 1.2 * duration_seconds)),
        request_of(np.concatenate([clip(0.2, 0.3), clip(0.5, 0.6)]), valid=np.array([False, True])),
    ]


@pytest.mark.parametrize("damage", ["none", "packet", "cut", "cut, packet", "text"])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".avi", "mpeg4"), (".mkv", "libx264"), (".ts", "libx264")]
)
def test_a_request_gets_the_same_whatever_is_decoded_with_it(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    cut_short: Callable[..., Path],
    suffix: str,
    codec: str,
    damage: str,
) -> None:
    path = make_painted_video(tmp_path / f"a{suffix}", codec=codec, num_frames=72)
    requests = assorted_requests(2.4)
    if "packet" in damage:
        for index in (55, 31):  # backwards: Matroska cannot be read beyond
            damage_packet(path, index)
    if "cut" in damage:
        path = cut_short(path, part=0.7)
    if damage == "text":
        path.write_bytes(b"text" * 999)
    alone = [decode_clips(path, [request], duration_seconds=2.4).clips[0] for request in requests]
    for order in (requests, requests[::-1]):
        together = decode_clips(path, order, duration_seconds=2.4).clips
        for pair in zip(together, alone if order is requests else alone[::-1], strict=True):
            assert_same(*pair)
    damaged = any(clips.status not in (VideoStatus.OK, VideoStatus.PADDED) for clips in alone)
    assert damaged == (damage != "none")


def test_damage_behind_the_last_sample_of_a_request_is_not_its_own(
    tmp_path: Path, make_painted_video: Callable[..., Path]
) -> None:
    path = make_painted_video(
        tmp_path / "a.mp4", num_frames=36, max_b_frames=0, options={"x264-params": "keyint=12:scenecut=0"}
    )
    damage_packet(path, 15)
    before, across = decode_clips(
        path, [request_of(clip(0, 0.4)), request_of(clip(0, 1.1))], duration_seconds=1.2
    ).clips
    assert (before.status, before.error) == (VideoStatus.OK, "")
    assert across.status == VideoStatus.CORRUPT


def test_clips_are_written_into_the_arrays_that_are_given(plain: Path) -> None:
    requests = [
        request_of(clip(0, 1)),
        request_of(np.concatenate([clip(0, 1), clip(0, 1)]), num_frames=2, valid=np.array([True, False])),
    ]
    out = [np.full(request.shape, 77, np.uint8) for request in requests]
    decoded = decode_clips(plain, requests, duration_seconds=2.0, out=out)
    fresh = decode_clips(plain, requests, duration_seconds=2.0)
    for clips, array, expected in zip(decoded.clips, out, fresh.clips, strict=True):
        assert clips.frames is array
        assert_same(clips, expected)
    assert not out[1][1].any()


def test_given_arrays_are_cleared_when_nothing_can_be_had(tmp_path: Path) -> None:
    request = request_of(clip(0, 1))
    out = [np.full(request.shape, 77, np.uint8)]
    decoded = decode_clips(tmp_path / "gone.mp4", [request], duration_seconds=2.0, out=out)
    assert decoded.clips[0].status == VideoStatus.MISSING
    assert not out[0].any()


def test_the_time_is_split(plain: Path) -> None:
    begun = perf_counter()
    decoded = decode_clips(plain, [request_of(clip(0, 1))] * 2, duration_seconds=2.0)
    assert decoded.decode_seconds > 0
    assert decoded.resize_seconds > 0
    assert decoded.decode_seconds + decoded.resize_seconds <= perf_counter() - begun


# Want of memory says nothing of a file -------------------------------------------------------------------------------


def out_of_memory(*_: Any, **__: Any) -> None:
    raise av.error.MemoryError(12, "Cannot allocate memory")


def torch_out_of_memory(*_: Any, **__: Any) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you")


@pytest.mark.parametrize(
    ("target", "replacement"),
    [
        ("av.open", out_of_memory),
        ("scale_video.extract.shown_frames.VideoPackets.ticks", out_of_memory),
        ("scale_video.extract.clip_pixels.VideoReformatter.reformat", out_of_memory),
        ("torch.from_numpy", torch_out_of_memory),
    ],
)
def test_want_of_memory_is_not_the_files_fault(
    plain: Path, monkeypatch: pytest.MonkeyPatch, target: str, replacement: Callable[..., None]
) -> None:
    if "reformat" in target:
        monkeypatch.setattr(
            "scale_video.extract.clip_pixels.VideoReformatter", lambda: SimpleNamespace(reformat=replacement)
        )
    else:
        monkeypatch.setattr(target, replacement)
    with pytest.raises(MemoryError):
        decode(plain, clip(0, 1, flip=1), duration_seconds=2.0)


def test_other_errors_of_torch_are_not_hidden(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such mode")

    monkeypatch.setattr("torch.from_numpy", fail)
    with pytest.raises(RuntimeError, match="no such mode"):
        decode(plain, clip(0, 1, flip=1), duration_seconds=2.0)


# The caller's mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"requests": []}, "requests is empty; leave out videos"),
        ({"duration_seconds": 0.0}, r"duration_seconds \(0\) must be positive"),
        ({"out": []}, r"out \(\[\]\) must hold a uint8 array of each request's shape"),
        ({"out": [np.zeros((1, 5, 32, 32, 3), np.float32)]}, "must hold a uint8 array"),
        ({"out": [np.zeros((1, 5, 32, 31, 3), np.uint8)]}, "of each request's shape"),
    ],
)
def test_wrong_arguments_are_refused(plain: Path, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"requests": [request_of(clip(0, 1))], "duration_seconds": 2.0}
    with pytest.raises(ValueError, match=message):
        decode_clips(plain, **(arguments | changes))
