"""``scale-video plan`` and ``extract``: from a data set's name to committed features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from distributed import Client

from scale_video.extract.backbones.on_workers import known_on_workers
from scale_video.extract.backbones.placement import Placement, choose
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.block_task import ExtractionTask, Target
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.extract.cluster import dask_client, default_num_workers
from scale_video.extract.job import JobProgress, JobReport, TargetReport, blocks_to_do, run_extraction, target_report
from scale_video.extract.plan_store import PlanReport, plan_store
from scale_video.extract.views import View
from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.job_notes import note_plan, noting_job
from scale_video.pipelines.planning import (
    absolute,
    add_backbones,
    add_views,
    check_same_plan,
    list_videos,
    open_if_planned,
    recorded_precision,
    views_of,
    without_earlier,
)
from scale_video.pipelines.preset import load_preset
from scale_video.pipelines.requests import ExtractionRequest
from scale_video.store.amounts import rate_text
from scale_video.store.errors import StoreError
from scale_video.store.lock import StoreLock, clear_left_over
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus
from scale_video.store.video_table import VideoTable

GPU_THREADS = 2
"""Tasks at a time on a worker with a GPU: while one block begins or ends, the other keeps the device busy."""


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What stage 1 did."""

    store: str
    """The one that features were written to."""
    plan: PlanReport | None
    """None when the store was there already."""
    reports: Mapping[str, TargetReport]
    """By ``<view>/<backbone>``; empty when other stores hold all videos already."""
    lost_blocks: tuple[int, ...]
    """Blocks whose workers died again and again; they stay uncommitted."""
    progress: JobProgress
    """What this call computed."""
    seconds: float
    """Wall time of the extraction, without planning."""


def run_plan(request: ExtractionRequest) -> PlanReport:
    """Create the store without extracting anything.

    Raises:
        StoreError: the store exists already, or another job is at it.
        ValueError: bad input, in one line.
    """
    if open_if_planned(request.target_store) is not None:
        raise StoreError(
            f"store {request.target_store!r} is planned already: `scale-video extract` fills it; "
            "choose another place by --store (STORE=) to plan anew"
        )
    views = views_of(request)
    videos = without_earlier(list_videos(request), request, views)
    if videos is None:
        raise ValueError("the stores before the last hold all of these videos already; there is nothing to plan")
    backbones = _backbones(request, None)
    with (
        StoreLock.acquire(request.target_store, purpose="plan", break_lock=request.break_lock) as lock,
        _client(request, device=backbones[0].device) as (client, limits),
    ):
        return _plan(client, request, videos, views, backbones, limits=limits, check=lock.check)


def run_extract(request: ExtractionRequest) -> ExtractionResult:
    """Plan if there is no store yet, and extract what is missing.

    Raises:
        StoreError: the store holds another plan, other weights, cannot be read or written, or another job is at it.
        ValueError: bad input, in one line, before any video is touched.
        ConnectionError: no Dask scheduler, or no longer.
    """
    retry = request.retried()
    url = request.target_store
    store = open_if_planned(url)
    backbones = _backbones(request, store)
    device = backbones[0].device
    if request.scheduler is None:
        Placement.of(device, backbones[0].precision)  # the client of another cluster needs no GPU of its own
    specs = [load_backbone(replace(backbone, device="cpu")).spec for backbone in backbones]
    views = views_of(request)
    videos = None
    if store is None or request.data_root is not None:
        videos = without_earlier(list_videos(request), request, views)
        if videos is None and store is None:
            note("the stores before the last hold all of these videos already; nothing is to be done")
            return ExtractionResult(url, None, {}, (), JobProgress(), 0.0)
    if store is not None:
        check_same_plan(store, request, videos, views)
        done = _report_if_complete(store, backbones, views, retry=retry)
        if done is not None:
            add_backbones(store, specs, views, device=device)  # compares them
            return done
        if request.data_root is None:
            raise ValueError("the store is not complete, and no folder of videos is given; name it by --data (DATA=)")
        if videos is None:
            raise ValueError(
                f"the stores before the last hold all of these videos, but {url!r} is not complete; name it alone"
            )
    with (
        StoreLock.acquire(url, purpose="extract", break_lock=request.break_lock) as lock,
        _client(request, device=device) as (client, limits),
    ):
        plan = None
        if store is None:
            assert videos is not None
            plan = _plan(client, request, videos, views, backbones, limits=limits, check=lock.check)
        store = FeatureStore.open(url)
        add_views(store, views)
        store = FeatureStore.open(url)
        add_backbones(store, specs, views, device=device)
        store = FeatureStore.open(url)
        task = ExtractionTask(
            store_url=store.location.url,
            data_root=absolute(request.data_root),
            targets=_targets(store, backbones, views),
            lock_token=lock.token,
            retry=retry,
            limits=limits,
        )
        job = _extract(client, task, store, journal=request.journal, check=lock.check)
    return ExtractionResult(url, plan, job.targets, job.lost_blocks, job.progress, job.seconds)


def within_budget(result: ExtractionResult, budget: str) -> bool:
    """Whether the failures stay within ``--max-failures``, and no block is lost.

    Raises:
        ValueError: see ``failure_limit``.
    """
    limit, is_share = failure_limit(budget)
    allowed = {name: limit * report.num_videos if is_share else limit for name, report in result.reports.items()}
    return not result.lost_blocks and all(
        len(report.failures) <= allowed[name] for name, report in result.reports.items()
    )


def failure_limit(budget: str) -> tuple[float, bool]:
    """Read ``--max-failures``: a number of videos (``10``), or a part of them (``1%``: 0.01, True).

    Raises:
        ValueError: ``budget`` is neither.
    """
    is_share = budget.endswith("%")
    try:
        limit = float(budget.removesuffix("%"))
    except ValueError:
        limit = -1
    if not limit >= 0:
        raise ValueError(f"--max-failures must be a number of videos or a percentage such as 1%, got {budget!r}")
    return (limit / 100, True) if is_share else (limit, False)


@contextmanager
def _client(request: ExtractionRequest, *, device: str) -> "Iterator[tuple[Client, DecodeLimits]]":
    """A cluster, and how each of its threads is to decode."""
    num_workers = request.num_workers or default_num_workers(device)
    threads = GPU_THREADS if device == "cuda" else 1
    with dask_client(
        scheduler=request.scheduler,
        num_workers=num_workers,
        processes=request.processes,
        threads_per_worker=threads,
    ) as client:
        # The cores of a remote cluster's machines are not ours to count: one decoder for each of its threads.
        num_threads = num_workers * threads
        limits = request.limits(num_threads=num_threads)
        if request.scheduler is not None and request.num_decoders is None:
            limits = replace(limits, num_processes=1)
        with known_on_workers(client):
            yield client, limits


def _backbones(request: ExtractionRequest, store: FeatureStore | None) -> list[BackboneRequest]:
    """The backbones asked for, and where they are to run."""
    normalisation = load_preset(request.preset, dataset=request.dataset, overrides=request.overrides).normalisation
    parsed = [replace(parse_backbone(text), normalisation=normalisation) for text in request.backbones]
    backbones = [_placed(backbone, request, store) for backbone in parsed]
    if len({backbone.name for backbone in backbones}) < len(backbones):
        raise ValueError(f"two of the backbones {', '.join(request.backbones)} have one name; give one another @NAME")
    return backbones


def _plan(
    client: Client,
    request: ExtractionRequest,
    videos: VideoTable,
    views: Mapping[str, View],
    backbones: Sequence[BackboneRequest],
    *,
    limits: DecodeLimits,
    check: Callable[[], None],
) -> PlanReport:
    started = perf_counter()
    with ticking("looking at videos", len(set(videos.paths))) as ticker:
        report = plan_store(
            client,
            store_url=request.target_store,
            data_root=absolute(request.data_root),
            videos=videos,
            views=list(views.values()),
            attributes={"dataset": request.dataset, "versions": versions(), "git_revision": git_revision()},
            backbones=backbones if request.estimate else (),
            block_size=request.block_size,
            limits=limits,
            progress=ticker.update,
            check=check,
        )
    note_plan(request.journal, FeatureStore.open(request.target_store), report, seconds=perf_counter() - started)
    return report


def _placed(backbone: BackboneRequest, request: ExtractionRequest, store: FeatureStore | None) -> BackboneRequest:
    """The backbone with its device, and the precision in which it was begun unless another one is asked for."""
    device, precision = choose(request.device, request.precision)
    if request.scheduler is not None and request.device == "auto" and device == "cpu":
        note("no GPU on this machine: backbones run on the CPU of the workers, unless you say --device cuda")
    if request.precision == "auto":
        precision = recorded_precision(store, backbone.name) or precision
    return replace(backbone, device=device, precision=precision)


def _targets(
    store: FeatureStore, backbones: Sequence[BackboneRequest], views: Mapping[str, View]
) -> tuple[Target, ...]:
    return tuple(Target(view, backbone, store.plan_digest(view)) for view in views for backbone in backbones)


def _report_if_complete(
    store: FeatureStore,
    backbones: Sequence[BackboneRequest],
    views: Mapping[str, View],
    *,
    retry: frozenset[VideoStatus],
) -> ExtractionResult | None:
    """What the store holds when nothing is left to do: no lock and no cluster is needed to say so."""
    if not set(views) <= set(store.views()):
        return None
    if not all(backbone.name in store.backbones(view) for view in views for backbone in backbones):
        return None
    targets = _targets(store, backbones, views)
    if any(blocks_to_do(store, target, retry=retry).any() for target in targets):
        return None
    clear_left_over(store.location.url)  # of a job that was killed between its last block and its end
    started = perf_counter()
    reports = {target.name: target_report(store, target.view, target.backbone.name) for target in targets}
    return ExtractionResult(store.location.url, None, reports, (), JobProgress(), perf_counter() - started)


def _extract(
    client: Client, task: ExtractionTask, store: FeatureStore, *, journal: Path | None, check: Callable[[], None]
) -> JobReport:
    wanted = [blocks_to_do(store, target, retry=task.retry) for target in task.targets]
    there = {target.name: int((~blocks).sum()) for target, blocks in zip(task.targets, wanted, strict=True)}
    for name, count in there.items():
        if count > 0:
            note(f"{name}: {count} of {store.num_blocks} blocks are there already")
    rows = [store.block_rows(index) for index in np.flatnonzero(np.any(wanted, axis=0)).tolist()]
    num_videos = sum(block.stop - block.start for block in rows)
    started = perf_counter()
    with (
        noting_job(journal, client, task, store, there=there, num_videos=num_videos) as notes,
        ticking(f"extracting {', '.join(there)}", num_videos) as ticker,
    ):

        def show(progress: JobProgress) -> None:
            rate = progress.num_clips / (perf_counter() - started)
            failures = f"{progress.num_failures} failure{'s' * (progress.num_failures != 1)}"
            ticker.update(progress.num_videos, f"{rate_text(rate)} clips/s, {failures}")
            notes.progress(progress)

        report = run_extraction(client, task, wanted=wanted, progress=show, check=check)
        notes.finished(report)
    return report
