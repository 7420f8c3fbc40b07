"""How long an extraction will take and how much it will write: measured on a few of its own videos, before it begins.

Bytes follow from the plan. Hours are an estimate: a worker decodes a few random videos and embeds a few clips; decoding
is scaled up by the pixels of all videos, the forward pass by clips. Other videos, caches and neighbours on the machine
make the real thing differ, at times by a factor of two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from distributed import Client

from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.calibration import Costs, SampledVideo, measure_costs
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.extract.views import View
from scale_video.store.clip_plan import ClipPlan, Coordinate
from scale_video.store.create import default_block_size
from scale_video.store.video_parts import VideoParts
from scale_video.store.video_probe import VideoProbe, VideoStatus

NUM_SAMPLED: Final = 3
"""Videos that are decoded."""
LONG_SECONDS: Final = 30.0
"""Of a longer video, only the first few clips of each view are decoded."""
CLIPS_OF_LONG: Final = 4
BLOCK_SECONDS: Final = 600.0
"""What a block may take: more of it would be lost with each worker that dies."""


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
    parts: VideoParts | None = None,
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
        parts: which part of its file each row is; the whole of it where None.
        views: those planned.
        plans: their plans, in the same order.
        backbones: all that will be asked for.
        limits: how a worker decodes.

    Raises:
        ValueError: a backbone cannot be loaded.
        KilledWorker: the worker died.
    """
    parts = VideoParts.of(None, None, num_videos=len(paths)) if parts is None else parts
    row_seconds = parts.durations(np.array([probe.duration_seconds for probe in probes])).tolist()
    samples = _sample(paths, probes, plans, row_seconds=row_seconds)
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
    num_pixels = sum(
        _pixels(probe, some) for probe, some in zip(probes, row_seconds, strict=True) if probe.status == VideoStatus.OK
    )
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


def _pixels(probe: VideoProbe, seconds: float) -> float:
    """Of all frames of so many seconds of a file."""
    return min(float(probe.num_frames), seconds * probe.frames_per_second) * probe.height * probe.width


def _sample(
    paths: Sequence[str], probes: Sequence[VideoProbe], plans: Sequence[ClipPlan], *, row_seconds: Sequence[float]
) -> list[SampledVideo]:
    """A few random readable videos, with some of their clips."""
    planned = np.any([plan.valid.any(axis=1) for plan in plans], axis=0)
    rows = np.flatnonzero(planned)
    chosen = np.random.default_rng(0).choice(rows, min(NUM_SAMPLED, len(rows)), replace=False)
    samples = []
    for row in chosen.tolist():
        probe = probes[row]
        coordinates, augmentations, share = {}, {}, 0.0
        for plan in plans:
            clips = plan.coordinates[row, plan.valid[row]]
            count = len(clips) if row_seconds[row] <= LONG_SECONDS else min(CLIPS_OF_LONG, len(clips))
            if count:
                # The first of the clips: they cover as large a part of the video as they are of the clips.
                chosen_clips = np.argsort(clips[:, Coordinate.START], kind="stable")[:count]
                coordinates[plan.view] = clips[chosen_clips]
                if plan.augmentation is not None:
                    augmentations[plan.view] = plan.augmentation[row, plan.valid[row]][chosen_clips]
                share = max(share, count / len(clips))
        num_pixels = share * _pixels(probe, row_seconds[row])
        samples.append(SampledVideo(paths[row], probe.duration_seconds, coordinates, num_pixels, augmentations))
    return samples
