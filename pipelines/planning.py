"""From what a user asks for to a store that is ready to be filled: videos listed, plans compared, groups created."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.datasets.edit_script import VARIANTS
from scale_video.extract.datasets.registry import list_dataset
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.views import View, view_parameters
from scale_video.pipelines.preset import load_preset
from scale_video.pipelines.rendering import render
from scale_video.pipelines.requests import ExtractionRequest
from scale_video.store.create import add_backbone, add_view
from scale_video.store.digests import videos_digest
from scale_video.store.errors import PlanMismatchError, StoreNotFoundError
from scale_video.store.read import FeatureStore
from scale_video.store.video_table import VideoTable

logger = logging.getLogger(__name__)

BATCH_PIXELS = 8 * 16 * 224 * 224
MAX_BATCH_SIZE = 64
GPU_BATCHES = 4
"""A GPU's batch is as many times larger."""


def views_of(request: ExtractionRequest) -> dict[str, View]:
    """The views that are asked for, by name.

    Raises:
        ValueError: the preset has no such view, or an option is beyond what a view takes.
    """
    preset = load_preset(request.preset, dataset=request.dataset, overrides=request.overrides)
    return {name: request.view_options.apply(preset.view(name)) for name in request.views or preset.views}


def list_videos(request: ExtractionRequest) -> VideoTable:
    """The videos of the data set; an embedded one is rendered first, if need be.

    Raises:
        ValueError: no folder is named, or it does not hold such a data set.
    """
    if request.data_root is None:
        raise ValueError(f"data set {request.dataset!r} needs the folder of its videos; name it by --data (DATA=)")
    if request.dataset in VARIANTS and not request.data_root.expanduser().exists():
        render(request.dataset, request.data_root.expanduser(), num_workers=request.resolved_workers)
    return list_dataset(request.dataset, request.data_root, split_lists=request.split_lists, table=request.table)


def without_earlier(videos: VideoTable, request: ExtractionRequest, views: Mapping[str, View]) -> VideoTable | None:
    """The videos that none of the earlier stores holds; None when they hold all.

    Raises:
        StoreError: an earlier store is not there, or its plan is another one.
    """
    held: set[str] = set()
    for url in request.earlier_stores:
        store = FeatureStore.open(url)
        check_same_views(store, views)
        held.update(store.ids)
    rows = np.flatnonzero([video_id not in held for video_id in videos.ids])
    if len(rows) < videos.num_videos:
        logger.info("%d of %d videos are in the stores before", videos.num_videos - len(rows), videos.num_videos)
    return videos.take(rows) if len(rows) else None


def open_if_planned(url: str) -> FeatureStore | None:
    """The store, or None when there is none yet."""
    try:
        return FeatureStore.open(url)
    except StoreNotFoundError:
        return None


def check_same_plan(
    store: FeatureStore, request: ExtractionRequest, videos: VideoTable | None, views: Mapping[str, View]
) -> None:
    """Refuse to mix plans: same data set, same videos, same parameters of every view.

    Raises:
        PlanMismatchError: what differs, and the way out.
    """
    url = store.location.url
    dataset = store.attributes["dataset"]
    if dataset != request.dataset:
        raise PlanMismatchError(
            f"store {url!r} holds data set {dataset!r}, not {request.dataset!r}; "
            "choose another place by --store (STORE=)"
        )
    if videos is not None and videos_digest(videos) != store.attributes["videos_digest"]:
        raise PlanMismatchError(f"store {url!r} was planned for other videos: {_difference(store, videos)}")
    check_same_views(store, views)


def check_same_views(store: FeatureStore, views: Mapping[str, View]) -> None:
    """Refuse views that were drawn otherwise.

    Raises:
        PlanMismatchError: which parameters differ.
    """
    for name in set(views) & set(store.views()):
        stored, wanted = store.plan_parameters(name), view_parameters(views[name])
        differing = sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key))
        if differing:
            raise PlanMismatchError(
                f"view {name!r} of store {store.location.url!r} was drawn with other values of "
                f"{', '.join(differing)}; choose another place by --store (STORE=)"
            )


def add_views(store: FeatureStore, views: Mapping[str, View]) -> None:
    """Draw the views that the store lacks, from what the probe found when it was planned."""
    absent = [view for name, view in views.items() if name not in store.views()]
    if absent:
        probed = ProbedVideos.of(store.ids, store.probes(), store.parts())
        for view in absent:
            add_view(store.location.url, draw_view(view, probed))


def recorded_precision(store: FeatureStore | None, name: str) -> str | None:
    """The number format in which features of a backbone were computed before; None when there are none."""
    for view in store.views() if store is not None else ():
        if store is not None and name in store.backbones(view):
            return str(store.backbone_attributes(view, name)["precision"])
    return None


def add_backbones(
    store: FeatureStore, specs: Sequence[BackboneSpec], views: Mapping[str, View], *, device: str
) -> None:
    """Create the groups of backbones that the store lacks.

    A job may go on with another release of a library, which is said, and on another device: the size of a batch stays.

    Raises:
        PlanMismatchError: a backbone of the same name differs in its weights or in what is done with it.
    """
    for spec in specs:
        described = asdict(spec)
        for key in ("name", "feature_dim", "weights_digest"):
            del described[key]
        for name, view in views.items():
            size = spec.frame_size or view.nominal_size
            clips_per_block = min(store.block_size, store.num_videos) * store.num_clips(name)
            batch = batch_size(spec.num_frames, size, device=device, clips_per_block=clips_per_block)
            if spec.name in store.backbones(name):
                recorded = store.backbone_attributes(name, spec.name)
                batch = recorded.get("batch_size", batch)
                if recorded.get("library_versions") != described["library_versions"]:
                    logger.warning(
                        "features %s/%s were begun with %s, and go on with %s",
                        name,
                        spec.name,
                        recorded.get("library_versions"),
                        described["library_versions"],
                    )
                    described["library_versions"] = recorded.get("library_versions")
                if recorded.get("weights_digest") == spec.weights_digest:  # the same, from another place
                    described |= {key: recorded.get(key) for key in ("source", "licence")}
            add_backbone(
                store.location.url,
                view=name,
                name=spec.name,
                feature_dim=spec.feature_dim,
                weights_digest=spec.weights_digest,
                attributes={**described, "frame_size": size, "batch_size": batch},
            )


def batch_size(num_frames: int, frame_size: int, *, device: str, clips_per_block: int) -> int:
    """Clips in a forward pass: 8 of 16 × 224 × 224 on a CPU, more of smaller ones, four times as many on a GPU.

    A block's last pass is padded, so that the passes of a block are made equally large.

    >>> [batch_size(16, 224, device=device, clips_per_block=1024) for device in ("cpu", "cuda")]
    [8, 32]
    >>> [batch_size(8, 32, device="cpu", clips_per_block=number) for number in (1024, 100)]
    [64, 50]
    """
    pixels, largest = BATCH_PIXELS, MAX_BATCH_SIZE
    if device == "cuda":
        pixels, largest = GPU_BATCHES * pixels, GPU_BATCHES * largest
    most = max(1, min(largest, pixels // (num_frames * frame_size**2)))
    num_passes = -(-clips_per_block // most)
    return -(-clips_per_block // num_passes)


def absolute(path: Path | None) -> str:
    """A folder as text, ``~`` expanded; empty when there is none."""
    return str(path.expanduser().absolute()) if path is not None else ""


def _difference(store: FeatureStore, videos: VideoTable) -> str:
    """What distinguishes the videos that are there from those that were planned, and the way out."""
    new, gone = set(videos.ids) - set(store.ids), set(store.ids) - set(videos.ids)
    elsewhere = "or choose another place by --store (STORE=)"
    if gone:
        return f"{len(new)} are new and {len(gone)} are gone, such as {min(gone)!r}; bring them back, {elsewhere}"
    if new:
        url = store.location.url
        return (
            f"{len(new)} are new, such as {min(new)!r}; a store does not grow: name a second one behind it for them, "
            f"--store {url},{_second(url)} (STORE=), {elsewhere}"
        )
    planned = store.videos
    if videos.ids == planned.ids and videos.paths != planned.paths:
        row = next(row for row, path in enumerate(videos.paths) if path != planned.paths[row])
        return (
            f"they lie elsewhere beneath the folder, {videos.paths[row]!r} instead of {planned.paths[row]!r}; name the "
            "folder that it was planned with, by --data (DATA=)"
        )
    return f"their labels, groups or splits differ (class folders, split lists); {elsewhere}"


def _second(url: str) -> str:
    stem, dot, suffix = url.rpartition(".zarr")
    return f"{stem}-2{dot}{suffix}" if dot else f"{url}-2"
