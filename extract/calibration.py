"""What a few videos of a data set cost on a worker: to decode, to resize, to embed; ``forecast`` scales it up."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.cluster import num_cores
from scale_video.extract.worker_paths import video_path, worker_path

SAMPLE_TIMEOUT_SECONDS: Final = 60.0
"""A video that takes longer is left out."""

_FORWARD_CLIPS: Final = {"cpu": 2, "cuda": 16}
"""In the batch that is timed; on a CPU, the time of a clip hardly depends on it."""


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
    augmentations: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """By view, shape (k, A), of the views that have any."""


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
                ClipRequest(
                    coordinates,
                    np.ones(len(coordinates), np.bool_),
                    *size,
                    augmentation=sample.augmentations.get(view),
                )
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


def _forward_seconds(backbone: Backbone, num_frames: int, frame_size: int) -> float:
    """Seconds of a clip; the first pass, which sets things up, does not count."""
    num_clips = _FORWARD_CLIPS[backbone.device.type]
    clips = torch.zeros((num_clips, num_frames, frame_size, frame_size, 3), dtype=torch.uint8, device=backbone.device)
    backbone.embed(clips[:1] if backbone.device.type == "cpu" else clips).cpu()
    started = perf_counter()
    backbone.embed(clips).cpu()
    return (perf_counter() - started) / num_clips
