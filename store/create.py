"""Creating a store: one creator writes the whole hierarchy, views and backbones in place, before any block."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import GroupNotFoundError

from scale_video.store.clip_plan import COORDINATE_NAMES, ClipPlan
from scale_video.store.digests import plan_digest, videos_digest
from scale_video.store.errors import PlanMismatchError, StoreError
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.schema import (
    BLOCK_ARRAYS,
    CLIP,
    COMMIT,
    FORMAT_NAME,
    FORMAT_VERSION,
    PROBE_ARRAYS,
    SPLIT_FLAGS,
    TEXT,
    VIDEO,
    VIDEOS,
    ArrayLayout,
    create_array,
    write_column,
)
from scale_video.store.video_probe import VideoProbe
from scale_video.store.video_table import VideoTable

MAX_BLOCK_SIZE = 64
MIN_BLOCKS = 32


def default_block_size(num_videos: int) -> int:
    """Videos in a block: 64, or fewer so that a store has at least 32 blocks to hand out.

    >>> default_block_size(10_000), default_block_size(320), default_block_size(5)
    (64, 10, 1)
    """
    return max(1, min(MAX_BLOCK_SIZE, num_videos // MIN_BLOCKS))


def create_store(
    url: str | Path,
    *,
    videos: VideoTable,
    probes: Sequence[VideoProbe],
    plans: Sequence[ClipPlan],
    block_size: int | None = None,
    attributes: Mapping[str, Any],
) -> None:
    """Create a store with its videos and views, without backbones; the mark ``created`` is written last.

    A store whose creation was interrupted is removed and made anew.

    Args:
        url: a folder that does not exist yet or is empty, or an fsspec URL.
        videos: N videos.
        probes: N probes in the same order.
        plans: one plan per view, each of N videos.
        block_size: videos in a block; ``default_block_size`` when None.
        attributes: JSON values for the root (data set, seed, versions …).

    Raises:
        StoreError: something else, or a finished store, is already there.
        ValueError: numbers of videos, probes and plans disagree, or block_size < 1.
    """
    block_size = default_block_size(videos.num_videos) if block_size is None else block_size
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    if len(probes) != videos.num_videos:
        raise ValueError(f"{len(probes)} probes for {videos.num_videos} videos")
    location = StoreLocation.of(url)
    _clear_interrupted_creation(location)
    digest = videos_digest(videos)
    root = zarr.create_group(
        location.url,
        zarr_format=3,
        attributes={
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            **attributes,
            "videos_digest": digest,
            "num_videos": videos.num_videos,
            "block_size": block_size,
            "created": False,
        },
    )
    _write_videos(root, videos, probes)
    for plan in plans:
        _write_view(root, plan, video_ids=videos.ids, videos_digest=digest, block_size=block_size)
    root.attrs["created"] = True
    consolidate(location.url)


def add_view(url: str | Path, plan: ClipPlan) -> None:
    """Add a view to a finished store, without touching what is there.

    Raises:
        PlanMismatchError: the view exists with another plan. The same plan again is no error.
    """
    store = FeatureStore.open(url)
    digest = str(store.attributes["videos_digest"])
    if plan.view in store.views():
        if store.plan_digest(plan.view) != plan_digest(plan, videos=digest):
            raise PlanMismatchError(
                f"store {str(url)!r} already has a view {plan.view!r} with other parameters or another seed; "
                "choose another store or another name for the view"
            )
        return
    ids = store.videos.ids
    _write_view(_open_root(store), plan, video_ids=ids, videos_digest=digest, block_size=store.block_size)
    consolidate(url)


def add_backbone(
    url: str | Path, *, view: str, name: str, feature_dim: int, weights_digest: str, attributes: Mapping[str, Any]
) -> None:
    """Add the empty arrays of a backbone to a view.

    Args:
        url: a finished store.
        view: name of an existing view.
        name: name of the backbone's group, ``[a-z0-9._-]+``.
        feature_dim: length of a feature, D.
        weights_digest: identity of the weights, hexadecimal.
        attributes: JSON values that describe the backbone (source, preprocessing, layer, licence …).

    Raises:
        MissingArrayError: there is no such view.
        PlanMismatchError: a backbone of this name exists whose weights, preprocessing or dimension differ. The same
            backbone again is no error.
    """
    store = FeatureStore.open(url)
    wanted = {**attributes, "feature_dim": feature_dim, "weights_digest": weights_digest}
    if name in store.backbones(view):
        existing = store.backbone_attributes(view, name)
        differing = sorted(key for key, value in wanted.items() if existing.get(key) != value)
        if differing:
            raise PlanMismatchError(
                f"store {str(url)!r} already has features {view}/{name!r} that differ in {', '.join(differing)}; "
                "give this backbone another name with @name, or make a new store"
            )
        return
    plan = store.plan_arrays(view)
    parent = _open_root(store).require_group(view)
    lengths = dict(zip(CLIP, plan["valid"].shape, strict=True)) | {"feature": feature_dim}
    group = parent.create_group(name, overwrite=True, attributes={**wanted, "created": False})
    for array, layout in BLOCK_ARRAYS.items():
        shape = tuple(lengths[dimension] for dimension in layout.dimensions)
        create_array(group, array, layout, shape=shape, chunks=(store.block_size, *shape[1:]))
    create_array(group, "commit", COMMIT, shape=(store.num_blocks,), chunks=(1,))
    write_column(group, "video", TEXT, store.column("id"))
    group.attrs["created"] = True
    consolidate(url)


def consolidate(url: str | Path) -> None:
    """Copy all metadata into the root, so that a remote reader needs one request; blocks never change metadata."""
    with warnings.catch_warnings():
        # Zarr reminds that consolidation is not part of the v3 core; every reader here opens without it as well.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(StoreLocation.of(url).url, zarr_format=3)


def _clear_interrupted_creation(location: StoreLocation) -> None:
    """Make room for a new store, deleting nothing but the remains of one of ours."""
    try:
        root = zarr.open_group(location.url, mode="r", zarr_format=3, use_consolidated=False)
    except (FileNotFoundError, GroupNotFoundError):
        if location.file_system.exists(location.root) and location.file_system.ls(location.root):
            raise StoreError(
                f"{location.url!r} is not empty and holds no feature store; choose another place"
            ) from None
        return
    if root.attrs.get("format") != FORMAT_NAME:
        raise StoreError(f"{location.url!r} holds a Zarr group that is no feature store; choose another place")
    if root.attrs.get("created"):
        raise StoreError(f"{location.url!r} already holds a finished store")
    location.file_system.rm(location.root, recursive=True)


def _open_root(store: FeatureStore) -> zarr.Group:
    return zarr.open_group(store.location.url, mode="r+", zarr_format=3, use_consolidated=False)


def _write_videos(root: zarr.Group, videos: VideoTable, probes: Sequence[VideoProbe]) -> None:
    group = root.create_group(VIDEOS, attributes={"class_names": {k: list(v) for k, v in videos.class_names.items()}})
    for name, values in (("id", videos.ids), ("path", videos.paths), ("group", videos.groups)):
        write_column(group, name, TEXT, values)
    write_column(group, "video", TEXT, videos.ids)
    for name, label in videos.labels.items():
        write_column(group, name, ArrayLayout("int32", VIDEO, -1, {"long_name": "class, -1 = absent"}), label)
    for name, split in videos.splits.items():
        write_column(group, f"split_{name}", ArrayLayout("uint8", VIDEO, 0, SPLIT_FLAGS), split)
    for name, layout in PROBE_ARRAYS.items():
        attribute = {"probe_status": "status", "probe_error": "error"}.get(name, name)
        write_column(group, name, layout, [getattr(probe, attribute) for probe in probes])


def _write_view(
    root: zarr.Group, plan: ClipPlan, *, video_ids: tuple[str, ...], videos_digest: str, block_size: int
) -> None:
    if plan.num_videos != len(video_ids):
        raise ValueError(f"view {plan.view!r} plans {plan.num_videos} videos, the store has {len(video_ids)}")
    if plan.view == VIDEOS:
        raise ValueError(f"a view cannot be called {VIDEOS!r}")
    group = root.create_group(
        plan.view,
        overwrite=True,
        attributes={
            "parameters": dict(plan.parameters),
            "plan_digest": plan_digest(plan, videos=videos_digest),
            "created": False,
        },
    )
    attributes = {"long_name": "box edges are fractions of the upright frame, start and end are seconds"}
    layouts = {
        "coordinates": ArrayLayout("float32", (*CLIP, "coordinate"), float("nan"), attributes),
        "valid": ArrayLayout("bool", CLIP, False, {"long_name": "the clip is planned"}),
        "planned": ArrayLayout("bool", VIDEO, False, {"long_name": "the view covers the video"}),
    }
    for name, layout in layouts.items():
        values = getattr(plan, name)
        create_array(group, name, layout, shape=values.shape, chunks=(block_size, *values.shape[1:]))[:] = values
    write_column(group, "video", TEXT, video_ids)
    names = np.array(COORDINATE_NAMES, dtype=object)
    write_column(group, "coordinate", ArrayLayout("string", ("coordinate",), "", {}), names)
    group.attrs["created"] = True
