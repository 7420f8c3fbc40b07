"""``scale-video info`` and ``verify``: what a store holds, and whether it is as it was committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scale_video.pipelines.console import ticking
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, open_stores, store_urls
from scale_video.store.verify import VerifyReport, verify_store
from scale_video.store.video_probe import VideoStatus


@dataclass(frozen=True, slots=True)
class FeaturesInfo:
    """One backbone in one view."""

    view: str
    backbone: str
    num_clips: int
    """Clips of the widest video."""
    feature_dim: int
    num_committed: int
    """Blocks that are there."""
    num_blocks: int
    statuses: Mapping[str, int]
    """Videos by status."""
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds."""

    url: str
    attributes: Mapping[str, Any]
    num_videos: int
    seconds_of_video: float
    num_classes: Mapping[str, int]
    """By label column."""
    splits: Mapping[str, Mapping[str, int]]
    """Videos by split and part."""
    views: Mapping[str, Mapping[str, Any]]
    """Parameters of each view."""
    features: tuple[FeaturesInfo, ...]


def run_info(url: str) -> StoreInfo:
    """Summarise a store, or several as one.

    Raises:
        StoreError: it cannot be read; or several do not go together.
    """
    store = open_stores(url)
    videos = store.videos
    return StoreInfo(
        url=url,
        attributes=store.attributes,
        num_videos=store.num_videos,
        seconds_of_video=float(np.nansum(np.maximum(videos.parts.durations(store.column("duration_seconds")), 0))),
        num_classes={name: len(names) for name, names in videos.class_names.items()},
        splits=videos.sizes_of_splits(),
        views={view: store.plan_parameters(view) for view in store.views()},
        features=tuple(
            _features_info(store, view, backbone) for view in store.views() for backbone in store.backbones(view)
        ),
    )


def _features_info(store: ReadableStore, view: str, backbone: str) -> FeaturesInfo:
    counts = np.zeros(np.iinfo(np.uint8).max + 1, dtype=np.int64)
    for _, status, _ in store.outcomes(view, backbone):
        counts += np.bincount(status, minlength=len(counts))
    statuses = {VideoStatus(code).name.lower(): int(counts[code]) for code in np.flatnonzero(counts).tolist()}
    return FeaturesInfo(
        view=view,
        backbone=backbone,
        num_clips=store.num_clips(view),
        feature_dim=store.feature_dim(view, backbone),
        num_committed=int(store.committed(view, backbone).sum()),
        num_blocks=store.num_blocks,
        statuses=dict(sorted(statuses.items())),
        attributes=store.backbone_attributes(view, backbone),
    )


def run_verify(url: str) -> VerifyReport:
    """Check every digest of a store, or of several (``a.zarr,b.zarr``), with progress.

    Raises:
        StoreError: one cannot be opened at all.
    """
    reports = {part: _verify_one(part) for part in store_urls(url)}
    several = len(reports) > 1
    return VerifyReport(
        num_blocks=sum(report.num_blocks for report in reports.values()),
        num_committed=sum(report.num_committed for report in reports.values()),
        damaged=tuple(
            f"{part}: {line}" if several else line for part, report in reports.items() for line in report.damaged
        ),
    )


def _verify_one(url: str) -> VerifyReport:
    store = FeatureStore.open(url)
    num_pairs = sum(len(store.backbones(view)) for view in store.views())
    with ticking("verifying blocks", num_pairs * store.num_blocks) as ticker:
        return verify_store(url, progress=lambda done, total: ticker.update(done))
