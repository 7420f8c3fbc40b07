"""Reading a store: its videos, its plans, and the blocks that are committed. What is not committed does not exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import GroupNotFoundError

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import ClipPlan, Coordinate
from scale_video.store.errors import (
    FormatVersionError,
    IncompleteStoreError,
    MissingArrayError,
    StoreNotFoundError,
)
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.location import StoreLocation
from scale_video.store.schema import (
    BLOCK_ARRAYS,
    COMMIT,
    FORMAT_NAME,
    FORMAT_VERSION,
    PROBE_ARRAYS,
    VIDEOS,
    attributes_of,
    require_array,
)
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """What became of each of N videos under one backbone."""

    status: NDArray[np.uint8]
    """Shape (N,): codes of ``VideoStatus``; ``PENDING`` in blocks that are not committed."""
    error: tuple[str, ...]
    """N reasons, empty where nothing failed."""


class FeatureStore:
    """A finished store, opened for reading."""

    def __init__(self, location: StoreLocation, root: zarr.Group) -> None:
        self.location = location
        self._root = root
        self._arrays: dict[tuple[str, str], dict[str, zarr.Array[Any]]] = {}

    @classmethod
    def open(cls, url: str | Path) -> "FeatureStore":
        """Open a store by path or fsspec URL.

        Raises:
            StoreNotFoundError: nothing is there, something else is, or its creation never finished.
            FormatVersionError: it was written in a newer format.
        """
        location = StoreLocation.of(url)
        try:
            # A stale consolidation hides groups that were added since.
            root = zarr.open_group(location.url, mode="r", zarr_format=3, use_consolidated=False)
        except (FileNotFoundError, GroupNotFoundError):
            raise StoreNotFoundError(
                f"there is no feature store at {str(url)!r}; `scale-video extract` makes one"
            ) from None
        attributes = dict(root.attrs)
        if attributes.get("format") != FORMAT_NAME:
            raise StoreNotFoundError(f"{str(url)!r} is a Zarr group, but no feature store (no attribute 'format')")
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise FormatVersionError(
                f"store {str(url)!r} has format version {version}, this release reads version {FORMAT_VERSION}; "
                "install the release of scale-video that wrote it, or a newer one"
            )
        if not attributes.get("created"):
            raise StoreNotFoundError(
                f"the creation of store {str(url)!r} was interrupted; run the same `scale-video extract` again"
            )
        return cls(location, root)

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """The root's attributes."""
        return dict(self._root.attrs)

    @property
    def block_size(self) -> int:
        """Videos in a block."""
        return int(self.attributes["block_size"])

    @property
    def num_videos(self) -> int:
        """Rows, N."""
        return int(self.attributes["num_videos"])

    @property
    def num_blocks(self) -> int:
        """Blocks of every backbone."""
        return -(-self.num_videos // self.block_size)

    def block_rows(self, index: int) -> slice:
        """Rows of a block."""
        return slice(index * self.block_size, min((index + 1) * self.block_size, self.num_videos))

    def views(self) -> tuple[str, ...]:
        """Names of the finished views, sorted."""
        groups = self._root.groups()
        return tuple(sorted(name for name, group in groups if name != VIDEOS and group.attrs.get("created")))

    def backbones(self, view: str) -> tuple[str, ...]:
        """Names of the finished backbones of a view, sorted."""
        groups = self.view_group(view).groups()
        return tuple(sorted(name for name, group in groups if group.attrs.get("created")))

    def view_group(self, view: str) -> zarr.Group:
        """The group of a view.

        Raises:
            MissingArrayError: there is none of this name.
        """
        group = self._root.get(view) if view != VIDEOS else None
        if not isinstance(group, zarr.Group) or not group.attrs.get("created"):
            known = ", ".join(self.views()) or "none"
            raise MissingArrayError(f"store {self.location.url!r} has no view {view!r}; it has: {known}")
        return group

    def backbone_attributes(self, view: str, backbone: str) -> Mapping[str, Any]:
        """What is recorded of a backbone: source, weights digest, preprocessing, layer, licence, batch size.

        Raises:
            MissingArrayError: there is none of this name.
        """
        return attributes_of(self._backbone_group(view, backbone))

    def backbone_arrays(self, view: str, backbone: str) -> "Mapping[str, zarr.Array[Any]]":
        """The lazily read arrays of a backbone, checked for presence and shape once.

        Raises:
            MissingArrayError: the backbone or one of its arrays is absent or malformed.
        """
        if (view, backbone) not in self._arrays:
            group = self._backbone_group(view, backbone)
            lengths = {
                "video": self.num_videos,
                "clip": self.plan_arrays(view)["valid"].shape[1],
                "feature": int(attributes_of(group)["feature_dim"]),
                "block": self.num_blocks,
            }
            self._arrays[view, backbone] = {
                name: require_array(group, name, shape=tuple(lengths[dimension] for dimension in layout.dimensions))
                for name, layout in {**BLOCK_ARRAYS, "commit": COMMIT}.items()
            }
        return self._arrays[view, backbone]

    def _backbone_group(self, view: str, backbone: str) -> zarr.Group:
        group = self.view_group(view).get(backbone)
        if not isinstance(group, zarr.Group) or not group.attrs.get("created"):
            known = ", ".join(self.backbones(view)) or "none"
            raise MissingArrayError(
                f"view {view!r} of store {self.location.url!r} has no features of {backbone!r}; it has: {known}"
            )
        return group

    def plan_digest(self, view: str) -> str:
        """Digest of a view's plan, hexadecimal."""
        return str(self.view_group(view).attrs["plan_digest"])

    def plan_arrays(self, view: str) -> "dict[str, zarr.Array[Any]]":
        """The lazily read ``coordinates``, ``valid`` and ``planned`` of a view.

        Raises:
            MissingArrayError: one is absent or malformed.
        """
        group = self.view_group(view)
        num_clips = require_array(group, "valid").shape[1]
        shapes = {
            "coordinates": (self.num_videos, num_clips, len(Coordinate)),
            "valid": (self.num_videos, num_clips),
            "planned": (self.num_videos,),
        }
        return {name: require_array(group, name, shape=shape) for name, shape in shapes.items()}

    def plan(self, view: str) -> ClipPlan:
        """A view's plan, read whole."""
        arrays = {name: np.asarray(array[:]) for name, array in self.plan_arrays(view).items()}
        return ClipPlan(view=view, parameters=attributes_of(self.view_group(view))["parameters"], **arrays)

    @cached_property
    def videos(self) -> VideoTable:
        """The table of videos, read whole."""
        group = self.videos_group()
        class_names = attributes_of(group)["class_names"]
        names = [name for name, _ in group.arrays()]
        text = {name: tuple(str(v) for v in self.column(name)) for name in ("id", "path", "group")}
        return VideoTable(
            ids=text["id"],
            paths=text["path"],
            groups=text["group"],
            labels={n: self.column(n) for n in names if n == "label" or n.startswith("label_")},
            class_names={name: tuple(values) for name, values in class_names.items()},
            splits={n.removeprefix("split_"): self.column(n) for n in names if n.startswith("split_")},
        )

    def videos_group(self) -> zarr.Group:
        """The group of the table of videos."""
        group = self._root.get(VIDEOS)
        if not isinstance(group, zarr.Group):
            raise MissingArrayError(f"store {self.location.url!r} has no group {VIDEOS!r}; it is damaged")
        return group

    def column(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Some rows of a column of the table of videos.

        Raises:
            MissingArrayError: there is no such column, or it is not as long as the table.
        """
        return np.asarray(require_array(self.videos_group(), name, shape=(self.num_videos,))[rows])

    def probes(self, rows: slice = slice(None)) -> tuple[VideoProbe, ...]:
        """What the probe found, for some rows."""
        columns = {name: self.column(name, rows).tolist() for name in PROBE_ARRAYS}
        columns["status"] = [VideoStatus(code) for code in columns.pop("probe_status")]
        columns["error"] = columns.pop("probe_error")
        names = list(columns)
        return tuple(VideoProbe(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True))

    def marks(self, view: str, backbone: str) -> NDArray[np.uint64]:
        """The commit marks as they stand, shape (blocks,)."""
        return np.asarray(self.backbone_arrays(view, backbone)["commit"][:])

    def committed(self, view: str, backbone: str) -> NDArray[np.bool_]:
        """Which blocks exist, shape (blocks,): marked, and with a non-empty chunk of every array."""
        marked: NDArray[np.bool_] = self.marks(view, backbone) != 0
        if marked.any():
            for name in BLOCK_ARRAYS:
                sizes = self.location.chunk_sizes(f"{view}/{backbone}/{name}")
                marked &= np.array([sizes.get(index, 0) > 0 for index in range(len(marked))])
        return marked

    def outcome(self, view: str, backbone: str) -> VideoOutcome:
        """Status and error of every video."""
        arrays = self.backbone_arrays(view, backbone)
        there = np.repeat(self.committed(view, backbone), self.block_size)[: self.num_videos]
        status = np.where(there, np.asarray(arrays["status"][:]), VideoStatus.PENDING).astype(np.uint8)
        errors = np.asarray(arrays["error"][:])
        return VideoOutcome(status=status, error=tuple(str(e) if t else "" for e, t in zip(errors, there, strict=True)))

    def read_block(self, view: str, backbone: str, index: int) -> FeatureBlock:
        """One block as it stands, committed or not; an error of its codecs is passed on."""
        arrays = self.backbone_arrays(view, backbone)
        rows = self.block_rows(index)
        values = {name: np.asarray(arrays[name][rows]) for name in BLOCK_ARRAYS}
        error = tuple(str(e) for e in values.pop("error"))
        return FeatureBlock(index=index, error=error, **values)

    def read_features(
        self, view: str, backbone: str, rows: NDArray[np.int64] | None = None, *, allow_incomplete: bool = False
    ) -> ClipFeatures:
        """Features with their coordinates, for all or some videos, in memory.

        Args:
            view: name of the view.
            backbone: name of the backbone.
            rows: rows to read, in this order; all when None.
            allow_incomplete: take what is committed instead of refusing.

        Raises:
            IncompleteStoreError: one of the rows lies in a block that is not committed.
        """
        arrays = self.backbone_arrays(view, backbone)
        rows = np.arange(self.num_videos) if rows is None else np.asarray(rows)
        there = self.committed(view, backbone)[rows // self.block_size]
        if not there.all() and not allow_incomplete:
            raise IncompleteStoreError(
                f"{(~there).sum()} of {len(rows)} videos of {view}/{backbone} in store {self.location.url!r} are not "
                "extracted yet; run the same `scale-video extract` again to complete them"
            )
        plan = self.plan_arrays(view)
        valid = _take(arrays["valid"], rows) & there[:, None]
        features = _take(arrays["features"], rows)
        features[~valid] = 0
        coordinates = _take(plan["coordinates"], rows)
        coordinates[~valid] = 0
        ids = self.column("id")
        return ClipFeatures(
            video_ids=tuple(str(ids[row]) for row in rows), features=features, coordinates=coordinates, valid=valid
        )


def _take(array: "zarr.Array[Any]", rows: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of an array. Reading all and choosing in memory beats Zarr's selection unless few blocks are wanted."""
    if len(rows) * 4 < array.shape[0]:
        return np.asarray(array.oindex[rows])
    whole = np.asarray(array[:])
    return whole if np.array_equal(rows, np.arange(len(whole))) else whole[rows]
