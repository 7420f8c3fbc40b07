"""What the extraction job adds to its parts: overhead, scaling over workers, memory of the client and the scheduler.

    python benchmarks/bench_job.py --json job.json

Real Dask worker processes, real decoding processes, a real store on disk; where a case says stub, decoding and the
backbone are replaced by functions that do nothing (``job_stubs.py``), so that only the job is measured.

- ``overhead of a video``: wall time and CPU time of a job with stubs, per video, against a limit of 2 ms.
- ``two workers``: one worker against two (the limit is 2), on whole blocks. Decoding takes 30 ms for each video, once
  waiting and once keeping a core busy, for which two cores must be free; and once a core for 100 ms, as UCF101's do.
- ``its parts``: real videos, small rendered ones and others like UCF101's, and the shipped backbone. Decoding, forward
  passes and writing one after the other, in as many processes as there are workers but without a job around them,
  against the whole job: wall time, which means something on a quiet machine only, and CPU time.
- ``memory``: resident memory of the process that holds client and scheduler, after a tenth of the videos and at the
  end.
- ``tasks``: how many tasks that do nothing pass through client and scheduler in a second, against the 100 that 1 000
  workers need whose blocks take 10 s.
- ``finished store``: how long a job takes to find out that nothing is to be done, against a limit of 5 s.

The workers are started and warm before a case begins. A ratio above 1: ours is better than the peer or the limit. Other
work on the machine makes wall times longer; each line ends with the machine's load as it was.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil
import torch
from bench_decode import write_video
from distributed import Client
from job_stubs import FEATURE_DIM, UCF_SECONDS, load_stub, spinning_decode, stub_decode, waiting_decode

from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.block_task import ExtractionTask, Target
from scale_video.extract.bounded_map import bounded_map
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.cluster import dask_client
from scale_video.extract.datasets.edited_videos import DemoParameters, render_demo
from scale_video.extract.decode import decode_clips
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.forward_batches import ForwardBatches
from scale_video.extract.job import JobProgress, run_extraction
from scale_video.extract.probe import probe_video
from scale_video.extract.views import AreaCrop, RandomView, View
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW = "random"
NUM_CLIPS = 16
LIMIT_MS = 2.0
TASKS_LIMIT = 100.0
FINISHED_LIMIT_S = 5.0
WORKERS_VIDEOS = 32 * 12
"""Whole blocks, as many for each of two workers: else the last one is waited for, which a long job does not show."""
COPIES = 4
UCF_FILES = 12
CASES = ("overhead", "workers", "parts", "memory", "tasks", "finished")
DEMO_VIEW = RandomView(span_seconds=0.5, nominal_size=32, crop=AreaCrop())


def make_store(
    url: Path,
    *,
    videos: VideoTable,
    probes: list[VideoProbe],
    view: View,
    backbone: str,
    attributes: dict[str, Any],
    block_size: int | None = None,
) -> FeatureStore:
    """A planned store with the empty arrays of one backbone."""
    plan = draw_view(view, ProbedVideos.of(videos.ids, probes))
    create_store(
        url, videos=videos, probes=probes, plans=[plan], attributes={"dataset": "bench"}, block_size=block_size
    )
    add_backbone(url, view=VIEW, name=backbone, attributes=attributes, **_identity(backbone))
    return FeatureStore.open(url)


def _identity(backbone: str) -> dict[str, Any]:
    if backbone == "motion3d":
        spec = load_backbone(BackboneRequest("motion3d", None, "motion3d")).spec
        return {"feature_dim": spec.feature_dim, "weights_digest": spec.weights_digest}
    return {"feature_dim": FEATURE_DIM, "weights_digest": "0" * 64}


def stub_store(url: Path, *, num_videos: int) -> FeatureStore:
    """A store of videos that do not exist."""
    ids = tuple(f"class_{video % 100:03d}/video_{video:08d}.mp4" for video in range(num_videos))
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=30, num_frames=300, height=240, width=320)
    return make_store(
        url,
        videos=VideoTable(ids=ids, paths=ids, groups=ids),
        probes=[probe] * num_videos,
        view=RandomView(num_clips=NUM_CLIPS),
        backbone="stub",
        attributes={"num_frames": 1, "frame_size": 8, "batch_size": 64},
    )


def task_of(store: FeatureStore, **given: Any) -> ExtractionTask:
    """The job on a store."""
    backbone = store.backbones(VIEW)[0]
    target = Target(VIEW, BackboneRequest(backbone, None, backbone), store.plan_digest(VIEW))
    return ExtractionTask(store_url=store.location.url, data_root="/nowhere", targets=(target,), **given)


@contextmanager
def warm_client(num_workers: int, folder: Path) -> Iterator[Client]:
    """A cluster whose workers have started their decoding processes."""
    with dask_client(scheduler=None, num_workers=num_workers) as client:
        store = stub_store(Path(tempfile.mkdtemp(dir=folder)) / "warm.zarr", num_videos=64 * num_workers)
        run_extraction(client, task_of(store, decode=spinning_decode, load=load_stub))
        yield client


def bench_overhead(folder: Path, *, num_videos: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Wall time per video where nothing is decoded and nothing computed."""
    for num_workers in (1, 2):
        seconds, cpu_seconds = [], []
        with warm_client(num_workers, folder) as client:
            for repeat in range(repeats):
                store = stub_store(folder / f"overhead-{num_workers}-{repeat}.zarr", num_videos=num_videos)
                before = family_cpu_seconds()
                seconds.append(run_extraction(client, task_of(store, decode=stub_decode, load=load_stub)).seconds)
                cpu_seconds.append(family_cpu_seconds() - before)
        for what, of_repeats in (("wall time", seconds), ("CPU time, all processes", cpu_seconds)):
            ours = 1000 * statistics.median(of_repeats) / num_videos
            case = f"overhead of a video, stub, {num_workers} workers, {what}"
            yield record(case, ours, LIMIT_MS, "ms", smaller_is_better=True)


def family_cpu_seconds() -> float:
    """CPU time of this process and all beneath it: client, scheduler, workers, decoding processes."""
    process = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def bench_workers(folder: Path, *, num_videos: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Two workers against one, bound by decoding; the two clusters take turns."""
    with warm_client(1, folder) as one, warm_client(2, folder) as two:
        for what, decode in (
            ("waits 30 ms", waiting_decode),
            ("uses a core for 30 ms", spinning_decode),
            ("uses a core for 100 ms", partial(spinning_decode, cpu_seconds=UCF_SECONDS)),
        ):
            seconds: dict[int, list[float]] = {1: [], 2: []}
            for repeat in range(repeats):
                for num_workers, client in ((1, one), (2, two)):
                    url = folder / f"workers-{what.replace(' ', '-')}-{num_workers}-{repeat}.zarr"
                    task = task_of(stub_store(url, num_videos=num_videos), decode=decode, load=load_stub)
                    seconds[num_workers].append(run_extraction(client, task).seconds)
            two_s, one_s = statistics.median(seconds[2]), statistics.median(seconds[1])
            case = f"two workers against one, decoding that {what}"
            yield record(case, two_s, one_s, "s", smaller_is_better=True)


def bench_parts(folder: Path, *, num_videos: int, repeats: int, num_workers: int = 2) -> Iterator[dict[str, Any]]:
    """The whole job on small rendered videos, and on UCF-like ones, against its parts; the two take turns."""
    demo, ucf = folder / "demo", folder / "ucf"
    render_demo(demo, DemoParameters(num_train=num_videos - 24, num_test=24), num_workers=num_workers)
    ucf.mkdir()
    for number in range(UCF_FILES):
        write_video(
            ucf / f"{number}.avi", seconds=6 + number % 3, fps=25, width=320, height=240, codec="mpeg4",
            bit_rate=600_000,
        )  # fmt: skip
    yield from _whole_against_parts(
        folder, "rendered videos", demo, COPIES, view=DEMO_VIEW, repeats=repeats, num_workers=num_workers
    )
    copies = max(1, num_videos // UCF_FILES)
    yield from _whole_against_parts(
        folder, "UCF-like videos", ucf, copies, view=RandomView(), repeats=repeats, num_workers=num_workers
    )


def _whole_against_parts(
    folder: Path, what: str, root: Path, num_copies: int, *, view: View, repeats: int, num_workers: int
) -> Iterator[dict[str, Any]]:
    # Each file several times, so that blocks are as large as those of a real data set, and as many as the workers need.
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.suffix in (".avi", ".mp4"))
    ids = tuple(f"{copy}/{path}" for copy in range(num_copies) for path in paths)
    videos = VideoTable(ids=ids, paths=tuple(paths) * num_copies, groups=ids)
    probes = [probe_video(root / path) for path in paths] * num_copies
    attributes = {"num_frames": 8, "frame_size": 32, "batch_size": 64}

    def fresh(name: str) -> FeatureStore:
        return make_store(
            folder / f"{root.name}-{name}",
            videos=videos,
            probes=probes,
            view=view,
            backbone="motion3d",
            attributes=attributes,
            block_size=48 if view is DEMO_VIEW else 16,
        )

    whole, whole_cpu, parts, parts_cpu = [], [], [], []
    with warm_client(num_workers, folder) as client:
        run_extraction(client, _real(task_of(fresh("parts-warm.zarr")), root))
        for repeat in range(repeats):
            task = _real(task_of(fresh(f"parts-{repeat}.zarr")), root)
            before = family_cpu_seconds()
            whole.append(run_extraction(client, task).seconds)
            whole_cpu.append(family_cpu_seconds() - before)
            times = sum_of_parts(fresh(f"parts-alone-{repeat}.zarr"), root, num_processes=num_workers)
            parts.append(max(seconds for seconds, _ in times))
            parts_cpu.append(sum(cpu_seconds for _, cpu_seconds in times))
    for time, ours, limit in (("wall time", whole, parts), ("CPU time", whole_cpu, parts_cpu)):
        case = f"whole job, {what}, {num_workers} workers, against its parts, {time}"
        yield record(case, statistics.median(ours), statistics.median(limit), "s", smaller_is_better=True)


def _real(task: ExtractionTask, root: Path) -> ExtractionTask:
    return ExtractionTask(store_url=task.store_url, data_root=str(root), targets=task.targets)


def sum_of_parts(store: FeatureStore, root: Path, *, num_processes: int) -> list[tuple[float, float]]:
    """Wall and CPU seconds that decoding, forward passes and writing take one after the other, without a job around.

    Processes that share nothing do a part of the blocks each; the times are those of each, from its first block on.
    """
    spawn = get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=spawn) as pool:
        list(pool.map(abs, range(num_processes)))
        parts = [
            pool.submit(_do_parts, store.location.url, root, start, num_processes) for start in range(num_processes)
        ]
        return [part.result() for part in parts]


def _do_parts(url: str, root: Path, start: int, step: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    store = FeatureStore.open(url)
    backbone = load_backbone(BackboneRequest("motion3d", None, "motion3d"))
    writer = BlockWriter(store.location.url, view=VIEW, backbone="motion3d")
    plan, probes = store.plan(VIEW), store.probes()
    begun, cpu_begun = perf_counter(), process_time()
    for index in range(start, store.num_blocks, step):
        rows = store.block_rows(index)
        num_videos = rows.stop - rows.start
        batches = ForwardBatches(
            backbone, batch_size=64, clip_shape=(8, 32, 32, 3), block_shape=(num_videos, NUM_CLIPS, 128)
        )
        statuses = []
        for video, row in enumerate(range(rows.start, rows.stop)):
            request = ClipRequest(plan.coordinates[row], plan.valid[row], num_frames=8, frame_size=32)
            path = root / store.videos.paths[row]
            clips = decode_clips(path, [request], duration_seconds=probes[row].duration_seconds).clips[0]
            statuses.append(clips.status)
            for clip in range(NUM_CLIPS):
                batches.add(clips.frames[clip] if clips.valid[clip] else None, video=video, clip=clip)
        batches.finish()
        status = np.array(statuses, dtype=np.uint8)
        writer.write(FeatureBlock(index, batches.features, batches.valid, status, ("",) * num_videos))
    return perf_counter() - begun, process_time() - cpu_begun


def bench_memory(folder: Path, *, num_videos: int) -> Iterator[dict[str, Any]]:
    """Resident memory of client and scheduler, early and at the end of a long job."""
    process = psutil.Process()
    samples: list[tuple[int, int]] = []

    def sample(progress: JobProgress) -> None:
        samples.append((progress.num_videos, process.memory_info().rss))

    with warm_client(2, folder) as client:
        store = stub_store(folder / "memory.zarr", num_videos=num_videos)
        job = run_extraction(client, task_of(store, decode=stub_decode, load=load_stub), progress=sample)
    tenth = statistics.median(rss for done, rss in samples if num_videos / 10 <= done < num_videos / 5)
    last = statistics.median(rss for done, rss in samples if done >= 0.9 * num_videos)
    yield record(
        f"memory of client and scheduler, {num_videos} videos", last / 2**20, tenth / 2**20, "MiB",
        smaller_is_better=True,
    )  # fmt: skip
    yield record(
        f"wall time of a video, {num_videos} videos, stub, 2 workers", 1000 * job.seconds / num_videos, LIMIT_MS, "ms",
        smaller_is_better=True,
    )  # fmt: skip


def bench_tasks(folder: Path, *, num_tasks: int) -> Iterator[dict[str, Any]]:
    """Tasks a second through client and scheduler, which here are one process."""
    with warm_client(2, folder) as client:
        begun = perf_counter()
        for _ in bounded_map(client, abs, range(num_tasks)):
            pass
        rate = num_tasks / (perf_counter() - begun)
    yield record("tasks that do nothing, 2 workers", rate, TASKS_LIMIT, "/s", smaller_is_better=False)


def bench_finished(folder: Path, *, num_videos: int, repeats: int) -> Iterator[dict[str, Any]]:
    """A job on a store where every block is there; its files are links to those of one block."""
    store = stub_store(folder / "finished.zarr", num_videos=num_videos)
    first = store.block_rows(0)
    num_rows = first.stop - first.start
    features = np.zeros((num_rows, NUM_CLIPS, FEATURE_DIM), np.float16)
    status = np.full(num_rows, VideoStatus.OK, np.uint8)
    valid = np.ones((num_rows, NUM_CLIPS), np.bool_)
    BlockWriter(store.location.url, view=VIEW, backbone="stub").write(
        FeatureBlock(0, features, valid, status, ("",) * num_rows)
    )
    for chunk in Path(store.location.url, VIEW, "stub").glob("*/c.0*"):
        for index in range(1, store.num_blocks):
            if chunk.parent.name != "video":
                chunk.with_name(chunk.name.replace("c.0", f"c.{index}", 1)).hardlink_to(chunk)
    seconds = [run_extraction(None, task_of(store)).seconds for _ in range(repeats)]
    yield record(
        f"finished store of {num_videos} videos", statistics.median(seconds), FINISHED_LIMIT_S, "s",
        smaller_is_better=True,
    )  # fmt: skip


def record(case: str, ours: float, peer: float, unit: str, *, smaller_is_better: bool) -> dict[str, Any]:
    """One line of the table."""
    ratio = peer / ours if smaller_is_better else ours / peer
    line = {"benchmark": "job", "case": case, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit}
    return {**line, "load": os.getloadavg()[0]}


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--videos", type=int, default=2000, help="videos of the cases with stubs")
    parser.add_argument("--real-videos", type=int, default=240, help="rendered videos")
    parser.add_argument("--planned-videos", type=int, default=20_000, help="videos of the case of memory")
    parser.add_argument("--finished-videos", type=int, default=240_000, help="videos of the finished store")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="which of them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Worker and decoding processes import the stubs by their name.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    records = []
    print(f"{'case':64} {'ours':>12} {'peer':>12} {'ratio':>7} {'load':>6}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repeats = arguments.repeats
        cases = {
            "overhead": bench_overhead(folder, num_videos=arguments.videos, repeats=repeats),
            "workers": bench_workers(folder, num_videos=min(WORKERS_VIDEOS, arguments.videos), repeats=repeats),
            "parts": bench_parts(folder, num_videos=arguments.real_videos, repeats=repeats),
            "memory": bench_memory(folder, num_videos=arguments.planned_videos),
            "tasks": bench_tasks(folder, num_tasks=5000),
            "finished": bench_finished(folder, num_videos=arguments.finished_videos, repeats=repeats),
        }
        for name in arguments.cases:
            for line in cases[name]:
                records.append(line)
                ours, peer = (f"{line[key]:.2f} {line['unit']}" for key in ("ours", "peer"))
                print(f"{line['case']:64} {ours:>12} {peer:>12} {line['ratio']:7.2f} {line['load']:6.1f}", flush=True)
    if arguments.json:
        found = {name: version(name) for name in ("av", "dask", "distributed", "torch", "zarr")}
        where = {"machine": platform.machine(), "cores": os.cpu_count(), "python": sys.version.split()[0]}
        records = [{**line, "versions": found, **where} for line in records]
        arguments.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
