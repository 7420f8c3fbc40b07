"""The extraction job: every block that is not committed yet, as tasks on a Dask cluster.

There is no other state than the commit marks in the store, so the same call after a crash does what is missing.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from distributed import Client, KilledWorker

from scale_video.extract.block_task import (
    ANNOUNCEMENTS,
    BlockReport,
    BlockWork,
    ExtractionTask,
    Target,
    VideoFailure,
    extract_block,
    forget_backbones,
)
from scale_video.extract.bounded_map import AGAIN, bounded_map
from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """What a job has done so far in this call; times are summed over workers."""

    num_videos: int = 0
    """Videos of finished blocks, and those done of blocks that are under way."""
    num_clips: int = 0
    """Features computed in finished blocks, like all that follows."""
    num_failures: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """These by the name of their status; a video that failed under several backbones counts once."""
    wait_seconds: float = 0.0
    """In which the forward pass had nothing to do but to wait for decoded clips."""
    decode_seconds: float = 0.0
    resize_seconds: float = 0.0
    forward_seconds: float = 0.0
    write_seconds: float = 0.0
    block_seconds: float = 0.0
    """From a block's beginning to its end; the forward pass, waiting and writing are parts of it."""


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What the store holds of one view and backbone after a job."""

    num_videos: int
    """Videos of the store."""
    counts: dict[str, int]
    """Videos by status name."""
    failures: tuple[VideoFailure, ...]
    """Every video that could not be had in full, also those of earlier calls."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job ended."""

    targets: dict[str, TargetReport]
    """By ``<view>/<backbone>``."""
    lost_blocks: tuple[int, ...]
    """Blocks whose workers died again and again; they stay uncommitted."""
    progress: JobProgress
    """What this call did."""
    seconds: float
    """Wall time of this call."""


def blocks_to_do(
    store: FeatureStore, target: Target, *, retry: frozenset[VideoStatus]
) -> "np.typing.NDArray[np.bool_]":
    """Which blocks of a target are not committed, or hold a video whose status is to be tried again; shape (B,)."""
    wanted = ~store.committed(target.view, target.backbone.name)
    if retry:
        planned = store.plan_arrays(target.view)["valid"]
        for rows, status, _ in store.outcomes(target.view, target.backbone.name):
            again = np.isin(status, list(retry)) & np.asarray(planned[rows]).any(axis=1)
            wanted[np.unique((rows.start + np.flatnonzero(again)) // store.block_size)] = True
    return wanted


def run_extraction(
    client: Client | None,
    task: ExtractionTask,
    *,
    wanted: "Sequence[np.typing.NDArray[np.bool_]] | None" = None,
    progress: Callable[[JobProgress], None] | None = None,
    check: Callable[[], None] | None = None,
) -> JobReport:
    """Extract all blocks that are missing.

    Args:
        client: connected to workers that see the store and the videos; may be None when nothing is to be done.
        task: which store, videos, views and backbones.
        wanted: what ``blocks_to_do`` gave for each target, where that is known already.
        progress: called whenever something is done, from any thread, one call at a time.
        check: called before each block's result is taken; raises what must end the job.

    Raises:
        StoreError: a worker finds the store or the weights to be others than planned, or cannot write the store.
        ConnectionError: the scheduler is gone.
    """
    started = perf_counter()
    store = FeatureStore.open(task.store_url)
    if wanted is None:
        wanted = [blocks_to_do(store, target, retry=task.retry) for target in task.targets]
    works = _works(wanted)
    state = _JobState(store, progress)
    lost: list[int] = []
    if any(blocks.any() for blocks in wanted):
        assert client is not None
        client.subscribe_topic(ANNOUNCEMENTS, state.announced)
        try:
            again = _run(client, task, works, state=state, check=check)
            lost = [work.index for work in _run(client, task, again, state=state, check=check)]
            with suppress(Exception):  # a worker that is gone has forgotten
                client.run(forget_backbones, task.lock_token)
        finally:
            client.unsubscribe_topic(ANNOUNCEMENTS)
    return JobReport(
        targets={target.name: target_report(store, target.view, target.backbone.name) for target in task.targets},
        lost_blocks=tuple(sorted(lost)),
        progress=state.done,
        seconds=perf_counter() - started,
    )


def target_report(store: FeatureStore, view: str, backbone: str) -> TargetReport:
    """Count what became of the videos; memory grows with the failures only."""
    counts: Counter[int] = Counter()
    failures: list[VideoFailure] = []
    for rows, status, errors in store.outcomes(view, backbone):
        counts.update(status.tolist())
        failed = [place for place, code in enumerate(status.tolist()) if VideoStatus(code).is_failure]
        if failed:
            names = store.file_names(rows)
            failures += [VideoFailure(names[i], VideoStatus(status[i]), errors[i]) for i in failed]
    return TargetReport(
        num_videos=store.num_videos,
        counts={VideoStatus(code).name.lower(): count for code, count in sorted(counts.items())},
        failures=tuple(failures),
    )


def _works(wanted: "Sequence[np.typing.NDArray[np.bool_]]") -> Iterator[BlockWork]:
    """The blocks that some target wants, each once, in order."""
    for index in np.flatnonzero(np.any(wanted, axis=0)).tolist():
        yield BlockWork(index, tuple(position for position, blocks in enumerate(wanted) if blocks[index]))


def _run(
    client: Client,
    task: ExtractionTask,
    works: "Iterator[BlockWork] | Sequence[BlockWork]",
    *,
    state: "_JobState",
    check: Callable[[], None] | None,
) -> list[BlockWork]:
    """Run blocks; give back those whose workers died too often for Dask's taste, which is nobody's fault yet."""
    killed: list[BlockWork] = []
    with closing(bounded_map(client, partial(extract_block, task), works)) as outcomes:
        for work, outcome in outcomes:
            if check is not None:
                check()
            try:
                state.finished(outcome.result())
            except KilledWorker:
                killed.append(work)
                state.killed(work)
            except OSError as error:
                raise StoreError(f"a worker cannot go on: {error}; mend that: {AGAIN}") from error
    return killed


class _JobState:
    """Adds up what finished blocks report and what workers announce of the others."""

    def __init__(self, store: FeatureStore, progress: Callable[[JobProgress], None] | None) -> None:
        self.done = JobProgress()
        self._store = store
        self._progress = progress
        self._under_way: dict[int, dict[str, Any]] = {}
        self._finished: deque[int] = deque(maxlen=10_000)  # announcements may be late
        self._lock = Lock()

    def announced(self, event: tuple[float, dict[str, Any]]) -> None:
        """Note how far a worker is with a block; called from the client's own thread."""
        _, announcement = event
        with self._lock:
            if announcement["block"] not in self._finished:
                self._under_way[announcement["block"]] = announcement
                self._show()

    def finished(self, report: BlockReport) -> None:
        """Add a finished block."""
        with self._lock:
            self._under_way.pop(report.index, None)
            self._finished.append(report.index)
            names = [each.name for each in fields(JobProgress)]
            self.done = JobProgress(**{name: getattr(self.done, name) + getattr(report, name) for name in names})
            self._show()

    def killed(self, work: BlockWork) -> None:
        """Say what is known of a block whose workers died."""
        with self._lock:
            last = self._under_way.pop(work.index, None)
        where = f", last at {last['path']!r}" if last else ""
        logger.warning("the workers that extracted block %d died again and again%s", work.index, where)

    def _show(self) -> None:
        if self._progress is not None:
            under_way = sum(int(announcement["num_done"]) for announcement in self._under_way.values())
            self._progress(replace(self.done, num_videos=self.done.num_videos + under_way))
