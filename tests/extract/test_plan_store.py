"""The pre-flight report: what a look at the videos finds, and what the extraction is predicted to amount to."""

import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import av
import numpy as np
import pytest
from distributed import Client

from scale_video.extract import plan_store as plan_store_module
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.calibration import Costs, SampledVideo, measure_costs
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.extract.cluster import dask_client, num_cores
from scale_video.extract.datasets.folder import list_folder
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.forecast import Forecast, forecast, predicted_block_size
from scale_video.extract.plan_store import PlanReport, _duplicates, plan_store
from scale_video.extract.views import GridView, RandomView
from scale_video.store.create import add_backbone, default_block_size
from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

VIEWS = (RandomView(num_clips=3, span_seconds=0.5), GridView(num_times=2, num_places=2, span_seconds=0.5))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(scheduler=None, num_workers=1, processes=False) as client:
        yield client


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_painted_video: Callable[..., Path]) -> Path:
    """Train and test folders of two classes, with one of each trouble."""
    root = tmp_path_factory.mktemp("videos")
    for part in ("train", "test"):
        for label in ("a", "b"):
            (root / part / label).mkdir(parents=True)
    make_painted_video(root / "train/a/plain.mp4")
    make_painted_video(root / "train/b/rotated.mp4", rotation_degrees=90)
    pts = np.cumsum([1, 2, 1, 4, 1, 1, 3, 2, 1, 5] * 3).tolist()
    make_painted_video(root / "train/b/variable.mkv", num_frames=30, pts=pts, time_base=Fraction(1, 25))
    make_painted_video(root / "test/a/short.mp4", num_frames=10)
    make_painted_video(root / "test/b/other.mp4", first_number=100)
    shutil.copy(root / "train/a/plain.mp4", root / "test/a/leak.mp4")
    shutil.copy(root / "train/a/plain.mp4", root / "train/b/twin.mp4")
    shutil.copy(root / "test/b/other.mp4", root / "test/b/other copy.mp4")
    (root / "test/b/text.mp4").write_text("no film")
    (root / "train/a/gone.mp4").symlink_to(root / "nowhere.mp4")
    with av.open(str(root / "train/a/sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return root


def plan(client: Client, root: Path, url: Path, **options: object) -> PlanReport:
    return plan_store(
        client,
        store_url=str(url),
        data_root=str(root),
        videos=list_folder(root),
        views=VIEWS,
        attributes={"dataset": "folder"},
        **options,  # type: ignore[arg-type]
    )


def test_the_report_names_every_trouble(client: Client, root: Path, tmp_path: Path) -> None:
    report = plan(client, root, tmp_path / "x.zarr")
    assert report.num_videos == 11
    assert report.num_clips == {"random": 24, "grid": 32}
    assert report.clips_per_video == {"random": 3, "grid": 4}
    assert report.num_unreadable == {"corrupt": 1, "missing": 1, "no_video_stream": 1}
    assert {(f.path, f.status) for f in report.unreadable} == {
        ("test/b/text.mp4", VideoStatus.CORRUPT),
        ("train/a/gone.mp4", VideoStatus.MISSING),
        ("train/a/sound.mp4", VideoStatus.NO_VIDEO_STREAM),
    }
    assert (report.num_rotated, report.num_variable_rate, report.num_too_short) == (1, 1, 1)
    assert set(report.duplicates) == {
        ("test/a/leak.mp4", "train/a/plain.mp4"),
        ("test/a/leak.mp4", "train/b/twin.mp4"),
        ("test/b/other copy.mp4", "test/b/other.mp4"),
    }
    assert report.leaking == (("train/a/plain.mp4", "test/a/leak.mp4"),)
    assert report.num_unlabelled == {"label": 0}
    assert report.forecast is None
    assert report.block_size == FeatureStore.open(tmp_path / "x.zarr").block_size == default_block_size(11)


def test_bytes_are_those_of_the_arrays_and_time_is_above_zero(client: Client, root: Path, tmp_path: Path) -> None:
    url = tmp_path / "x.zarr"
    backbone = parse_backbone("motion3d")
    predicted = plan(client, root, url, backbones=[backbone]).forecast
    assert predicted is not None
    sizes = {}
    for view in ("random", "grid"):
        add_backbone(url, view=view, name="motion3d", feature_dim=128, weights_digest="ab", attributes={})
        array = FeatureStore.open(url).backbone_arrays(view, "motion3d")["features"]
        sizes[f"{view}/motion3d"] = math.prod(array.shape) * array.dtype.itemsize
    assert {target.features: target.num_bytes for target in predicted.targets} == sizes
    assert predicted.num_bytes == sum(sizes.values())
    assert {target.features: target.num_clips for target in predicted.targets} == {
        "random/motion3d": 24,
        "grid/motion3d": 32,
    }
    assert predicted.num_sampled == 3
    assert predicted.decode_hours > 0
    assert predicted.forward_hours > 0
    both = predicted.decode_hours + predicted.forward_hours
    slower = max(predicted.decode_hours, predicted.forward_hours)  # one task, and one decoder beside it
    assert predicted.hours == pytest.approx(max(both / num_cores(), slower))
    assert predicted.seconds_per_video == pytest.approx(predicted.hours * 3600 / 11)


def test_a_backbone_that_cannot_be_had_only_costs_the_prediction(
    client: Client, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = plan(client, root, tmp_path / "x.zarr", backbones=[parse_backbone("videomae:/nowhere/at/all@x")])
    assert report.forecast is None
    assert "time and size cannot be predicted" in caplog.text
    assert FeatureStore.open(tmp_path / "x.zarr").num_videos == 11


def test_nothing_is_created_where_the_disk_is_gone_by_then(client: Client, root: Path, tmp_path: Path) -> None:
    def gone() -> None:
        raise StoreError("the lock is gone")

    with pytest.raises(StoreError, match="the lock is gone"):
        plan(client, root, tmp_path / "mount" / "x.zarr", check=gone)
    assert not (tmp_path / "mount").exists()


def test_whatever_goes_wrong_with_the_prediction_the_plan_is_made(
    client: Client, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> Forecast:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(plan_store_module, "forecast", fail)
    assert plan(client, root, tmp_path / "x.zarr", backbones=[parse_backbone("motion3d")]).forecast is None
    assert "time and size cannot be predicted: CUDA out of memory" in caplog.text
    assert FeatureStore.open(tmp_path / "x.zarr").num_videos == 11


@pytest.mark.parametrize(("asked", "expected"), [(None, 5), (7, 7)])
def test_slow_videos_make_small_blocks_unless_a_size_is_asked_for(
    client: Client, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
) -> None:
    slow = Forecast((), 0, hours=1, decode_hours=1, forward_hours=0, seconds_per_video=110, num_tasks=1, num_sampled=3)
    monkeypatch.setattr(plan_store_module, "forecast", lambda *_, **__: slow)
    # Of 11 videos the default is a block each: pretend that there were more.
    monkeypatch.setattr("scale_video.extract.forecast.default_block_size", lambda _: 64)
    monkeypatch.setattr(plan_store_module, "default_block_size", lambda _: 64)
    report = plan(client, root, tmp_path / "x.zarr", backbones=[parse_backbone("motion3d")], block_size=asked)
    assert report.block_size == FeatureStore.open(tmp_path / "x.zarr").block_size == expected
    assert report.default_block_size == 64


def test_predicted_block_size() -> None:
    assert predicted_block_size(100_000, seconds_per_video=math.nan) == 64
    assert predicted_block_size(100_000, seconds_per_video=600 / 64) == 64
    assert predicted_block_size(100_000, seconds_per_video=30) == 20
    assert predicted_block_size(100_000, seconds_per_video=7200) == 1
    assert predicted_block_size(64, seconds_per_video=0.001) == 2


def test_the_prediction_scales_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the videos, ten times the decoding and the forward pass; two machines, half the time."""

    costs = Costs(
        decode_seconds_per_pixel=1e-6,
        resize_seconds_per_clip=0.01,
        forward_seconds={"random": {"motion3d": 0.5}},
        feature_dims={"motion3d": 128},
        num_cores=8,
        num_sampled=3,
    )
    probe = VideoProbe(VideoStatus.OK, "", 4.0, 25.0, 100, 100, 200)
    silent = VideoProbe(VideoStatus.NO_VIDEO_STREAM, "has no video stream")

    def predict(num_videos: int, threads: dict[str, int], device: str = "cpu", num_decoders: int = 1) -> Forecast:
        probes = [probe] * num_videos + [silent]
        ids = [f"{row}.mp4" for row in range(num_videos + 1)]
        submitted = SimpleNamespace(result=lambda: costs)
        backbone = parse_backbone("motion3d")
        if device == "cuda":
            backbone = SimpleNamespace(name="motion3d", device="cuda")  # type: ignore[assignment]
        view = RandomView(num_clips=3)
        return forecast(
            SimpleNamespace(submit=lambda *_, **__: submitted, nthreads=lambda: threads),
            data_root="",
            paths=ids,
            probes=probes,
            views=[view],
            plans=[draw_view(view, ProbedVideos.of(ids, probes))],
            backbones=[backbone],
            limits=DecodeLimits(num_decoders),
        )

    decode, forward = 10 * (100 * 100 * 200 * 1e-6 + 3 * 0.01), 10 * 3 * 0.5
    ten = predict(10, {"tcp://10.0.0.1:1": 8})
    assert ten.decode_hours * 3600 == pytest.approx(decode)
    assert ten.forward_hours * 3600 == pytest.approx(forward)
    assert ten.hours * 3600 == pytest.approx((decode + forward) / 8)  # all cores have something to do
    assert ten.num_bytes == 11 * 3 * 128 * 2
    assert predict(100, {"tcp://10.0.0.1:1": 8}).hours == pytest.approx(10 * ten.hours)
    assert predict(10, {"tcp://10.0.0.1:1": 8, "tcp://10.0.0.2:1": 8}).hours == pytest.approx(ten.hours / 2)
    # Two workers of one machine share its cores.
    assert predict(10, {"tcp://10.0.0.1:1": 4, "tcp://10.0.0.1:2": 4}).hours == pytest.approx(ten.hours)
    # One task: one forward pass at a time, and its one decoder, or its four, whatever the cores could do.
    assert predict(10, {"tcp://10.0.0.1:1": 1}).hours * 3600 == pytest.approx(decode)
    assert predict(10, {"tcp://10.0.0.1:1": 1}, num_decoders=4).hours * 3600 == pytest.approx(forward)
    # On a GPU the forward pass takes no core; each worker has a GPU of its own.
    assert predict(10, {"tcp://a:1": 2}, "cuda", num_decoders=2).hours * 3600 == pytest.approx(forward)
    gpus = predict(10, {f"tcp://a:{port}": 1 for port in range(8)}, "cuda")
    assert gpus.hours * 3600 == pytest.approx(max(decode / 8, forward / 8))
    assert gpus.seconds_per_video == pytest.approx(gpus.hours * 3600 * 8 / 11)


def test_measured_costs_are_of_the_order_of_a_clip(root: Path) -> None:
    """A file that is no film is left out of the measurement."""

    whole = np.array([[0, 0, 0, 1, 1, 0, 1.0]], np.float32)
    samples = [
        SampledVideo("train/a/plain.mp4", 2.0, {"random": whole}, 60 * 64 * 96),
        SampledVideo("train/a/gone.mp4", 2.0, {"random": whole}, 60 * 64 * 96),
    ]
    costs = measure_costs(
        str(root),
        samples,
        nominal_sizes={"random": 224},
        backbones=[parse_backbone("motion3d")],
        limits=DecodeLimits(),
    )
    assert costs.num_sampled == 1
    assert 0 < costs.decode_seconds_per_pixel * samples[0].num_pixels < 5
    assert 0 < costs.forward_seconds["random"]["motion3d"] < 5
    assert costs.feature_dims == {"motion3d": 128}


def test_duplicates_against_a_slow_recomputation() -> None:
    generator = np.random.default_rng(7)
    for _ in range(20):
        num_videos = int(generator.integers(1, 40))
        digests = generator.integers(0, 12, num_videos).tolist()
        ids = tuple(f"{row:02d}.mp4" for row in range(num_videos))
        splits = {name: generator.integers(0, 4, num_videos).astype(np.uint8) for name in ("1", "2")}
        videos = VideoTable(ids=ids, paths=ids, groups=ids, splits=splits)
        probes = [VideoProbe(VideoStatus.CORRUPT, "x", content_digest=digest) for digest in digests]
        rows_of = defaultdict(list)
        for row, digest in enumerate(digests):
            if digest:
                rows_of[digest].append(row)
        expected = [(ids[rows[0]], ids[row]) for rows in rows_of.values() for row in rows[1:]]
        leaks = set()
        for split in splits.values():
            for rows in rows_of.values():
                trained = [row for row in rows if split[row] == 1]
                leaks |= {(ids[trained[0]], ids[row]) for row in rows if split[row] == 3 and trained}
        duplicates, leaking = _duplicates(videos, probes)
        assert sorted(duplicates) == sorted(expected)
        assert leaking == tuple(sorted(leaks))


def test_many_equal_files_are_no_matter_of_squares() -> None:
    num_videos = 240_000
    ids = tuple(f"{row}.mp4" for row in range(num_videos))
    split = np.where(np.arange(num_videos) % 2, 1, 3).astype(np.uint8)
    videos = VideoTable(ids=ids, paths=ids, groups=ids, splits={"1": split})
    probes = [VideoProbe(VideoStatus.CORRUPT, "x", content_digest=1 + row % 3) for row in range(num_videos)]
    started = perf_counter()
    duplicates, leaking = _duplicates(videos, probes)
    assert perf_counter() - started < 20  # .6 s on an idle core; all pairs would be 28 800 000 000
    assert len(duplicates) == num_videos - 3
    assert len(leaking) == num_videos // 2
