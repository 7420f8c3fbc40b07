"""The job with stand-ins for decoding and backbone: one pass for all targets, retries, announcements, lost blocks."""

import importlib
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from distributed import Client

from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.block_task import BlockWork, ExtractionTask, Target, extract_block
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.cluster import dask_client
from scale_video.extract.decode import decode_clips
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.job import JobProgress, run_extraction
from scale_video.extract.views import GridView, RandomView
from scale_video.store.create import add_backbone, create_store
from scale_video.store.errors import PlanMismatchError, StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

NUM_VIDEOS, BLOCK_SIZE = 12, 4
OK_PROBE = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=30, num_frames=300, height=24, width=32)
CORRUPT_PROBE = VideoProbe(VideoStatus.CORRUPT, error="is empty (0 bytes)")
HARMED = {"bad_crash.mp4": VideoStatus.CRASHED, "bad_hang.mp4": VideoStatus.TIMEOUT, "bad_eat.mp4": VideoStatus.CRASHED}


@pytest.fixture(scope="module")
def stubs() -> Iterator[ModuleType]:
    """The module ``decode_stubs``, importable by name here and in every process that is started from here."""
    folder = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        yield importlib.import_module("decode_stubs")


@pytest.fixture(scope="module")
def client(stubs: ModuleType) -> Iterator[Client]:
    with dask_client(scheduler=None, num_workers=2) as client:
        yield client


def make_store(url: Path, *, bad: bool = False, backbones: tuple[str, ...] = ("one", "two")) -> FeatureStore:
    names = [f"video_{number:02d}.mp4" for number in range(NUM_VIDEOS)]
    if bad:
        names[2], names[5], names[6] = HARMED
    probes = [OK_PROBE] * NUM_VIDEOS
    probes[9] = CORRUPT_PROBE
    ids = tuple(names)
    probed = ProbedVideos.of(ids, probes)
    plans = [draw_view(view, probed) for view in (RandomView(num_clips=3), GridView(num_times=2, num_places=1))]
    create_store(
        url,
        videos=VideoTable(ids=ids, paths=ids, groups=ids),
        probes=probes,
        plans=plans,
        block_size=BLOCK_SIZE,
        attributes={"dataset": "stubs"},
    )
    for name in backbones:
        add_stub(url, name)
    return FeatureStore.open(url)


def add_stub(url: Path, name: str) -> None:
    size = {"one": 8, "two": 6}[name]
    for view in ("random", "grid"):
        add_backbone(
            url,
            view=view,
            name=name,
            feature_dim=4,
            weights_digest="0" * 64,
            attributes={"num_frames": 2, "frame_size": size, "batch_size": 5},
        )


def task_of(store: FeatureStore, stubs: ModuleType, *, backbones: tuple[str, ...] = ("one", "two")) -> ExtractionTask:
    targets = [
        Target(view, BackboneRequest(name, None, name), store.plan_digest(view))
        for view in ("random", "grid")
        for name in backbones
    ]
    return ExtractionTask(
        store_url=store.location.url,
        data_root="/nowhere",
        targets=tuple(targets),
        limits=DecodeLimits(1, timeout_seconds=120, memory_bytes=1 << 30),
        decode=stubs.decode,
        load=stubs.load,
    )


def blocks(store: FeatureStore) -> dict[str, bytes]:
    """Every chunk of every block, by its path."""
    root = Path(store.location.root)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("*/*/*/c.*"))}


def test_one_pass_serves_all_targets_and_equals_a_pass_for_each(
    tmp_path: Path, client: Client, stubs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = make_store(tmp_path / "together.zarr")
    seen: list[JobProgress] = []
    report = run_extraction(client, task_of(together, stubs), progress=seen.append)
    assert set(report.targets) == {"random/one", "random/two", "grid/one", "grid/two"}
    assert report.targets["grid/two"].counts == {"ok": 11, "corrupt": 1}
    assert [failure.path for failure in report.targets["random/one"].failures] == ["video_09.mp4"]
    assert seen[-1].num_videos == NUM_VIDEOS
    assert seen[-1].num_clips == 11 * 2 * (3 + 2)
    assert report.progress.num_failures == 1
    assert report.progress.failures == {"corrupt": 1}  # once, though it failed under four targets
    apart = make_store(tmp_path / "apart.zarr", backbones=())
    for name in ("two", "one"):  # added later, in another order
        add_stub(tmp_path / "apart.zarr", name)
        apart = FeatureStore.open(tmp_path / "apart.zarr")
        run_extraction(client, task_of(apart, stubs, backbones=(name,)))
    assert blocks(apart) == blocks(together)
    assert verify_store(tmp_path / "apart.zarr").damaged == ()


def test_features_lie_where_their_clips_are(tmp_path: Path, client: Client, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    run_extraction(client, task_of(store, stubs))
    features = store.read_features("random", "one")
    for video in range(NUM_VIDEOS):
        for clip in range(3):
            if video == 9:
                assert not features.valid[video, clip]
            else:
                grey = stubs.grey(f"video_{video:02d}.mp4", clip)
                assert (features.features[video, clip] == grey).all()


@pytest.mark.slow
def test_harmful_videos_are_named_spare_the_others_and_can_be_tried_again(
    tmp_path: Path, client: Client, stubs: ModuleType
) -> None:
    healthy = make_store(tmp_path / "healthy.zarr", bad=True)
    run_extraction(client, task_of(healthy, stubs))
    harmed = make_store(tmp_path / "harmed.zarr", bad=True)
    limits = DecodeLimits(2, timeout_seconds=10, memory_bytes=1 << 30)
    task = replace(task_of(harmed, stubs), decode=stubs.decode_or_harm, limits=limits)
    report = run_extraction(client, task)
    for target in report.targets.values():
        assert {f.path: f.status for f in target.failures} == {**HARMED, "video_09.mp4": VideoStatus.CORRUPT}
        assert {f.error for f in target.failures} == {
            "decoding ended its process (SIGSEGV)",
            "decoding took more than 10 s",
            "decoding needs more memory than the 1 GiB it may have",
            "is empty (0 bytes)",
        }
    before, expected = harmed.read_features("random", "one"), healthy.read_features("random", "one")
    spared = [row for row, name in enumerate(harmed.ids) if name not in HARMED]
    assert np.array_equal(before.features[spared], expected.features[spared])
    # A retry of other statuses finds nothing; of these, it makes the store what it would have been.
    nothing = run_extraction(None, replace(task, retry=frozenset({VideoStatus.PARTIAL})))
    assert nothing.progress.num_videos == 0
    retried = run_extraction(
        client,
        replace(task, decode=stubs.decode, retry=frozenset({VideoStatus.CRASHED, VideoStatus.TIMEOUT})),
    )
    assert retried.progress.num_clips == 3 * 2 * (3 + 2), "only what was harmed is computed again"
    assert blocks(harmed) == blocks(healthy)


def test_of_a_harmful_video_no_pixels_are_left(stubs: ModuleType) -> None:
    request = ClipRequest(np.tile(np.float32([0, 0, 0, 1, 1, 0, 1]), (2, 1)), np.ones(2, np.bool_), 2, 8)
    orders = [VideoOrder(Path(name), 10, (request,)) for name in ("good.mp4", "bad_eat.mp4", "bad_crash.mp4")]
    with closing(ClipDecoders(DecodeLimits(memory_bytes=1 << 30))) as decoders:
        painted = [
            (clips.status, bool(clips.frames.any()))
            for video in decoders.decode(orders, decode=stubs.decode_or_harm)
            for clips in video.clips
        ]
    assert painted == [(VideoStatus.OK, True), (VideoStatus.CRASHED, False), (VideoStatus.CRASHED, False)]


def test_a_video_whose_probe_failed_is_not_tried_again(tmp_path: Path, client: Client, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    run_extraction(client, task_of(store, stubs))
    again = run_extraction(None, replace(task_of(store, stubs), retry=frozenset({VideoStatus.CORRUPT})))
    assert again.progress.num_videos == 0


def test_only_missing_blocks_are_done(tmp_path: Path, client: Client, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    task = task_of(store, stubs)
    extract_block(task, BlockWork(1, (0, 1, 2, 3)))
    extract_block(task, BlockWork(2, (0,)))
    report = run_extraction(client, task)
    assert report.progress.num_videos == 2 * BLOCK_SIZE
    assert store.committed("grid", "two").all()
    assert verify_store(tmp_path / "x.zarr").damaged == ()


def test_a_check_ends_the_job(tmp_path: Path, client: Client, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")

    def lost() -> None:
        raise StoreError("the lock is gone")

    with pytest.raises(StoreError, match="the lock is gone"):
        run_extraction(client, task_of(store, stubs), check=lost)


def test_other_weights_and_other_plans_are_refused(tmp_path: Path, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    task = task_of(store, stubs)
    with pytest.raises(
        PlanMismatchError, match=r"'one' on worker .* differs from what the store records in weights_digest; give every"
    ):
        extract_block(replace(task, load=stubs.load_other), BlockWork(0, (0,)))
    elsewhere = replace(task.targets[0], plan_digest="f" * 32)
    with pytest.raises(PlanMismatchError, match="another plan"):
        extract_block(replace(task, targets=(elsewhere,)), BlockWork(0, (0,)))
    assert not store.committed("random", "one").any()


def test_a_block_whose_workers_always_die_is_lost_and_named(
    tmp_path: Path, stubs: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scale_video.extract.cluster.ALLOWED_FAILURES", 0)
    store = make_store(tmp_path / "x.zarr")
    task = replace(task_of(store, stubs), load=stubs.load_deadly)
    with dask_client(scheduler=None, num_workers=1) as client:
        report = run_extraction(client, task)
    assert 1 in report.lost_blocks
    assert "the workers that extracted block 1 died again and again" in caplog.text
    assert not store.committed("random", "one")[1]


def test_a_folder_of_videos_that_is_gone_ends_the_job_instead_of_making_all_videos_missing(
    tmp_path: Path, stubs: ModuleType
) -> None:
    store = make_store(tmp_path / "x.zarr")
    (tmp_path / "root").mkdir()
    task = replace(task_of(store, stubs), decode=decode_clips, data_root=str(tmp_path / "root"))
    with pytest.raises(StoreError, match=r"the folder of videos .* is empty on worker"):
        extract_block(task, BlockWork(0, (0,)))
    assert not store.committed("random", "one").any()
    (tmp_path / "root" / "another.mp4").touch()
    extract_block(task, BlockWork(0, (0,)))
    assert set(store.outcome("random", "one").status[:BLOCK_SIZE]) == {VideoStatus.MISSING}


def test_features_of_one_video_beyond_float16_are_its_own_matter(tmp_path: Path, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    loud = max(stubs.grey(name, clip) for name in store.ids[:BLOCK_SIZE] for clip in range(3))
    task = replace(task_of(store, stubs), load=partial(stubs.load_with_gain, gain=65504 / (loud - 0.5)))
    extract_block(task, BlockWork(0, (0,)))
    outcome, features = store.outcome("random", "one"), store.read_features("random", "one", np.arange(BLOCK_SIZE))
    failed = [row for row in range(BLOCK_SIZE) if outcome.status[row] != VideoStatus.OK]
    assert [outcome.status[row] for row in failed] == [VideoStatus.PARTIAL]
    assert outcome.error[failed[0]] == "1 of 3 clips have features that float16 cannot hold"
    assert np.count_nonzero(~features.valid) == 1
    assert verify_store(tmp_path / "x.zarr").damaged == ()


def test_a_backbone_whose_features_are_all_beyond_float16_ends_the_job(tmp_path: Path, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    with pytest.raises(ValueError, match="float16 cannot hold"):
        extract_block(replace(task_of(store, stubs), load=stubs.load_loud), BlockWork(0, (0,)))


def test_progress_counts_videos_of_blocks_under_way(tmp_path: Path, client: Client, stubs: ModuleType) -> None:
    store = make_store(tmp_path / "x.zarr")
    seen: list[int] = []
    task = replace(task_of(store, stubs), decode=stubs.decode_slowly)
    run_extraction(client, task, progress=lambda progress: seen.append(progress.num_videos))
    assert any(done % BLOCK_SIZE for done in seen), "the bar moves within blocks"
    assert seen[-1] == NUM_VIDEOS


@pytest.mark.parametrize("limits", [{"num_processes": 0}, {"timeout_seconds": 0}, {"timeout_seconds": 1e7}])
def test_limits_that_cannot_be_kept_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above 0|at most 1,000,000 s"):
        DecodeLimits(**limits)  # type: ignore[arg-type]
