import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

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


def decode(
    path: Path,
    coordinates: Coordinates,
    *,
    duration_seconds: float,
    num_frames: int = 5,
    frame_size: int = 32,
    valid: NDArray[np.bool_] | None = None,
) -> DecodedClips:
    return decode_clips(
        path,
        coordinates=coordinates,
        valid=np.ones(len(coordinates), np.bool_) if valid is None else valid,
        duration_seconds=duration_seconds,
        num_frames=num_frames,
        frame_size=frame_size,
    )


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


# The caller's mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": np.ones(2, np.bool_)}, r"coordinates \(1, 7\) and valid \(2,\) must be \(K, 7\) and \(K,\)"),
        ({"coordinates": np.zeros((1, 6), np.float32)}, r"coordinates \(1, 6\) and valid"),
        ({"num_frames": 0}, r"num_frames \(0\) and frame_size \(8\) must be at least 1"),
        ({"frame_size": 0}, r"num_frames \(2\) and frame_size \(0\) must be at least 1"),
        ({"valid": np.zeros(1, np.bool_)}, "valid plans none of the clips; leave out videos"),
        ({"coordinates": clip(0, 1, top=0.5, bottom=0.5)}, r"top \(0.5\) must be less than bottom \(0.5\)"),
        ({"coordinates": clip(0, 1, left=np.nan)}, r"left \(nan\) must be less than right \(1\)"),
        ({"coordinates": clip(2, 1)}, "start must not be after end"),
        ({"duration_seconds": 0.0}, r"duration_seconds \(0\) must be positive"),
    ],
)
def test_wrong_arguments_are_refused(plain: Path, changes: dict[str, Any], message: str) -> None:
    arguments = {
        "coordinates": clip(0, 1),
        "valid": np.ones(1, np.bool_),
        "duration_seconds": 2.0,
        "num_frames": 2,
        "frame_size": 8,
    }
    with pytest.raises(ValueError, match=message):
        decode_clips(plain, **(arguments | changes))
