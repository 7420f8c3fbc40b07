"""Parts of files: their clips show what those of a file that was cut to the part show, to the last byte."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from scale_video.extract import probing
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, decode_clips
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.plan_store import _duplicates
from scale_video.extract.probe import probe_video
from scale_video.extract.sample_frames import within_part
from scale_video.extract.views import GridView, RandomView, View
from scale_video.store.video_parts import VideoParts
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

FPS, NUM_FRAMES = 25, 160
# Seconds and the frames [first, stop) that lie in them; the fourth is shorter than a clip, the last ends with the file.
PARTS = [
    ((0, 2), (0, 50)),
    ((2, 4.4), (50, 110)),
    ((0.04, 100), (1, 160)),
    ((3, 3.4), (75, 85)),
    ((4.4, 99), (110, 160)),
]
VIEWS: tuple[View, ...] = (RandomView(num_clips=8, span_seconds=0.8), GridView(num_times=3, span_seconds=0.8))


def noisy(number: int) -> NDArray[np.uint8]:
    """A frame that no other is like, with soft noise that survives the codec."""
    coarse = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def cut(source: Path, target: Path, *, first: int, stop: int) -> Path:
    """Write frames [first, stop) of a file as they were decoded, without a loss."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index, frame in enumerate(old.decode(video=0)):
            if first <= index < stop:
                frame.pts, frame.time_base = index - first, Fraction(1, FPS)
                new.mux(stream.encode(frame))
        new.mux(stream.encode(None))
    return target


def clips_of(path: Path, view: View, *, begin: float = 0.0, until: float = math.inf) -> DecodedClips:
    """The clips of a part, drawn as for any other file of the same id."""
    probe = probe_video(path)
    parts = VideoParts(np.array([begin]), np.array([until]))
    plan = draw_view(view, ProbedVideos.of(["id"], [probe], parts))
    request = ClipRequest(plan.coordinates[0], plan.valid[0], 16, 32, begin_seconds=begin, until_seconds=until)
    return decode_clips(path, [request], duration_seconds=probe.duration_seconds).clips[0]


@pytest.fixture(scope="module", params=["a.mp4", "a.mkv", "a.avi"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_painted_video: Callable[..., Path]
) -> Path:
    """Several groups of pictures; the avi has B-frames, so that it is decoded from the beginning."""
    path = tmp_path_factory.mktemp("whole") / request.param
    return make_painted_video(path, num_frames=NUM_FRAMES, fps=FPS, gop_size=30, draw=noisy)


@pytest.mark.parametrize(("seconds", "frames"), PARTS)
def test_a_part_is_what_a_file_cut_to_it_is(
    tmp_path: Path, whole: Path, seconds: tuple[float, float], frames: tuple[int, int]
) -> None:
    apart = cut(whole, tmp_path / "cut.mkv", first=frames[0], stop=frames[1])
    for view in VIEWS:
        expected, found = clips_of(apart, view), clips_of(whole, view, begin=seconds[0], until=seconds[1])
        assert found.valid.all()
        np.testing.assert_array_equal(found.frames, expected.frames)
        assert found.status == expected.status
        assert (found.status == VideoStatus.PADDED) == (frames[1] - frames[0] < 0.8 * FPS)
        assert len(np.unique(found.frames.reshape(-1, 32 * 32 * 3), axis=0)) > 8  # not one frame again and again


def test_no_frame_from_outside_is_shown(
    tmp_path: Path, make_painted_video: Callable[..., Path], read_number: Callable[..., int]
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=100, fps=25)
    coordinates = np.array([[0, 0, 0, 1, 1, 0.9, 1.5], [0, 0, 0, 1, 1, 1.5, 3.0]], dtype=np.float32)
    request = ClipRequest(coordinates, np.ones(2, np.bool_), 4, 64, begin_seconds=1.0, until_seconds=2.0)
    (clips,) = decode_clips(path, [request], duration_seconds=4.0).clips
    numbers = [[read_number(frame) for frame in clip] for clip in clips.frames]
    assert numbers == [[25, 27, 32, 37], [37, 49, 49, 49]]
    assert clips.status == VideoStatus.PADDED


@pytest.mark.parametrize(
    ("begin", "until", "times", "expected"),
    [
        (1, 2, [0.9, 1, 1.4, 1.9985, 2, 7], [1, 1, 1.4, 1.998, 1.998, 1.998]),
        (0, math.inf, [0, 5.5, 1e9], [0, 5.5, 1e9]),
        (3, 3.0005, [2, 3, 4], [3, 3, 3]),  # shorter than the tolerance: its first frame
    ],
)
def test_samples_are_moved_into_the_part(begin: float, until: float, times: list[float], expected: list[float]) -> None:
    found = within_part(np.array(times), begin_seconds=begin, until_seconds=until)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_clips_are_drawn_within_the_part() -> None:
    probe = VideoProbe(VideoStatus.OK, "", 100.0, 25.0, 2500, 64, 96)
    ids = ("a#10-30", "a#10-", "a#99-", "a#20-20.5")
    parts = VideoParts(np.array([10, 10, 99, 20.0]), np.array([30, np.inf, np.inf, 20.5]))
    videos = ProbedVideos.of(ids, [probe] * 4, parts)
    assert videos.duration_seconds.tolist() == [20, 90, 1, 0.5]
    for view in (RandomView(num_clips=300, span_seconds=2), GridView(span_seconds=2)):
        start = draw_view(view, videos).coordinates[:, :, 5]
        assert (start >= parts.begin_seconds[:, None]).all()
        assert (start[0] <= 28).all()
        assert (start[1] <= 98).all()
        assert (start[2] == 99).all()
        assert (start[3] == 20).all()
    assert draw_view(RandomView(num_clips=300), videos).coordinates[1, :, 5].max() > 95


def test_a_file_of_many_parts_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def probe(client: object, root: str, paths: tuple[str, ...], **_: object) -> tuple[VideoProbe, ...]:
        seen.extend(paths)
        missing = VideoProbe(VideoStatus.MISSING, error="cannot be read: No such file or directory")
        return tuple(
            missing if path == "c" else VideoProbe(VideoStatus.OK, "", 10.0, 25, 250, 64, 96) for path in paths
        )

    monkeypatch.setattr(probing, "probe_videos", probe)
    paths = ("b", "a", "b", "a", "a", "c")
    starts = np.array([np.nan, 1, 9.5, 10, 12.5, 50])
    videos = VideoTable(ids=tuple("012345"), paths=paths, groups=paths, start_seconds=starts)
    probes = probing.probe_table(None, "/videos", videos)  # type: ignore[arg-type]
    assert seen == ["b", "a", "c"]
    names = ("OK", "OK", "OK", "CORRUPT", "CORRUPT", "MISSING")
    assert [probe.status for probe in probes] == [VideoStatus[name] for name in names]
    assert probes[4].error == "the part begins at 12.5 s, but the file ends at 10.00 s"
    assert probes[5].error == "cannot be read: No such file or directory"


def test_parts_of_a_file_are_no_copies_and_leak_where_they_overlap() -> None:
    bounds = [("a", 0, 5), ("a", 5, 10), ("a", 4, 6), ("b", 0, 5), ("b", 20, 30), ("c", 0, np.inf)]
    split = np.array([1, 3, 3, 3, 3, 3], dtype=np.uint8)
    start, end = (np.array([row[place] for row in bounds], dtype=np.float64) for place in (1, 2))
    end[np.isinf(end)] = np.nan
    paths = tuple(row[0] for row in bounds)
    ids = tuple("012345")
    videos = VideoTable(ids, paths, paths, splits={"1": split}, start_seconds=start, end_seconds=end)
    probes = [VideoProbe(VideoStatus.CORRUPT, "x", content_digest=9)] * 6  # a, b and c are copies of one file
    duplicates, leaking = _duplicates(videos, probes)
    assert duplicates == (("a#-5", "b#-5"),)
    assert leaking == (("a#-5", "a#4-6"), ("a#-5", "b#-5"), ("a#-5", "c"))


@pytest.mark.parametrize(("begin", "until"), [(-1.0, 2.0), (2.0, 2.0), (0.0, math.nan)])
def test_parts_without_extent_are_refused(begin: float, until: float) -> None:
    clip = np.array([[0, 0, 0, 1, 1, 0, 1]], dtype=np.float32)
    with pytest.raises(ValueError, match=r"begin_seconds \(.*\) must be 0 or more, and less than until_seconds"):
        ClipRequest(clip, np.ones(1, np.bool_), 4, 64, begin_seconds=begin, until_seconds=until)


def test_overlaps_against_a_slow_recomputation() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        num_rows = int(generator.integers(2, 30))
        start = generator.integers(0, 6, num_rows) / 2
        end = start + generator.integers(1, 5, num_rows) / 2
        end[generator.random(num_rows) < 0.3] = np.nan
        paths = tuple(generator.choice(["a", "b", "c"], num_rows).tolist())
        split = generator.integers(0, 4, num_rows).astype(np.uint8)
        ids = tuple(map(str, range(num_rows)))
        videos = VideoTable(ids, paths, paths, splits={"1": split}, start_seconds=start, end_seconds=end)
        digests = [{"a": 5, "b": 6, "c": 5}[path] for path in paths]  # c is a copy of a
        probes = [VideoProbe(VideoStatus.CORRUPT, "x", content_digest=digest) for digest in digests]
        last = np.where(np.isnan(end), np.inf, end)
        names = [path + videos.parts.suffix(row) for row, path in enumerate(paths)]
        leaks, copies = set(), []
        for row in range(num_rows):
            equal = [other for other in range(num_rows) if digests[other] == digests[row]]
            overlapping = [o for o in equal if split[o] == 1 and start[o] < last[row] and start[row] < last[o]]
            if split[row] == 3 and overlapping:
                leaks.add((names[overlapping[0]], names[row]))
            same = [other for other in equal if (start[other], last[other]) == (start[row], last[row])]
            if same[0] != row:
                copies.append((names[same[0]], names[row]))
        duplicates, leaking = _duplicates(videos, probes)
        assert leaking == tuple(sorted(leaks))
        assert sorted(duplicates) == sorted(copies)
