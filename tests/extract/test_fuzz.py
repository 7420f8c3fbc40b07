"""Hundreds of damaged files through the decoding processes: each ends with a status, in time, in bounded memory.

SCALE_VIDEO_TORTURE=minutes goes on with other damages for so long (``make torture``).
"""

import importlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedVideo
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.video_file import open_video
from scale_video.extract.video_packets import VideoPackets
from scale_video.extract.views import GridView, RandomView
from scale_video.store.video_probe import VideoProbe, VideoStatus

NUM_FILES = 360
CHUNK = 20
TORTURE_SECONDS = 60 * float(os.environ.get("SCALE_VIDEO_TORTURE", "0"))
LIMITS = DecodeLimits(1, timeout_seconds=20, memory_bytes=1 << 30)
MAX_SECONDS = 2 * LIMITS.timeout_seconds + 20
"""A harmed video is tried twice, each time by a process that may have to start."""
IDLE_BYTES = 400 << 20
"""What a decoding process holds with its libraries loaded."""
SMALL_BYTES = 200 << 20
"""What a small file may cost on top, however damaged it is."""


@dataclass(frozen=True)
class Healthy:
    """An original, and what becomes of it when it is alone."""

    content: bytes
    probe: VideoProbe
    requests: tuple[ClipRequest, ...]
    decoded: DecodedVideo


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    """``damaged_files`` and ``frame_bombs``; a test folder is no package to import them from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("damaged_files"), importlib.import_module("frame_bombs")


@pytest.fixture(scope="module")
def originals(
    modules: tuple[ModuleType, ModuleType],
    make_painted_video: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    contents: dict[str, bytes] = modules[0].make_originals(tmp_path_factory.mktemp("originals"), make_painted_video)
    return contents


@pytest.fixture(scope="module")
def decoders() -> Iterator[ClipDecoders]:
    decoders = ClipDecoders(LIMITS)
    yield decoders
    decoders.close()


def requests_of(name: str, probe: VideoProbe) -> tuple[ClipRequest, ...]:
    """Random clips, and a grid's, as the job would want them."""
    probed = ProbedVideos.of([name], [probe])
    views = RandomView(num_clips=3, span_seconds=0.5), GridView(num_times=4, num_places=1, span_seconds=0.3)
    plans = [draw_view(view, probed) for view in views]
    return tuple(ClipRequest(plan.coordinates[0], plan.valid[0], num_frames=8, frame_size=32) for plan in plans)


@pytest.fixture(scope="module")
def healthy(originals: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Healthy]:
    """What becomes of the originals in processes that meet nothing else."""
    folder = tmp_path_factory.mktemp("healthy")
    decoders, healthy = ClipDecoders(LIMITS), {}
    for name, content in originals.items():
        path = folder / name
        path.write_bytes(content)
        (probe,) = decoders.probe([path])
        requests = requests_of(name, probe)
        (decoded,) = decoders.decode([VideoOrder(path, probe.duration_seconds, requests)])
        assert {clips.status for clips in decoded.clips} <= {VideoStatus.OK, VideoStatus.PADDED}
        healthy[name] = Healthy(content, probe, requests, copied(decoded))
    decoders.close()
    return healthy


def copied(video: DecodedVideo) -> DecodedVideo:
    """Out of the memory that the next video takes."""
    clips = tuple(type(c)(c.frames.copy(), c.valid, c.status, c.error) for c in video.clips)
    return DecodedVideo(clips, video.decode_seconds, video.resize_seconds)


def in_time(outcomes: Iterator[Any]) -> Iterator[Any]:
    """Pass outcomes on, each of which must come within its limit."""
    begun = time.monotonic()
    for outcome in outcomes:
        assert time.monotonic() - begun < MAX_SECONDS
        yield outcome
        begun = time.monotonic()


def peak_bytes() -> int:
    """The greatest resident memory that any decoding process of ours ever had."""
    peaks = [0]
    for child in psutil.Process().children():
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


def check_probe(path: Path, probe: VideoProbe) -> None:
    assert isinstance(probe.status, VideoStatus)
    if probe.status != VideoStatus.OK:
        check_error(path, probe.error)


def check_decoded(path: Path, video: DecodedVideo) -> None:
    for clips in video.clips:
        assert clips.status not in (VideoStatus.PENDING, VideoStatus.NOT_PLANNED)
        assert clips.valid.any() == clips.status.has_features
        assert not clips.frames[~clips.valid].any()
        if clips.status in (VideoStatus.OK, VideoStatus.PADDED):
            assert clips.valid.all()
            assert clips.error == ""
        else:
            check_error(path, clips.error)


def check_error(path: Path, error: str) -> None:
    """One line of use to a reader, the same on every machine."""
    assert error
    assert error.isprintable()
    assert str(path.parent) not in error
    assert path.name not in error


def same_clips(first: DecodedVideo, second: DecodedVideo) -> bool:
    return all(
        (one.status, one.error, one.valid.tobytes(), one.frames.tobytes())
        == (two.status, two.error, two.valid.tobytes(), two.frames.tobytes())
        for one, two in zip(first.clips, second.clips, strict=True)
    )


def check_valid_clips_are_right(damaged: DecodedVideo, whole: DecodedVideo) -> None:
    """Of a file that was cut, what is called valid is what the whole file shows."""
    for clips, expected in zip(damaged.clips, whole.clips, strict=True):
        assert np.array_equal(clips.frames[clips.valid], expected.frames[clips.valid])


def loses_unannounced_pictures(original: str, video: DecodedVideo) -> bool:
    """Whether B-frames before the very last picture are gone from a format that tells nobody how long it is."""
    seems_whole = all(clips.status in (VideoStatus.OK, VideoStatus.PADDED) for clips in video.clips)
    return seems_whole and original.endswith((".ts", ".flv"))


class Fuzzing:
    """One run over damaged files."""

    def __init__(self, decoders: ClipDecoders, folder: Path, healthy: dict[str, Healthy]) -> None:
        self.decoders, self.folder, self.healthy = decoders, folder, healthy
        self.statuses: Counter[str] = Counter()
        self.harmed: list[str] = []

    def chunk(self, files: Sequence[Any]) -> None:
        """Probe and decode files, a healthy one among them."""
        stranger = list(self.healthy)[len(self.statuses) % len(self.healthy)]
        paths = [self.folder / f"damaged {number}.{file.name.rpartition('.')[2]}" for number, file in enumerate(files)]
        for path, file in zip(paths, files, strict=True):
            path.write_bytes(file.content)
        (self.folder / stranger).write_bytes(self.healthy[stranger].content)
        paths.insert(len(paths) // 2, self.folder / stranger)
        names = [file.name for file in files]
        names.insert(len(files) // 2, stranger)

        probes = list(in_time(self.decoders.probe(paths)))
        orders, checks = [], []
        for path, name, probe in zip(paths, names, probes, strict=True):
            check_probe(path, probe)
            self._count(name, probe.status, probe.error)
            if probe.status == VideoStatus.OK:  # planned as it is
                orders.append(VideoOrder(path, probe.duration_seconds, requests_of(name, probe)))
                checks.append((name, None))
        for path, file in zip([p for p in paths if p.name != stranger], files, strict=True):
            whole = self.healthy[file.original]  # planned while it was whole
            orders.append(VideoOrder(path, whole.probe.duration_seconds, whole.requests))
            checks.append((file.name, file))
        for order, (name, file), video in zip(orders, checks, in_time(self.decoders.decode(orders)), strict=True):
            check_decoded(order.path, video)
            for clips in video.clips[:1]:
                self._count(name, clips.status, clips.error)
            if name == stranger:
                assert same_clips(video, self.healthy[name].decoded)
            elif file is not None and file.is_cut and not loses_unannounced_pictures(file.original, video):
                check_valid_clips_are_right(video, self.healthy[file.original].decoded)
        assert probes[names.index(stranger)] == self.healthy[stranger].probe
        assert peak_bytes() < IDLE_BYTES + SMALL_BYTES

    def _count(self, name: str, status: VideoStatus, error: str) -> None:
        self.statuses[status.name.lower()] += 1
        if status in (VideoStatus.CRASHED, VideoStatus.TIMEOUT):
            self.harmed.append(f"{name}: {error}")


@pytest.mark.slow
def test_every_damaged_file_ends_with_a_status_and_harms_no_other(
    modules: tuple[ModuleType, ModuleType],
    originals: dict[str, bytes],
    healthy: dict[str, Healthy],
    decoders: ClipDecoders,
    tmp_path: Path,
) -> None:
    fuzzing = Fuzzing(decoders, tmp_path, healthy)
    deadline = time.monotonic() + TORTURE_SECONDS
    start = 0
    while start < NUM_FILES or time.monotonic() < deadline:
        fuzzing.chunk(
            [modules[0].damaged_file(originals, seed=0, index=index) for index in range(start, start + CHUNK)]
        )
        start += CHUNK
    print(f"{start} damaged files, probed and decoded twice: {dict(fuzzing.statuses)}; harmed: {fuzzing.harmed}")
    # A list of a billion entries may be believed and take all memory that there is; nothing else may happen.
    assert all("more memory" in harm for harm in fuzzing.harmed)
    assert len(fuzzing.harmed) < 0.01 * sum(fuzzing.statuses.values())


@pytest.mark.slow
def test_bombs_of_frames_are_refused_before_they_take_memory(
    modules: tuple[ModuleType, ModuleType],
    originals: dict[str, bytes],
    healthy: dict[str, Healthy],
    decoders: ClipDecoders,
    tmp_path: Path,
) -> None:
    before = healthy["h264.mp4"]
    for name, content in modules[1].frame_bombs(originals):
        path = tmp_path / f"bomb.{name.rpartition('.')[2]}"
        path.write_bytes(content)
        (probe,) = in_time(decoders.probe([path]))
        check_probe(path, probe)
        assert probe.status == (VideoStatus.OK if "grows" in name else VideoStatus.CORRUPT), name
        orders = [VideoOrder(path, before.probe.duration_seconds, before.requests)]  # it was another file once
        if probe.status == VideoStatus.OK:
            orders.append(VideoOrder(path, probe.duration_seconds, requests_of(name, probe)))
        for video in in_time(decoders.decode(orders)):
            check_decoded(path, video)
            assert not any(clips.status in (VideoStatus.CRASHED, VideoStatus.TIMEOUT) for clips in video.clips), name
        assert peak_bytes() < IDLE_BYTES + SMALL_BYTES, name


@pytest.mark.slow
def test_want_of_memory_is_not_called_damage(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    raw = modules[1].h264_of_skips(8192, 8192, num_frames=3)  # 100 MB a frame, 200 MB as RGB
    (tmp_path / "large.h264").write_bytes(raw)
    (tmp_path / "large.mp4").write_bytes(modules[1].remuxed(raw, "mp4"))
    cases = (("large.h264", 2000), ("large.h264", 250), ("large.mp4", 150))
    probe = None
    for name, megabytes in cases:
        decoders = ClipDecoders(DecodeLimits(1, timeout_seconds=120, memory_bytes=megabytes * 10**6))
        try:
            if probe is None:
                (probe,) = decoders.probe([tmp_path / name])
                assert probe.status == VideoStatus.OK, probe
            order = VideoOrder(tmp_path / name, probe.duration_seconds, requests_of(name, probe))
            (video,) = decoders.decode([order])
        finally:
            decoders.close()
        expected = {VideoStatus.CRASHED} if megabytes < 2000 else {VideoStatus.OK, VideoStatus.PADDED}
        assert {clips.status for clips in video.clips} <= expected, f"{name} in {megabytes} MB: {video.clips[0].error}"


@pytest.mark.slow
def test_a_bomb_of_time_is_given_up_and_the_next_video_is_had(
    modules: tuple[ModuleType, ModuleType], healthy: dict[str, Healthy], tmp_path: Path
) -> None:
    bomb, neighbour, alone = tmp_path / "bomb.h264", tmp_path / "h264.mp4", healthy["h264.mp4"]
    bomb.write_bytes(modules[1].time_bomb())
    neighbour.write_bytes(alone.content)
    decoders = ClipDecoders(DecodeLimits(1, timeout_seconds=3, memory_bytes=1 << 30))
    probes = list(decoders.probe([bomb, neighbour]))
    assert [probe.status for probe in probes] == [VideoStatus.OK, VideoStatus.OK]
    orders = [
        VideoOrder(bomb, probes[0].duration_seconds, requests_of("bomb", probes[0])),
        VideoOrder(neighbour, alone.probe.duration_seconds, alone.requests),
    ]
    videos = decoders.decode(orders)
    for clips in next(videos).clips:
        assert (clips.status, clips.error) == (VideoStatus.TIMEOUT, "decoding took more than 3 s")
        assert not clips.valid.any()
    assert same_clips(next(videos), alone.decoded)
    decoders.close()


def test_files_that_are_no_videos(
    modules: tuple[ModuleType, ModuleType], healthy: dict[str, Healthy], decoders: ClipDecoders, tmp_path: Path
) -> None:
    for name in ("h264.mp4", "h264.ts"):
        (tmp_path / name).write_bytes(healthy[name].content)
    before = healthy["h264.mp4"]
    foreign: dict[str, bytes] = modules[0].FOREIGN
    paths = [tmp_path / name for name in foreign]
    for path, content in zip(paths, foreign.values(), strict=True):
        path.write_bytes(content)
    for path, probe in zip(paths, decoders.probe(paths), strict=True):
        check_probe(path, probe)
        assert probe.status in (VideoStatus.CORRUPT, VideoStatus.NO_VIDEO_STREAM), f"{path.name}: {probe}"
    orders = [VideoOrder(path, before.probe.duration_seconds, before.requests) for path in paths]
    for path, video in zip(paths, decoders.decode(orders), strict=True):
        check_decoded(path, video)
        assert not any(clips.valid.any() for clips in video.clips)


def test_an_error_that_nobody_foresaw_is_the_matter_of_one_video(
    harmful: ModuleType, healthy: dict[str, Healthy], tmp_path: Path
) -> None:
    alone = healthy["h264.mp4"]
    order = VideoOrder(tmp_path / "h264.mp4", alone.probe.duration_seconds, alone.requests)
    order.path.write_bytes(alone.content)
    decoders = ClipDecoders(LIMITS)
    for video in decoders.decode([order, order], decode=harmful.decode_that_stumbles):
        check_decoded(order.path, video)
        for clips in video.clips:
            assert clips.status == VideoStatus.CRASHED
            assert clips.error == r"decoding raised KeyError: 'the file:\n an oversight'"
    assert same_clips(next(decoders.decode([order])), alone.decoded)
    decoders.close()


def test_a_file_in_which_streams_begin_midway_ends_where_it_ends(originals: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(originals["h264.ts"])
    with open_video(path) as (container, stream):
        packets = VideoPackets(container, stream)
        demuxed = packets._demuxed

        def stumble() -> Iterator[Any]:  # as PyAV does, depending on what it finds in memory that is not its own
            yield from demuxed
            raise IndexError("list index out of range")

        packets._demuxed = stumble()
        assert sum(1 for _ in packets) == 36
        assert packets.problem == ""
