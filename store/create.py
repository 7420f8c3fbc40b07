"""Creating a store: one creator writes the whole hierarchy, views and backbones in place, before any block."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import zarr

from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.canonical_json import canonical_json
from scale_video.store.clip_plan import COORDINATE_NAMES, ClipPlan
from scale_video.store.digests import plan_digest, probes_digest, videos_digest
from scale_video.store.errors import PlanMismatchError, StoreError
from scale_video.store.location import LOCK_NAME, StoreLocation
from scale_video.store.members import quiet_zarr, require_digest
from scale_video.store.names import check_name
from scale_video.store.read import FeatureStore
from scale_video.store.schema import (
    AUGMENTATION,
    AUGMENTATION_ARRAY,
    BLOCK_ARRAYS,
    COMMIT,
    COORDINATE,
    FORMAT_NAME,
    FORMAT_VERSION,
    LABEL,
    PARAMETER,
    PART_ARRAYS,
    PLAN_ARRAYS,
    PROBE_ARRAYS,
    RESERVED_IN_VIEW,
    SPLIT,
    TABLE_CHUNK,
    TARGET,
    TEXT,
    VIDEOS,
    ArrayLayout,
    check_chunk_bytes,
    create_array,
    label_set_layout,
    plan_chunk_rows,
    write_column,
)
from scale_video.store.video_probe import VideoProbe
from scale_video.store.video_table import VideoTable

MAX_BLOCK_SIZE: Final = 64
MIN_BLOCKS: Final = 32

_NOTHING_YET: Final = re.compile(rf"{re.escape(LOCK_NAME)}|(zarr|lock)\.[0-9a-f]{{32}}\.partial")
"""The creator's own lock, and what one leaves that is killed while it writes its very first files."""


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
        ValueError: numbers of videos, probes and plans disagree, two plans are of one view, block_size < 1, a chunk
            would be larger than the format allows, or the attributes are no JSON values or have a name that the format
            uses.
    """
    block_size = default_block_size(videos.num_videos) if block_size is None else block_size
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    if len(probes) != videos.num_videos:
        raise ValueError(f"{len(probes)} probes for {videos.num_videos} videos")
    for name, labels in videos.label_sets.items():
        layout = label_set_layout(name)
        lengths = dict(zip(layout.dimensions, labels.shape, strict=True))
        check_chunk_bytes(f"column {name!r}", layout, lengths=lengths, chunk_rows=min(TABLE_CHUNK, videos.num_videos))
    for number, plan in enumerate(plans):
        _check_plan(plan, num_videos=videos.num_videos, block_size=block_size)
        if plan.view in (other.view for other in plans[:number]):
            raise ValueError(f"two plans are of view {plan.view!r}; a store holds one of each")
    columns = {name: [getattr(probe, name.removeprefix("probe_")) for probe in probes] for name in PROBE_ARRAYS}
    digest = videos_digest(videos)
    ours = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "videos_digest": digest,
        "probes_digest": probes_digest(columns),
        "num_videos": videos.num_videos,
        "block_size": block_size,
        "created": False,
    }
    _check_attributes(attributes, reserved=ours)
    location = StoreLocation.of(url)
    make_room(location)
    root = zarr.create_group(location.url, zarr_format=3, attributes={**ours, **attributes})
    _write_videos(root, videos, columns)
    for plan in plans:
        _write_view(root, plan, location=location, video_ids=videos.ids, videos_digest=digest, block_size=block_size)
    _finish(root, location)
    consolidate(url)


def add_view(url: str | Path, plan: ClipPlan) -> None:
    """Add a view to a finished store, without touching what is there.

    Raises:
        PlanMismatchError: the view exists with another plan. The same plan again is no error.
        ValueError: the plan has another number of videos than the store.
    """
    store = FeatureStore.open(url, writable=True)
    _check_plan(plan, num_videos=store.num_videos, block_size=store.block_size)
    digest = require_digest(store.root, "videos_digest")
    if plan.view not in store.views():
        _write_view(
            store.root,
            plan,
            location=store.location,
            video_ids=store.ids,
            videos_digest=digest,
            block_size=store.block_size,
        )
    elif store.plan_digest(plan.view) != plan_digest(plan, videos=digest):
        raise PlanMismatchError(
            f"store {str(url)!r} already has a view {plan.view!r} with other parameters or another seed; "
            "choose another store or another name for the view"
        )
    _consolidate_if_stale(store.location, plan.view)


def add_backbone(
    url: str | Path, *, view: str, name: str, feature_dim: int, weights_digest: str, attributes: Mapping[str, Any]
) -> None:
    """Add the empty arrays of a backbone to a view.

    Args:
        url: a finished store.
        view: name of an existing view.
        name: name of the backbone's group: a-z, 0-9, ``.``, ``_`` and ``-``, a letter or digit first.
        feature_dim: length of a feature, D.
        weights_digest: identity of the weights, hexadecimal.
        attributes: JSON values that describe the backbone (source, preprocessing, layer, licence …).

    Raises:
        MissingArrayError: there is no such view.
        PlanMismatchError: a backbone of this name exists whose weights, preprocessing or dimension differ. The same
            backbone again is no error.
        ValueError: the name cannot be a folder, feature_dim < 1, a block would be larger than the format allows, or
            the attributes are no JSON values or have a name that the format uses.
    """
    check_name(name, what="backbone", reserved=RESERVED_IN_VIEW)
    if feature_dim < 1:
        raise ValueError(f"feature_dim must be at least 1, got {feature_dim}")
    ours = {"feature_dim": feature_dim, "weights_digest": weights_digest, "created": False}
    _check_attributes(attributes, reserved=ours)
    store = FeatureStore.open(url, writable=True)
    if name not in store.backbones(view):
        check_chunk_bytes(
            f"the features of {name!r} in view {view!r}",
            BLOCK_ARRAYS["features"],
            lengths={"clip": store.plan_arrays(view)["valid"].shape[1], "feature": feature_dim},
            chunk_rows=store.block_size,
        )
        _write_backbone(store, view=view, name=name, feature_dim=feature_dim, attributes={**ours, **attributes})
    else:
        existing = store.backbone_attributes(view, name)
        wanted = {**attributes, "feature_dim": feature_dim, "weights_digest": weights_digest}
        differing = sorted(key for key, value in wanted.items() if not _equal(existing.get(key), value))
        if differing:
            raise PlanMismatchError(
                f"store {str(url)!r} already has features {view}/{name!r} that differ in {', '.join(differing)}; "
                "give this backbone another name with @name, or make a new store"
            )
    _consolidate_if_stale(store.location, f"{view}/{name}")


def consolidate(url: str | Path) -> None:
    """Copy all metadata into the root, so that a remote reader needs one request; blocks never change metadata."""
    location = StoreLocation.of(url)
    with quiet_zarr():
        zarr.consolidate_metadata(location.url, zarr_format=3)
    location.flush("zarr.json")


def _consolidate_if_stale(location: StoreLocation, group: str) -> None:
    """Consolidate unless the copy in the root shows a group as finished.

    Asked also for a group that was there before: a creator that was killed just before this leaves it hidden.
    """
    document = json.loads(location.file_system.cat_file(f"{location.root}/zarr.json"))
    copies = (document.get("consolidated_metadata") or {}).get("metadata", {})
    if not copies.get(group, {}).get("attributes", {}).get("created"):
        consolidate(location.url)


def _check_plan(plan: ClipPlan, *, num_videos: int, block_size: int) -> None:
    if plan.num_videos != num_videos:
        raise ValueError(f"view {plan.view!r} plans {plan.num_videos} videos, the store has {num_videos}")
    lengths = {"clip": plan.num_clips, "coordinate": len(COORDINATE_NAMES), "parameter": len(AUGMENTATION_NAMES)}
    chunk_rows = plan_chunk_rows(num_videos=num_videos, block_size=block_size)
    for name, layout in _plan_layouts(plan).items():
        check_chunk_bytes(f"the {name} of view {plan.view!r}", layout, lengths=lengths, chunk_rows=chunk_rows)


def _plan_layouts(plan: ClipPlan) -> dict[str, ArrayLayout]:
    """The arrays that hold a plan; an ``augmentation`` only where there is one."""
    return PLAN_ARRAYS if plan.augmentation is None else {**PLAN_ARRAYS, AUGMENTATION_ARRAY: AUGMENTATION}


def _check_attributes(attributes: Mapping[str, Any], *, reserved: Collection[str]) -> None:
    canonical_json(attributes, what="attributes")
    taken = sorted(set(attributes) & set(reserved))
    if taken:
        raise ValueError(f"attributes cannot hold {', '.join(taken)}: the format uses these names")


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where a tuple is a list and 2.0 is 2."""
    return canonical_json({"": one}, what="attributes") == canonical_json({"": other}, what="attributes")


def make_room(location: StoreLocation) -> None:
    """Make way for a new store, deleting nothing but the remains of one of ours.

    ``create_store`` does so, too; whoever has long work to do before it asks earlier.

    Raises:
        StoreError: something else, or a finished store, is already there.
    """
    if all(_NOTHING_YET.fullmatch(name) for name in location.entries()):
        return
    elsewhere = "choose another place"
    try:
        attributes = location.open_group("r").attrs
    except StoreError:
        raise StoreError(f"{location.url!r} is not empty and holds no feature store; {elsewhere}") from None
    if attributes.get("format") != FORMAT_NAME:
        raise StoreError(f"{location.url!r} holds a Zarr group that is no feature store; {elsewhere}")
    if attributes.get("format_version") != FORMAT_VERSION:
        raise StoreError(
            f"{location.url!r} holds a store of format version {attributes.get('format_version')}; {elsewhere}"
        )
    if attributes.get("created") is not False:
        raise StoreError(f"{location.url!r} already holds a finished store; {elsewhere}, or delete it")
    location.remove()


def _write_videos(root: zarr.Group, videos: VideoTable, probe_columns: Mapping[str, Sequence[Any]]) -> None:
    group = root.create_group(VIDEOS, attributes={"class_names": {k: list(v) for k, v in videos.class_names.items()}})
    for name, texts in (("id", videos.ids), ("path", videos.paths), ("group", videos.groups), ("video", videos.ids)):
        write_column(group, name, TEXT, texts)
    for name, label in videos.labels.items():
        write_column(group, name, LABEL, label)
    for name, split in videos.splits.items():
        write_column(group, f"split_{name}", SPLIT, split)
    for name, labels in videos.label_sets.items():
        write_column(group, name, label_set_layout(name), labels)
    for name, target in videos.targets.items():
        write_column(group, name, TARGET, target)
    for name, bounds in (("start_seconds", videos.start_seconds), ("end_seconds", videos.end_seconds)):
        if bounds is not None:
            write_column(group, name, PART_ARRAYS[name], bounds)
    for name, values in probe_columns.items():
        write_column(group, name, PROBE_ARRAYS[name], values)


def _write_view(
    root: zarr.Group,
    plan: ClipPlan,
    *,
    location: StoreLocation,
    video_ids: tuple[str, ...],
    videos_digest: str,
    block_size: int,
) -> None:
    attributes = {
        "parameters": dict(plan.parameters),
        "plan_digest": plan_digest(plan, videos=videos_digest),
        "num_clips": plan.num_clips,
        "created": False,
    }
    group = root.create_group(plan.view, overwrite=True, attributes=attributes)
    lengths = {
        "video": plan.num_videos,
        "clip": plan.num_clips,
        "coordinate": len(COORDINATE_NAMES),
        "parameter": len(AUGMENTATION_NAMES),
    }
    chunk_rows = plan_chunk_rows(num_videos=plan.num_videos, block_size=block_size)
    for name, layout in _plan_layouts(plan).items():
        array = create_array(group, name, layout, lengths=lengths, chunk_rows=chunk_rows)
        array[:] = getattr(plan, name)
    write_column(group, "video", TEXT, video_ids)
    write_column(group, "coordinate", COORDINATE, COORDINATE_NAMES)
    if plan.augmentation is not None:
        write_column(group, "parameter", PARAMETER, AUGMENTATION_NAMES)
    _finish(group, location)


def _write_backbone(
    store: FeatureStore, *, view: str, name: str, feature_dim: int, attributes: Mapping[str, Any]
) -> None:
    group = store.view_group(view).create_group(name, overwrite=True, attributes=dict(attributes))
    num_videos, num_clips = store.plan_arrays(view)["valid"].shape
    lengths = {"video": num_videos, "clip": num_clips, "feature": feature_dim, "block": store.num_blocks}
    for array, layout in BLOCK_ARRAYS.items():
        create_array(group, array, layout, lengths=lengths, chunk_rows=store.block_size)
    create_array(group, "commit", COMMIT, lengths=lengths, chunk_rows=1)
    write_column(group, "video", TEXT, store.ids)
    _finish(group, store.location)


def _finish(group: zarr.Group, location: StoreLocation) -> None:
    """Mark a group as finished, once all beneath it is on disk."""
    location.flush_tree(group.path)
    group.attrs["created"] = True
    location.flush(f"{group.path}/zarr.json".lstrip("/"))
