"""One task of the job: decode the clips of a block's videos once, embed them with every backbone, write and commit.

A block may be wanted in several views and by several backbones: all of them are served by one pass over each file. What
goes into the store for one of them does not depend on which others are served along with it.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np
import torch
from distributed import Worker, get_worker
from numpy.typing import NDArray

from scale_video.extract.backbones.identity import differences
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.bounded_map import AGAIN
from scale_video.extract.clip_decoders import ClipDecoders, Decode, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, decode_clips
from scale_video.extract.forward_batches import ForwardBatches
from scale_video.extract.planned_block import PlannedBlock
from scale_video.extract.worker_paths import check_data_root, video_path, worker_path
from scale_video.store.errors import PlanMismatchError, StoreError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import FAILURES, VideoStatus
from scale_video.store.write import BlockWriter

ANNOUNCEMENTS = "scale-video"
"""Topic of the workers' events (``distributed``): which block, how many of its videos are done, which one is next."""
ANNOUNCE_SECONDS = 1.0
"""A worker announces no more often than this."""

RequestKey = tuple[str, int, int, bool]
"""View, frames a clip, pixels a side, whether decoders enlarge."""

_FAILURES = [int(status) for status in FAILURES]
_LOADING = threading.Lock()
_LOADED: dict[tuple[str | None, Callable[[BackboneRequest], Backbone], BackboneRequest], Backbone] = {}
_of_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Target:
    """Features of one backbone in one view."""

    view: str
    backbone: BackboneRequest
    """Which one, by family, source and name; each worker loads it once."""
    plan_digest: str
    """Digest of the view's plan: a worker that finds another one sees another store, and stops."""

    @property
    def name(self) -> str:
        """Its group in the store, ``<view>/<backbone>``."""
        return f"{self.view}/{self.backbone.name}"


@dataclass(frozen=True, slots=True)
class ExtractionTask:
    """What is the same for every block of a job."""

    store_url: str
    """Path or fsspec URL, as the client sees it."""
    data_root: str
    """Folder that the paths in the store are relative to, as the client sees it."""
    targets: tuple[Target, ...]
    lock_token: str | None = None
    """The job's lock: without it nothing is written any more."""
    retry: frozenset[VideoStatus] = frozenset()
    """Of a committed block, videos of these statuses are done again; the others are kept."""
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    decode: Decode = decode_clips
    load: Callable[[BackboneRequest], Backbone] = load_backbone
    """What gives a backbone; like ``decode`` an importable function, which a benchmark replaces."""


@dataclass(frozen=True, slots=True)
class BlockWork:
    """What is to be done of one block."""

    index: int
    targets: tuple[int, ...]
    """Positions in ``ExtractionTask.targets``."""


@dataclass(frozen=True, slots=True)
class VideoFailure:
    """A video that could not be had in full."""

    path: str
    """Relative to the data root; with ``#start-end`` for a part of a file."""
    status: VideoStatus
    error: str
    """One line."""


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What a finished block tells the client; sums over its videos."""

    index: int
    num_videos: int
    num_clips: int
    """Features that were computed."""
    num_failures: int
    """Videos that could not be had in full by some target."""
    failures: Counter[str]
    """These by the name of their status, that of the first such target."""
    wait_seconds: float
    """In which the task had nothing to do but to wait for decoded clips."""
    decode_seconds: float
    """Of the decoding processes: opening, decoding, conversion of colours."""
    resize_seconds: float
    """Of the decoding processes: cropping and resizing, and augmentation."""
    forward_seconds: float
    write_seconds: float
    block_seconds: float
    """From beginning to end."""


def extract_block(task: ExtractionTask, work: BlockWork) -> BlockReport:
    """Extract and commit one block for all of its targets; runs on a worker.

    Raises:
        PlanMismatchError: the weights loaded here are not those that the store was made for, or it is another store.
        StoreError: the store cannot be written; the lock is gone, and with it the right to write; or the folder of
            videos is gone.
        OSError: the store cannot be read, or a decoding process cannot be started.
        ValueError: the backbone gives nothing that float16 can hold.
    """
    torch.set_num_threads(1)
    _choose_gpu(_worker())
    started = perf_counter()
    store = _open_store(task)
    planned = PlannedBlock(store, work.index, views=tuple(sorted({target.view for target in task.targets})))
    paths, durations = planned.column("path"), planned.column("duration_seconds").tolist()
    targets = [_TargetBlock(task, task.targets[position], store, planned) for position in work.targets]
    requests = [_requests(targets, video) for video in range(len(paths))]
    root = worker_path(task.data_root)
    orders = (
        VideoOrder(video_path(root, str(path)), duration_seconds, tuple(wanted.values()))
        for path, duration_seconds, wanted in zip(paths, durations, requests, strict=True)
        if wanted
    )
    announce = _Announcer(work.index)
    wait_seconds = decode_seconds = resize_seconds = 0.0
    with closing(thread_decoders(task.limits).decode(orders, decode=task.decode)) as decoded_videos:
        for video, wanted in enumerate(requests):
            announce(num_done=video, path=str(paths[video]))
            clips: dict[RequestKey, DecodedClips] = {}
            if wanted:
                waiting = perf_counter()
                decoded = next(decoded_videos)
                wait_seconds += perf_counter() - waiting
                decode_seconds += decoded.decode_seconds
                resize_seconds += decoded.resize_seconds
                clips = dict(zip(wanted, decoded.clips, strict=True))
                if any(one.status == VideoStatus.MISSING for one in decoded.clips):
                    check_data_root(root)
            for target in targets:
                target.add(video, clips.get(target.key))
    blocks = [target.finish() for target in targets]
    writing = perf_counter()
    try:
        for target, block in zip(targets, blocks, strict=True):
            target.writer.write(block)
    except OSError as error:
        raise StoreError(f"the store cannot be written: {error}; mend that: {AGAIN}") from error
    now = perf_counter()
    failures = _failures([block.status for block in blocks])
    return BlockReport(
        index=work.index,
        num_videos=len(paths),
        num_clips=sum(target.num_computed for target in targets),
        num_failures=failures.total(),
        failures=failures,
        wait_seconds=wait_seconds,
        decode_seconds=decode_seconds,
        resize_seconds=resize_seconds,
        forward_seconds=sum(target.batches.seconds for target in targets),
        write_seconds=now - writing,
        block_seconds=now - started,
    )


def _failures(statuses: Sequence[NDArray[np.uint8]]) -> Counter[str]:
    """Videos that failed, each once, from the statuses under every target."""
    stacked = np.stack(statuses)  # (targets, videos)
    failed = np.isin(stacked, _FAILURES)
    first = stacked[failed.argmax(axis=0), np.arange(stacked.shape[1])]
    return Counter(VideoStatus(code).name.lower() for code in first[failed.any(axis=0)].tolist())


class _TargetBlock:
    """One block of one target, as its videos come in."""

    def __init__(self, task: ExtractionTask, target: Target, store: FeatureStore, planned: PlannedBlock) -> None:
        attributes = _attributes(task, target)
        backbone = _load_once(task, target.backbone)
        if differing := differences(backbone.spec, attributes):
            raise PlanMismatchError(
                f"backbone {target.backbone.name!r} on worker {socket.gethostname()} differs from what the store "
                f"records in {', '.join(differing)}; give every worker the same files and releases"
            )
        self._index = planned.index
        self._coordinates = planned.plan(target.view, "coordinates")
        self._planned = planned.plan(target.view, "valid")
        self._augmentation = planned.augmentation(target.view)
        self._part = planned.part
        self._num_frames, self._frame_size = attributes["num_frames"], attributes["frame_size"]
        # A GPU enlarges in passing; but augmentation is of whole frames, and done where they are decoded.
        self._enlarge = backbone.device.type == "cpu" or self._augmentation is not None
        self.key: RequestKey = target.view, self._num_frames, self._frame_size, self._enlarge
        """Targets of one key want the same pixels."""
        self._kept = _kept_block(store, target, planned.index) if task.retry else None
        self._redone: NDArray[np.bool_] = np.any(self._planned, axis=1)
        if self._kept is not None:
            self._redone &= np.isin(self._kept.status, list(task.retry))
        # What a video has that the view does not plan: nothing at all, or what the look at it told.
        probed = planned.column("probe_status")
        self._status = np.where(probed == VideoStatus.OK, np.uint8(VideoStatus.NOT_PLANNED), probed)
        self._errors = [str(error) for error in planned.column("probe_error")]
        self.batches = ForwardBatches(
            backbone,
            batch_size=attributes["batch_size"],
            clip_shape=(self._num_frames, self._frame_size, self._frame_size, 3),
            block_shape=(*self._planned.shape, attributes["feature_dim"]),
        )
        self.num_computed = 0
        self.writer = _open_writer(task, target)

    def request(self, video: int) -> ClipRequest | None:
        """What this target wants of a video's file; None when nothing."""
        if not self._redone[video]:
            return None
        begin_seconds, until_seconds = self._part(video)
        return ClipRequest(
            coordinates=self._coordinates[video],
            valid=self._planned[video],
            num_frames=self._num_frames,
            frame_size=self._frame_size,
            enlarge=self._enlarge,
            augmentation=None if self._augmentation is None else self._augmentation[video],
            begin_seconds=begin_seconds,
            until_seconds=until_seconds,
        )

    def add(self, video: int, clips: DecodedClips | None) -> None:
        """Take the next video's clips, None for one that was not asked for; its clips' slots stay empty."""
        places = np.flatnonzero(self._planned[video]).tolist()
        if not self._redone[video]:
            for clip in places:
                self.batches.add(None, video=video, clip=clip)
            return
        assert clips is not None
        self._status[video], self._errors[video] = clips.status, clips.error
        self.num_computed += int(clips.valid.sum())
        for clip in places:
            frames = clips.frames[clip] if clips.valid[clip] else None
            size = None if clips.sizes is None else (int(clips.sizes[clip, 0]), int(clips.sizes[clip, 1]))
            self.batches.add(frames, video=video, clip=clip, size=size)

    def finish(self) -> FeatureBlock:
        """The whole block."""
        self.batches.finish()
        for row in np.flatnonzero(self.batches.overflows.any(axis=1)).tolist():
            number = int(np.count_nonzero(self.batches.overflows[row]))
            has_others = bool(self.batches.valid[row].any())
            self._status[row] = VideoStatus.PARTIAL if has_others else VideoStatus.CORRUPT
            self._errors[row] = (
                f"{number} of {np.count_nonzero(self._planned[row])} clips have features that float16 cannot hold"
            )
            self.num_computed -= number
        features, valid = self.batches.features, self.batches.valid
        if self._kept is not None:
            kept = ~self._redone
            features[kept], valid[kept] = self._kept.features[kept], self._kept.valid[kept]
            self._status[kept] = self._kept.status[kept]
            for video in np.flatnonzero(kept):
                self._errors[video] = self._kept.error[video]
        return FeatureBlock(
            index=self._index, features=features, valid=valid, status=self._status, error=tuple(self._errors)
        )


def _worker() -> Worker | None:
    """The Dask worker that this runs on; None when it is called without a cluster."""
    try:
        return get_worker()
    except ValueError:
        return None


def _choose_gpu(worker: Worker | None) -> None:
    """Spread the numbered workers of a local cluster over the GPUs of the machine; others see to it themselves."""
    name = None if worker is None else worker.name
    if isinstance(name, int) and (num_gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(name % num_gpus)


class _Announcer:
    """Tells the client, through the scheduler, how far a block is and which video comes next."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._next = 0.0
        self._worker = _worker()

    def __call__(self, *, num_done: int, path: str) -> None:
        now = perf_counter()
        if self._worker is not None and now >= self._next:
            self._next = now + ANNOUNCE_SECONDS
            self._worker.log_event(ANNOUNCEMENTS, {"block": self._index, "num_done": num_done, "path": path})


def _requests(targets: "Sequence[_TargetBlock]", video: int) -> dict[RequestKey, ClipRequest]:
    """What is wanted of a video, each once."""
    wanted: dict[RequestKey, ClipRequest] = {}
    for target in targets:
        if target.key not in wanted and (request := target.request(video)) is not None:
            wanted[target.key] = request
    return wanted


def _kept_block(store: FeatureStore, target: Target, index: int) -> FeatureBlock | None:
    """The block as it is committed, of which a retry keeps the rest; None when there is none."""
    view, backbone = target.view, target.backbone.name
    there = store.committed(view, backbone, np.array([index]))[0]
    return store.read_block(view, backbone, index) if there else None


@lru_cache(maxsize=8)
def _open_store(task: ExtractionTask) -> FeatureStore:
    url = worker_path(task.store_url)
    store = FeatureStore.open(url)
    for target in task.targets:
        if store.plan_digest(target.view) != target.plan_digest:
            raise PlanMismatchError(
                f"the worker finds another plan at {url!r} than the client; both must see one and the same store"
            )
    return store


@lru_cache(maxsize=64)
def _attributes(task: ExtractionTask, target: Target) -> Mapping[str, Any]:
    return _open_store(task).backbone_attributes(target.view, target.backbone.name)


@lru_cache(maxsize=64)
def _open_writer(task: ExtractionTask, target: Target) -> BlockWriter:
    url, backbone = worker_path(task.store_url), target.backbone.name
    return BlockWriter(url, view=target.view, backbone=backbone, lock_token=task.lock_token)


def _load_once(task: ExtractionTask, request: BackboneRequest) -> Backbone:
    """The backbone, loaded once for a job in each worker process: another job may find other files, or functions."""
    key = task.lock_token, task.load, request
    with _LOADING:  # two threads of one worker would otherwise load it twice
        if key not in _LOADED:
            # A folder of weights may lie elsewhere on this worker; the name of a hub is no path, and stays.
            there = replace(request, source=worker_path(request.source)) if request.source else request
            _LOADED[key] = task.load(there)
        return _LOADED[key]


def forget_backbones(lock_token: str | None) -> None:
    """Let go of what a job loaded here; workers of a cluster live on."""
    with _LOADING:
        for key in [key for key in _LOADED if key[0] == lock_token]:
            del _LOADED[key]


def thread_decoders(limits: DecodeLimits) -> ClipDecoders:
    """The decoding processes of this thread, which outlive a task."""
    decoders: ClipDecoders | None = getattr(_of_thread, "decoders", None)
    if decoders is None or decoders.limits != limits:
        if decoders is not None:
            decoders.close()
        decoders = _of_thread.decoders = ClipDecoders(limits)
    return decoders
