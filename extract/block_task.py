"""One task of the job: decode the clips of a block's videos, embed them, write the block, commit it.

Features are byte-identical however the job runs. Convolutions and matrix products in batches of other sizes differ in
the last bit, so the forward batches follow from the plan alone: clips in plan order, a fixed batch size that the store
records, zeros in the place of clips that could not be had, and zeros at the end of the last batch.
"""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import BackboneRequest, load_backbone
from scale_video.extract.decode import decode_clips
from scale_video.store.errors import PlanMismatchError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus
from scale_video.store.write import BlockWriter

_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class ExtractionTask:
    """What is the same for every block of a job."""

    store_url: str
    """Path or fsspec URL, as the workers see it."""
    data_root: str
    """Folder that the paths in the store are relative to, as the workers see it."""
    view: str
    """Name of the view."""
    backbone: BackboneRequest
    """Which backbone, by family, source and name; each worker loads it once."""
    plan_digest: str
    """Digest of the view's plan: a worker that finds another one sees another store, and stops."""


@dataclass(frozen=True, slots=True)
class VideoFailure:
    """A video that could not be had in full."""

    path: str
    """Relative to the data root."""
    status: VideoStatus
    error: str
    """One line."""


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What a finished block tells the client."""

    index: int
    num_videos: int
    num_clips: int
    """Valid clips."""
    failures: tuple[VideoFailure, ...]
    decode_seconds: float
    """Opening, decoding, cropping and resizing."""
    forward_seconds: float
    write_seconds: float


def extract_block(task: ExtractionTask, index: int) -> BlockReport:
    """Extract and commit one block; runs on a worker.

    Raises:
        PlanMismatchError: the weights loaded here are not those that the store was made for, or it is another store.
        OSError: the store cannot be written.
        ValueError: the backbone gave features that float16 cannot hold.
    """
    torch.set_num_threads(1)
    store, writer = _open_for_writing(task)
    attributes = store.backbone_attributes(task.view, task.backbone.name)
    backbone = _load_once(task.backbone)
    if backbone.spec.weights_digest != attributes["weights_digest"]:
        raise PlanMismatchError(
            f"backbone {task.backbone.name!r} has other weights on this worker ({backbone.spec.weights_digest[:12]}…) "
            f"than the store records ({attributes['weights_digest'][:12]}…); give every worker the same files"
        )
    rows = store.block_rows(index)
    plan = store.plan_arrays(task.view)
    coordinates, planned = np.asarray(plan["coordinates"][rows]), np.asarray(plan["valid"][rows])
    batches = ForwardBatches(
        backbone,
        batch_size=attributes["batch_size"],
        clip_shape=(attributes["num_frames"], attributes["frame_size"], attributes["frame_size"], 3),
        block_shape=(*planned.shape, attributes["feature_dim"]),
    )
    status: list[VideoStatus] = []
    errors: list[str] = []
    decode_seconds = 0.0
    paths = store.column("path", rows)
    for video, (path, probe) in enumerate(zip(paths, store.probes(rows), strict=True)):
        clips_of_video = np.flatnonzero(planned[video])
        if len(clips_of_video) == 0:
            status.append(VideoStatus.NOT_PLANNED if probe.status == VideoStatus.OK else probe.status)
            errors.append(probe.error)
            continue
        started = perf_counter()
        clips = decode_clips(
            Path(task.data_root) / str(path),
            coordinates=coordinates[video],
            valid=planned[video],
            duration_seconds=probe.duration_seconds,
            num_frames=attributes["num_frames"],
            frame_size=attributes["frame_size"],
        )
        decode_seconds += perf_counter() - started
        status.append(clips.status)
        errors.append(clips.error)
        for clip in clips_of_video:
            batches.add(clips.frames[clip] if clips.valid[clip] else None, video=video, clip=int(clip))
    batches.flush()
    block = FeatureBlock(
        index=index,
        features=batches.features,
        valid=batches.valid,
        status=np.array(status, dtype=np.uint8),
        error=tuple(errors),
    )
    started = perf_counter()
    writer.write(block)
    failures = [VideoFailure(str(p), s, e) for p, s, e in zip(paths, status, errors, strict=True) if s.is_failure]
    return BlockReport(
        index=index,
        num_videos=len(status),
        num_clips=int(block.valid.sum()),
        failures=tuple(failures),
        decode_seconds=decode_seconds,
        forward_seconds=batches.seconds,
        write_seconds=perf_counter() - started,
    )


class ForwardBatches:
    """Collects clips in plan order, embeds them in batches of one size, and puts features where they belong."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int,
        clip_shape: tuple[int, int, int, int],
        block_shape: tuple[int, int, int],
    ) -> None:
        """Prepare an empty block.

        Args:
            backbone: the network.
            batch_size: clips in every forward pass.
            clip_shape: (T, S, S, 3).
            block_shape: (V, K, D).
        """
        self._backbone = backbone
        self._frames = torch.zeros((batch_size, *clip_shape), dtype=torch.uint8)
        self._slots: list[tuple[int, int] | None] = []
        self.features: NDArray[np.float16] = np.full(block_shape, np.nan, dtype=np.float16)
        self.valid = np.zeros(block_shape[:2], dtype=np.bool_)
        self.seconds = 0.0
        """Time spent in forward passes."""

    def add(self, frames: NDArray[np.uint8] | None, *, video: int, clip: int) -> None:
        """Take the next clip's frames, or None for one that could not be had: its slot stays empty."""
        if frames is None:
            self._slots.append(None)
        else:
            self._frames[len(self._slots)] = torch.from_numpy(frames)
            self._slots.append((video, clip))
        if len(self._slots) == len(self._frames):
            self.flush()

    def flush(self) -> None:
        """Embed what has been collected."""
        taken = [(slot, place) for slot, place in enumerate(self._slots) if place is not None]
        if taken:  # a batch of nothing but failures needs no forward pass
            started = perf_counter()
            vectors = self._backbone.embed(self._frames).numpy()
            self.seconds += perf_counter() - started
            for slot, (video, clip) in taken:
                self.features[video, clip] = _as_float16(vectors[slot], self._backbone.spec.name)
                self.valid[video, clip] = True
        self._slots.clear()
        self._frames.zero_()


def _as_float16(vector: NDArray[np.float32], backbone: str) -> NDArray[np.float16]:
    largest = np.abs(vector).max()
    if not largest <= np.finfo(np.float16).max:  # true for NaN as well
        raise ValueError(
            f"backbone {backbone!r} gave a feature of magnitude {largest}, which float16 cannot hold (at most 65504); "
            "scale its output"
        )
    return vector.astype(np.float16)


@lru_cache(maxsize=8)
def _open_for_writing(task: ExtractionTask) -> tuple[FeatureStore, BlockWriter]:
    store = FeatureStore.open(task.store_url)
    if store.plan_digest(task.view) != task.plan_digest:
        raise PlanMismatchError(
            f"the worker finds another plan at {task.store_url!r} than the client; both must see one and the same store"
        )
    return store, BlockWriter(task.store_url, view=task.view, backbone=task.backbone.name)


def _load_once(request: BackboneRequest) -> Backbone:
    with _LOADING:  # two threads of one worker would otherwise load it twice
        return _load_cached(request)


@lru_cache(maxsize=2)
def _load_cached(request: BackboneRequest) -> Backbone:
    return load_backbone(request)
