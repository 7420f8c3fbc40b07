"""The extraction job: every block that is not committed yet, as tasks on a Dask cluster.

There is no other state than the commit marks in the store, so the same call after a crash does what is missing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from distributed import Client, KilledWorker

from scale_video.extract.block_task import ExtractionTask, VideoFailure, extract_block
from scale_video.extract.bounded_map import bounded_map
from scale_video.extract.probe import probe_video
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus

PROBES_PER_TASK = 32


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is; sums over the blocks done so far by this call."""

    num_videos: int
    num_clips: int
    num_failures: int
    decode_seconds: float
    """Summed over workers, like the next two."""
    forward_seconds: float
    write_seconds: float


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What the store holds after a job."""

    num_videos: int
    """Videos of the store."""
    counts: dict[str, int]
    """Videos by status name."""
    failures: tuple[VideoFailure, ...]
    """Every video that could not be had in full, also those of earlier calls."""
    lost_blocks: tuple[int, ...]
    """Blocks whose workers died again and again; they stay uncommitted."""
    progress: JobProgress
    """What this call did."""
    seconds: float
    """Wall time of this call."""


def missing_blocks(store: FeatureStore, *, view: str, backbone: str) -> list[int]:
    """Indices of the blocks that are not committed."""
    return [int(index) for index in np.flatnonzero(~store.committed(view, backbone))]


def run_extraction(
    client: Client | None, task: ExtractionTask, *, progress: Callable[[JobProgress], None] | None = None
) -> ExtractionReport:
    """Extract all blocks that are missing.

    Args:
        client: connected to workers that see the store and the videos; may be None when nothing is missing.
        task: which store, videos, view and backbone.
        progress: called after each block.

    Raises:
        StoreError: a worker finds the store or the weights to be others than planned.
        OSError: a worker cannot write the store.
    """
    started = perf_counter()
    StoreLocation.of(task.store_url).remove_partial_files()
    store = FeatureStore.open(task.store_url)
    missing = missing_blocks(store, view=task.view, backbone=task.backbone.name)
    done = JobProgress(0, 0, 0, 0.0, 0.0, 0.0)
    lost: list[int] = []
    if missing:
        assert client is not None
        for index, future in bounded_map(client, partial(extract_block, task), missing):
            try:
                report = future.result()
            except KilledWorker:
                lost.append(index)
                continue
            done = JobProgress(
                num_videos=done.num_videos + report.num_videos,
                num_clips=done.num_clips + report.num_clips,
                num_failures=done.num_failures + len(report.failures),
                decode_seconds=done.decode_seconds + report.decode_seconds,
                forward_seconds=done.forward_seconds + report.forward_seconds,
                write_seconds=done.write_seconds + report.write_seconds,
            )
            if progress is not None:
                progress(done)
    return _report(store, task, done=done, lost=lost, seconds=perf_counter() - started)


def _report(
    store: FeatureStore, task: ExtractionTask, *, done: JobProgress, lost: list[int], seconds: float
) -> ExtractionReport:
    outcome = store.outcome(task.view, task.backbone.name)
    paths = store.column("path")
    statuses = [VideoStatus(code) for code in outcome.status]
    failures = [
        VideoFailure(str(path), status, error)
        for path, status, error in zip(paths, statuses, outcome.error, strict=True)
        if status.is_failure
    ]
    return ExtractionReport(
        num_videos=store.num_videos,
        counts={status.name.lower(): count for status, count in sorted(Counter(statuses).items())},
        failures=tuple(failures),
        lost_blocks=tuple(sorted(lost)),
        progress=done,
        seconds=seconds,
    )


def probe_videos(
    client: Client, root: str, paths: Sequence[str], *, progress: Callable[[int], None] | None = None
) -> tuple[VideoProbe, ...]:
    """Look at every file, in parallel.

    Args:
        client: connected to workers that see the videos.
        root: the data root, as the workers see it.
        paths: relative to ``root``.
        progress: called with the number of files seen so far.
    """
    starts = range(0, len(paths), PROBES_PER_TASK)
    chunks = [(start, tuple(paths[start : start + PROBES_PER_TASK])) for start in starts]
    probes: dict[int, tuple[VideoProbe, ...]] = {}
    seen = 0
    for (start, chunk), future in bounded_map(client, partial(_probe_chunk, root), chunks):
        try:
            probes[start] = future.result()
        except KilledWorker:
            probes[start] = _probe_one_by_one(client, root, chunk)
        seen += len(chunk)
        if progress is not None:
            progress(seen)
    return tuple(probe for start in starts for probe in probes[start])


def _probe_chunk(root: str, chunk: tuple[int, tuple[str, ...]]) -> tuple[VideoProbe, ...]:
    return tuple(probe_video(Path(root) / path) for path in chunk[1])


def _probe_one_by_one(client: Client, root: str, paths: Sequence[str]) -> tuple[VideoProbe, ...]:
    """Find the file whose header kills a worker: each alone."""
    probes = []
    for path in paths:
        future = client.submit(_probe_chunk, root, (0, (path,)), pure=False)
        try:
            probes.append(future.result()[0])
        except KilledWorker:
            probes.append(VideoProbe(status=VideoStatus.CORRUPT, error="reading its header kills the process"))
    return tuple(probes)
