"""What a finished store consists of: its attributes, views, backbones and arrays, each checked when it is taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import zarr

from scale_video.store.augmentation import Augmentation
from scale_video.store.clip_plan import Coordinate
from scale_video.store.errors import FormatVersionError, MissingArrayError, StoreError, StoreNotFoundError
from scale_video.store.location import StoreLocation
from scale_video.store.members import (
    attributes_of,
    finished_group,
    finished_groups,
    member,
    require_array,
    require_count,
    require_digest,
)
from scale_video.store.schema import (
    AUGMENTATION,
    AUGMENTATION_ARRAY,
    BLOCK_ARRAYS,
    COMMIT,
    FORMAT_NAME,
    FORMAT_VERSION,
    PLAN_ARRAYS,
    TABLE_CHUNK,
    VIDEOS,
    ArrayLayout,
    plan_chunk_rows,
)
from scale_video.store.stored_array import StoredArray

ID_BYTES: Final = 4
"""The least that an id takes in a chunk: its length."""


class StoreHierarchy:
    """The groups and arrays of a finished store, opened and checked, but not read."""

    def __init__(self, location: StoreLocation, root: zarr.Group) -> None:
        self.location = location
        self.num_videos = require_count(root, "num_videos")
        """Rows, N."""
        self.block_size = require_count(root, "block_size")
        """Videos in a block."""
        self.attributes: Mapping[str, Any] = attributes_of(root)
        """The root's attributes."""
        self.root = root
        """The root group; the creator adds views to it."""
        self._arrays: dict[tuple[str, str], dict[str, StoredArray]] = {}
        self._plan_arrays: dict[str, dict[str, StoredArray]] = {}
        self._check_num_videos()

    @classmethod
    def open(cls, url: str | Path, *, writable: bool = False) -> Self:
        """Open a store by path or fsspec URL.

        Args:
            url: the path or URL.
            writable: open groups and arrays for the creator's and the writers' use.

        Raises:
            StoreNotFoundError: nothing is there, something else is, or its creation never finished.
            FormatVersionError: it was written in another format version.
            StoreError: its metadata cannot be read.
        """
        location = StoreLocation.of(url)
        root = location.open_group("r+" if writable else "r")
        if root.attrs.get("format") != FORMAT_NAME:
            raise StoreNotFoundError(
                f"{location.url!r} is a Zarr group, but no feature store (its attribute 'format' is not "
                f"{FORMAT_NAME!r}); choose another place"
            )
        version = root.attrs.get("format_version")
        if version != FORMAT_VERSION:
            raise FormatVersionError(
                f"store {location.url!r} has format version {version!r:.100}, this release reads version "
                f"{FORMAT_VERSION}; install the release of scale-video that wrote it, or a newer one"
            )
        if root.attrs.get("created") is not True:
            raise StoreNotFoundError(
                f"the creation of store {location.url!r} was interrupted; run the same `scale-video extract` again"
            )
        return cls(location, root)

    @property
    def url(self) -> str:
        """The store's address: an absolute local path, or a URL."""
        return self.location.url

    @property
    def num_blocks(self) -> int:
        """Blocks of every backbone."""
        return -(-self.num_videos // self.block_size)

    def block_rows(self, index: int) -> slice:
        """Rows of a block.

        Raises:
            ValueError: there is no such block.
        """
        if not 0 <= index < self.num_blocks:
            raise ValueError(f"a backbone has blocks 0 to {self.num_blocks - 1} here, got block {index}")
        return slice(index * self.block_size, min((index + 1) * self.block_size, self.num_videos))

    def views(self) -> tuple[str, ...]:
        """Names of the finished views, sorted."""
        return tuple(name for name in finished_groups(self.root) if name != VIDEOS)

    def backbones(self, view: str) -> tuple[str, ...]:
        """Names of the finished backbones of a view, sorted."""
        return finished_groups(self.view_group(view))

    def view_group(self, view: str) -> zarr.Group:
        """The group of a view.

        Raises:
            MissingArrayError: there is none of this name.
        """
        group = finished_group(self.root, view) if view != VIDEOS else None
        if group is None:
            known = ", ".join(self.views()) or "none"
            raise MissingArrayError(f"store {self.location.url!r} has no view {view!r}; it has: {known}")
        return group

    def backbone_group(self, view: str, backbone: str) -> zarr.Group:
        """The group of a backbone.

        Raises:
            MissingArrayError: there is none of this name.
        """
        group = finished_group(self.view_group(view), backbone)
        if group is None:
            known = ", ".join(self.backbones(view)) or "none"
            raise MissingArrayError(
                f"view {view!r} of store {self.location.url!r} has no features of {backbone!r}; it has: {known}"
            )
        return group

    def backbone_attributes(self, view: str, backbone: str) -> Mapping[str, Any]:
        """What is recorded of a backbone: source, weights digest, preprocessing, layer, licence, batch size.

        Raises:
            MissingArrayError: there is none of this name.
        """
        return attributes_of(self.backbone_group(view, backbone))

    def backbone_arrays(self, view: str, backbone: str) -> Mapping[str, StoredArray]:
        """The lazily read arrays of a backbone, checked against the format once.

        Raises:
            MissingArrayError: the backbone or one of its arrays is absent, or is not what the format demands.
        """
        if (view, backbone) not in self._arrays:
            group = self.backbone_group(view, backbone)
            lengths = self._plan_lengths(view) | {
                "feature": require_count(group, "feature_dim"),
                "block": self.num_blocks,
            }
            arrays = {
                name: self._array(group, name, layout, lengths, chunk_rows=self.block_size, by_blocks=True)
                for name, layout in BLOCK_ARRAYS.items()
            }
            arrays["commit"] = self._array(group, "commit", COMMIT, lengths, chunk_rows=1, by_blocks=True)
            self._arrays[view, backbone] = arrays
        return self._arrays[view, backbone]

    def num_clips(self, view: str) -> int:
        """Clips of the widest video of a view, K.

        Raises:
            MissingArrayError: there is no such view.
        """
        return self.plan_arrays(view)["valid"].shape[1]

    def feature_dim(self, view: str, backbone: str) -> int:
        """Length of a feature, D.

        Raises:
            MissingArrayError: there is no such view or backbone.
        """
        return self.backbone_arrays(view, backbone)["features"].shape[2]

    def plan_parameters(self, view: str) -> Mapping[str, Any]:
        """What a view's clips were drawn by.

        Raises:
            MissingArrayError: there is no such view, or it does not say.
        """
        parameters = attributes_of(self.view_group(view)).get("parameters")
        if not isinstance(parameters, Mapping):
            raise MissingArrayError(
                f"view {view!r} of store {self.location.url!r} does not say what it was drawn by (attribute "
                "'parameters'); the store is damaged, make it anew"
            )
        return parameters

    def plan_digest(self, view: str) -> str:
        """Digest of a view's plan, hexadecimal."""
        return require_digest(self.view_group(view), "plan_digest")

    def plan_arrays(self, view: str) -> Mapping[str, StoredArray]:
        """The lazily read ``coordinates``, ``valid`` and ``planned`` of a view, checked against the format once.

        A view that changes colours or sharpness has ``augmentation`` as well.

        Raises:
            MissingArrayError: one is absent, or is not what the format demands.
        """
        if view not in self._plan_arrays:
            group, lengths = self.view_group(view), self._plan_lengths(view)
            rows = plan_chunk_rows(num_videos=self.num_videos, block_size=self.block_size)
            layouts = dict(PLAN_ARRAYS)
            if isinstance(member(group, AUGMENTATION_ARRAY), zarr.Array):
                layouts[AUGMENTATION_ARRAY] = AUGMENTATION
            self._plan_arrays[view] = {
                name: self._array(group, name, layout, lengths, chunk_rows=rows) for name, layout in layouts.items()
            }
        return self._plan_arrays[view]

    def videos_group(self) -> zarr.Group:
        """The group of the table of videos.

        Raises:
            MissingArrayError: there is none.
        """
        group = member(self.root, VIDEOS)
        if not isinstance(group, zarr.Group):
            raise MissingArrayError(f"store {self.location.url!r} has no group {VIDEOS!r}; it is damaged")
        return group

    def table_array(
        self,
        group: zarr.Group,
        name: str,
        layout: ArrayLayout,
        *,
        length: int | None = None,
        num_classes: int | None = None,
    ) -> StoredArray:
        """An array with a value for each video, or ``length`` values, checked against the format.

        Args:
            group: where it is.
            name: its name.
            layout: dtype and dimensions.
            length: of the first dimension; the number of videos when None.
            num_classes: of the second dimension, which label sets have.

        Raises:
            MissingArrayError: it is absent, or is not what the format demands.
        """
        length = self.num_videos if length is None else length
        lengths = dict(zip(layout.dimensions, (length, num_classes or 0), strict=False))
        return self._array(group, name, layout, lengths, chunk_rows=min(TABLE_CHUNK, length))

    def _array(
        self,
        group: zarr.Group,
        name: str,
        layout: ArrayLayout,
        lengths: Mapping[str, int],
        *,
        chunk_rows: int,
        by_blocks: bool = False,
    ) -> StoredArray:
        return require_array(
            group,
            name,
            layout,
            location=self.location,
            lengths=lengths,
            chunk_rows=chunk_rows,
            by_blocks=by_blocks,
        )

    def _check_num_videos(self) -> None:
        """Hold the number of videos, which much memory is taken by, against the bytes of their ids."""
        num_bytes = self.location.num_bytes(f"{VIDEOS}/id")
        if self.num_videos > num_bytes // ID_BYTES:
            raise StoreError(
                f"store {self.location.url!r} claims {self.num_videos} videos, but has only {num_bytes} bytes of ids; "
                "it is damaged, make it anew"
            )

    def _plan_lengths(self, view: str) -> dict[str, int]:
        num_clips = require_count(self.view_group(view), "num_clips")
        return {
            "video": self.num_videos,
            "clip": num_clips,
            "coordinate": len(Coordinate),
            "parameter": len(Augmentation),
        }
