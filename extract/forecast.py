"""How long an extraction will take and how much it will write: measured on a few of its own videos, before it begins.

Bytes follow from the plan. Hours are an estimate: a worker decodes a few random videos and embeds a few clips; decoding
is scaled up by the pixels of all videos, the forward pass by clips. Other videos, caches and neighbours on the machine
make the real thing differ, at times by a factor of two.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import torch
from distributed import Client
from numpy.typing import NDArray

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import BackboneRequest, load_backbone
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.cluster import num_cores
from scale_video.extract.views import View
from scale_video.extract.worker_paths import video_path, worker_path
from scale_video.store.clip_plan import ClipPlan, Coordinate
from scale_video.store.create import default_block_size
from scale_video.store.video_probe import VideoProbe, VideoStatus

NUM_SAMPLED: Final = 3
"""Videos that are decoded."""
LONG_SECONDS: Final = 30.0
"""Of a longer video, only the first few clips of each view are decoded."""
CLIPS_OF_LONG: Final = 4
SAMPLE_TIMEOUT_SECONDS: Final = 60.0
BLOCK_SECONDS: Final = 600.0
"""What a block may take: more of it would be lost with each worker that dies."""

_FORWARD_CLIPS: Final = {"cpu": 2, "cuda": 16}
"""In the batch that is timed; on a CPU, the time of a clip hardly depends on it."""


@dataclass(frozen=True, slots=True)
class TargetForecast:
    """What one backbone in one view will amount to."""

    features: str
    """``<view>/<backbone>``."""
    num_clips: int
    """Planned clips, of which as many features come."""
    num_bytes: int
    """Of the array ``features``: videos × clips of the widest × dimension × 2."""
    forward_seconds_per_clip: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an extraction will amount to."""

    targets: tuple[TargetForecast, ...]
    num_bytes: int
    """Of all features together."""
    hours: float
    """Estimated wall time on the workers that there are now; NaN when no sampled video could be decoded."""
    decode_hours: float
    """Of one core, resizing included."""
    forward_hours: float
    """Of one worker."""
    seconds_per_video: float
    """Of a task, for all targets together."""
    num_tasks: int
    """Blocks at a time."""
    num_sampled: int
    """Videos that were decoded for it."""


@dataclass(frozen=True, slots=True)
class SampledVideo:
    """A video that is decoded for the estimate."""

    path: str
    """Relative to the data root."""
    duration_seconds: float
    coordinates: Mapping[str, NDArray[np.float32]]
    """By view, shape (k, C): the clips to decode."""
    num_pixels: float
    """Of the frames of the part of it that these clips cover."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a worker measured."""

    decode_seconds_per_pixel: float
    """NaN when nothing could be decoded."""
    resize_seconds_per_clip: float
    """A clip of one view at one size."""
    forward_seconds: Mapping[str, Mapping[str, float]]
    """Of a clip, by view and backbone."""
    feature_dims: Mapping[str, int]
    """By backbone."""
    num_cores: int
    """Of the worker's machine."""
    num_sampled: int


def predicted_block_size(num_videos: int, *, seconds_per_video: float) -> int:
    """Videos in a block: the store's default, or fewer, so that a block takes a worker ten minutes at most.

    >>> predicted_block_size(10_000, seconds_per_video=2), predicted_block_size(10_000, seconds_per_video=60)
    (64, 10)

    Args:
        num_videos: of the store.
        seconds_per_video: of one task; NaN when they are not known.
    """
    default = default_block_size(num_videos)
    if not seconds_per_video > 0:
        return default
    return max(1, min(default, math.floor(BLOCK_SECONDS / seconds_per_video)))


def forecast(
    client: Client,
    *,
    data_root: str,
    paths: Sequence[str],
    probes: Sequence[VideoProbe],
    views: Sequence[View],
    plans: Sequence[ClipPlan],
    backbones: Sequence[BackboneRequest],
    limits: DecodeLimits,
) -> Forecast:
    """Measure on one worker, and scale up.

    Args:
        client: connected to the workers that will do it.
        data_root: folder that ``paths`` are relative to.
        paths: N paths.
        probes: N probes, at least one of them ``OK``.
        views: those planned.
        plans: their plans, in the same order.
        backbones: all that will be asked for.
        limits: how a worker decodes.

    Raises:
        ValueError: a backbone cannot be loaded.
        KilledWorker: the worker died.
    """
    samples = _sample(paths, probes, plans)
    sizes = {plan.view: view.nominal_size for view, plan in zip(views, plans, strict=True)}
    costs: Costs = client.submit(
        measure_costs, data_root, samples, nominal_sizes=sizes, backbones=tuple(backbones), limits=limits, pure=False
    ).result()
    num_clips = {plan.view: int(plan.valid.sum()) for plan in plans}
    targets = tuple(
        TargetForecast(
            features=f"{plan.view}/{backbone.name}",
            num_clips=num_clips[plan.view],
            num_bytes=plan.valid.size * costs.feature_dims[backbone.name] * np.dtype(np.float16).itemsize,
            forward_seconds_per_clip=costs.forward_seconds[plan.view][backbone.name],
        )
        for plan in plans
        for backbone in backbones
    )
    num_pixels = sum(float(p.num_frames) * p.height * p.width for p in probes if p.status == VideoStatus.OK)
    decode = (
        num_pixels * costs.decode_seconds_per_pixel + sum(t.num_clips for t in targets) * costs.resize_seconds_per_clip
    )
    forward = sum(target.num_clips * target.forward_seconds_per_clip for target in targets)
    num_threads = client.nthreads()  # by worker
    tasks = sum(num_threads.values())
    cores = costs.num_cores * len({urlsplit(address).hostname for address in num_threads})
    decoders = min(cores, tasks * limits.num_processes)
    if any(backbone.device == "cuda" for backbone in backbones):
        seconds = max(decode / decoders, forward / len(num_threads))
    else:  # both want the cores
        seconds = max((decode + forward) / cores, decode / decoders, forward / tasks)
    return Forecast(
        targets=targets,
        num_bytes=sum(target.num_bytes for target in targets),
        hours=seconds / 3600,
        decode_hours=decode / 3600,
        forward_hours=forward / 3600,
        seconds_per_video=seconds * tasks / len(paths),
        num_tasks=tasks,
        num_sampled=costs.num_sampled,
    )


def measure_costs(
    data_root: str,
    samples: Sequence[SampledVideo],
    *,
    nominal_sizes: Mapping[str, int],
    backbones: Sequence[BackboneRequest],
    limits: DecodeLimits,
) -> Costs:
    """Decode the samples and embed some of their clips; runs on a worker.

    Raises:
        ValueError: a backbone cannot be loaded.
    """
    torch.set_num_threads(1)  # as in the job
    loaded = [load_backbone(backbone) for backbone in backbones]
    sizes = {
        view: [(backbone.spec.num_frames, backbone.spec.frame_size or nominal) for backbone in loaded]
        for view, nominal in nominal_sizes.items()
    }
    root = worker_path(data_root)
    orders = [
        VideoOrder(
            video_path(root, sample.path),
            sample.duration_seconds,
            tuple(
                ClipRequest(coordinates, np.ones(len(coordinates), np.bool_), *size)
                for view, coordinates in sample.coordinates.items()
                for size in dict.fromkeys(sizes[view])
            ),
        )
        for sample in samples
    ]
    pixels = clips = decode = resize = 0.0
    num_sampled = 0
    hasty = replace(limits, num_processes=1, timeout_seconds=min(limits.timeout_seconds, SAMPLE_TIMEOUT_SECONDS))
    with closing(ClipDecoders(hasty)) as decoders:
        for sample, order, video in zip(samples, orders, decoders.decode(orders), strict=True):
            if any(had.valid.any() for had in video.clips):  # else what it took tells nothing of the others
                num_sampled += 1
                pixels += sample.num_pixels
                clips += sum(len(request.coordinates) for request in order.requests)
                decode += video.decode_seconds
                resize += video.resize_seconds
    return Costs(
        decode_seconds_per_pixel=decode / pixels if num_sampled else math.nan,
        resize_seconds_per_clip=resize / clips if num_sampled else math.nan,
        forward_seconds={
            view: {b.spec.name: _forward_seconds(b, *size) for b, size in zip(loaded, of_view, strict=True)}
            for view, of_view in sizes.items()
        },
        feature_dims={backbone.spec.name: backbone.spec.feature_dim for backbone in loaded},
        num_cores=num_cores(),
        num_sampled=num_sampled,
    )


def _sample(paths: Sequence[str], probes: Sequence[VideoProbe], plans: Sequence[ClipPlan]) -> list[SampledVideo]:
    """A few random readable videos, with some of their clips."""
    planned = np.any([plan.valid.any(axis=1) for plan in plans], axis=0)
    rows = np.flatnonzero(planned)
    chosen = np.random.default_rng(0).choice(rows, min(NUM_SAMPLED, len(rows)), replace=False)
    samples = []
    for row in chosen.tolist():
        probe = probes[row]
        coordinates, share = {}, 0.0
        for plan in plans:
            clips = plan.coordinates[row, plan.valid[row]]
            count = len(clips) if probe.duration_seconds <= LONG_SECONDS else min(CLIPS_OF_LONG, len(clips))
            if count:
                # The first of the clips: they cover as large a part of the video as they are of the clips.
                coordinates[plan.view] = clips[np.argsort(clips[:, Coordinate.START], kind="stable")[:count]]
                share = max(share, count / len(clips))
        num_pixels = share * probe.num_frames * probe.height * probe.width
        samples.append(SampledVideo(paths[row], probe.duration_seconds, coordinates, num_pixels))
    return samples


def _forward_seconds(backbone: Backbone, num_frames: int, frame_size: int) -> float:
    """Seconds of a clip; the first pass, which sets things up, does not count."""
    num_clips = _FORWARD_CLIPS[backbone.device.type]
    clips = torch.zeros((num_clips, num_frames, frame_size, frame_size, 3), dtype=torch.uint8, device=backbone.device)
    backbone.embed(clips[:1] if backbone.device.type == "cpu" else clips).cpu()
    started = perf_counter()
    backbone.embed(clips).cpu()
    return (perf_counter() - started) / num_clips
