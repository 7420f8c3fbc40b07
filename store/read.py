"""Reading a store: its videos, its plans, and the blocks that are committed. What is not committed does not exist."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.errors import DamagedBlockError, IncompleteStoreError, MissingArrayError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.hierarchy import StoreHierarchy
from scale_video.store.members import attributes_of, member, quiet_zarr, readable
from scale_video.store.names import check_relative_paths
from scale_video.store.schema import BLOCK_ARRAYS, PART_ARRAYS, PROBE_ARRAYS, column_layout
from scale_video.store.stored_array import StoredArray
from scale_video.store.video_parts import VideoParts, check_parts
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

ROWS_PER_RUN: Final = 65_536
"""Videos whose outcome is looked at together: 1 024 blocks of 64."""


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """What became of each of N videos under one backbone."""

    status: NDArray[np.uint8]
    """Shape (N,): codes of ``VideoStatus``; ``PENDING`` in blocks that are not committed."""
    error: tuple[str, ...]
    """N reasons, empty where nothing failed."""


class FeatureStore(StoreHierarchy):
    """A finished store, opened for reading. Any number may read while blocks are being written."""

    def plan(self, view: str) -> ClipPlan:
        """A view's plan, read whole.

        Raises:
            StoreError: it cannot be read.
        """
        arrays = self.plan_arrays(view)
        with readable(f"the plan of view {view!r} in store {self.location.url!r}"):
            parameters = self.plan_parameters(view)
            return ClipPlan(view=view, parameters=parameters, **{name: array[:] for name, array in arrays.items()})

    @cached_property
    def videos(self) -> VideoTable:
        """The table of videos, read whole.

        Raises:
            StoreError: it cannot be read.
        """
        with readable(f"the table of videos in store {self.location.url!r}"):
            names = self.column_names
            return VideoTable(
                ids=self.ids,
                paths=tuple(self.column("path")),
                groups=tuple(self.column("group")),
                labels={n: self.column(n) for n in names if n == "label" or n.startswith("label_")},
                class_names=self.class_names,
                splits={n.removeprefix("split_"): self.column(n) for n in names if n.startswith("split_")},
                label_sets={n: self.column(n) for n in names if n == "labels" or n.startswith("labels_")},
                targets={n: self.column(n) for n in names if n == "target" or n.startswith("target_")},
                start_seconds=self.column("start_seconds") if "start_seconds" in names else None,
                end_seconds=self.column("end_seconds") if "end_seconds" in names else None,
            )

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns of the table of videos, sorted.

        Raises:
            StoreError: they cannot be read.
        """
        with readable(f"the table of videos in store {self.location.url!r}"), quiet_zarr():
            return tuple(sorted(self.videos_group().array_keys()))

    @cached_property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """For each column of labels, and each of label sets, the name of each class index."""
        class_names = attributes_of(self.videos_group())["class_names"]
        return {name: _list_of_names(name, values) for name, values in class_names.items()}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The videos' ids."""
        return tuple(self.column("id"))

    def column(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Some rows of a column of the table of videos; text as Python strings, label sets with a column a class.

        Raises:
            MissingArrayError: there is no such column, or it is not what the format demands.
            StoreError: it cannot be read, or a path leads out of the data root.
        """
        layout = column_layout(name)
        if layout is None:
            raise MissingArrayError(f"the table of videos has no column {name!r}")
        with readable(f"the class names of {name!r} in store {self.location.url!r}"):
            num_classes = len(self.class_names[name]) if len(layout.dimensions) > 1 else None
        values = self.table_array(self.videos_group(), name, layout, num_classes=num_classes)[rows]
        if name == "path":
            with readable(f"column 'path' of the table of videos in store {self.location.url!r}"):
                check_relative_paths(values.tolist())
        return values

    def parts(self, rows: slice = slice(None)) -> VideoParts:
        """Which part of its file each of some rows is.

        Raises:
            StoreError: it cannot be read.
        """
        there = [member(self.videos_group(), name) is not None for name in PART_ARRAYS]
        start, end = (self.column(name, rows) if has else None for name, has in zip(PART_ARRAYS, there, strict=True))
        with readable(f"the parts of files in store {self.location.url!r}"):
            check_parts(start, end)
        return VideoParts.of(start, end, num_videos=len(range(*rows.indices(self.num_videos))))

    def file_names(self, rows: slice = slice(None)) -> tuple[str, ...]:
        """What messages call some rows: the path of the file, with ``#start-end`` where the row is a part of it.

        Raises:
            StoreError: it cannot be read.
        """
        parts = self.parts(rows)
        return tuple(f"{path}{parts.suffix(row)}" for row, path in enumerate(self.column("path", rows)))

    def probes(self, rows: slice = slice(None)) -> tuple[VideoProbe, ...]:
        """What the probe found, for some rows.

        Raises:
            StoreError: it cannot be read.
        """
        columns = {name: self.column(name, rows).tolist() for name in PROBE_ARRAYS}
        with readable(f"what the probe found in store {self.location.url!r}"):
            columns["status"] = [VideoStatus(code) for code in columns.pop("probe_status")]
            columns["error"] = columns.pop("probe_error")
            rows_of_values = zip(*columns.values(), strict=True)
            return tuple(VideoProbe(**dict(zip(columns, values, strict=True))) for values in rows_of_values)

    def marks(self, view: str, backbone: str, blocks: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """The commit marks of some blocks, or of all, as they stand; one that cannot be read counts as 0."""
        commit = self.backbone_arrays(view, backbone)["commit"]
        blocks = np.arange(self.num_blocks) if blocks is None else blocks
        try:
            return commit.rows(blocks)
        except DamagedBlockError:
            return np.array([self._mark(commit, block) for block in blocks], dtype=np.uint64)

    def _mark(self, commit: StoredArray, block: np.int64) -> int:
        try:
            return int(commit[block])
        except DamagedBlockError:
            return 0

    def committed(self, view: str, backbone: str, blocks: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which of some blocks, or of all, exist: marked, and with a non-empty chunk of every array."""
        arrays = self.backbone_arrays(view, backbone)
        blocks = np.arange(self.num_blocks) if blocks is None else blocks
        there: NDArray[np.bool_] = self.marks(view, backbone, blocks) != 0
        if there.any():
            for name in BLOCK_ARRAYS:
                there &= arrays[name].sizes(blocks) > 0
        return there

    def outcome(self, view: str, backbone: str) -> VideoOutcome:
        """Status and error of every video, in memory; ``outcomes`` gives them piece by piece."""
        pieces = list(self.outcomes(view, backbone))
        return VideoOutcome(
            status=np.concatenate([status for _, status, _ in pieces]),
            error=tuple(text for _, _, error in pieces for text in error),
        )

    def outcomes(self, view: str, backbone: str) -> Iterator[tuple[slice, NDArray[np.uint8], tuple[str, ...]]]:
        """What became of the videos, in runs of whole blocks, so that any number of them needs little memory.

        Yields:
            Consecutive rows; their statuses (``PENDING`` in blocks that are not committed); their errors (empty where
            nothing failed).

        Raises:
            DamagedBlockError: a chunk of a committed block cannot be read.
        """
        arrays = self.backbone_arrays(view, backbone)
        blocks_per_run = max(1, ROWS_PER_RUN // self.block_size)
        committed = self.committed(view, backbone)  # once: object stores list whole folders for it
        for first in range(0, self.num_blocks, blocks_per_run):
            blocks = np.arange(first, min(first + blocks_per_run, self.num_blocks))
            rows = slice(self.block_rows(int(blocks[0])).start, self.block_rows(int(blocks[-1])).stop)
            wanted = np.arange(rows.start, rows.stop)
            there = committed[blocks][(wanted - rows.start) // self.block_size]
            status = self._committed_rows(arrays["status"], wanted, there=there)
            error = self._committed_rows(arrays["error"], wanted, there=there)
            yield rows, status, tuple(error)

    def read_block(self, view: str, backbone: str, index: int) -> FeatureBlock:
        """One block as it stands, committed or not.

        Raises:
            DamagedBlockError: a chunk of it cannot be read.
            ValueError: its arrays contradict each other.
        """
        rows = self.block_rows(index)
        wanted = np.arange(rows.start, rows.stop)
        arrays = self.backbone_arrays(view, backbone)
        values = {name: arrays[name].rows(wanted) for name in BLOCK_ARRAYS}
        error = tuple(values.pop("error"))
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
            IncompleteStoreError: one of the rows lies in a block that is not committed, or is written anew meanwhile.
            DamagedBlockError: a chunk of a committed block cannot be read.
            ValueError: a row is outside the table.
        """
        arrays = self.backbone_arrays(view, backbone)
        rows = np.arange(self.num_videos) if rows is None else np.asarray(rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_videos:
            raise ValueError(f"rows must be in [0, {self.num_videos}), got [{rows.min()}, {rows.max()}]")
        blocks, block_of_row = np.unique(rows // self.block_size, return_inverse=True)
        marks = self.marks(view, backbone, blocks)
        there = ((marks != 0) & self.committed(view, backbone, blocks))[block_of_row]
        if not there.all() and not allow_incomplete:
            raise self.incomplete(view, backbone, missing=int((~there).sum()), wanted=len(rows))
        with readable(f"features {view}/{backbone} of store {self.location.url!r}"):
            arrays["features"].check_sizes(blocks[np.unique(block_of_row[there])])
            valid = self._committed_rows(arrays["valid"], rows, there=there)
            features = self._committed_rows(arrays["features"], rows, there=there)
            features[~valid & there[:, None]] = 0  # the others are zeros that no memory was touched for yet
            coordinates = self.plan_arrays(view)["coordinates"].rows(rows)
            coordinates[~valid] = 0
        # A mark is a digest of its block: while it is the same, so is what was read.
        rewritten = (self.marks(view, backbone, blocks) != marks)[block_of_row] & there
        if rewritten.any():
            raise self.rewritten(view, backbone, num_videos=int(rewritten.sum()))
        return ClipFeatures(
            video_ids=tuple(self.ids[row] for row in rows), features=features, coordinates=coordinates, valid=valid
        )

    def incomplete(self, view: str, backbone: str, *, missing: int, wanted: int) -> IncompleteStoreError:
        """The error for videos whose blocks are not committed."""
        return IncompleteStoreError(
            f"{missing} of {wanted} videos of {view}/{backbone} in store {self.location.url!r} are not extracted yet; "
            "run the same `scale-video extract` again to complete them"
        )

    def rewritten(self, view: str, backbone: str, *, num_videos: int) -> IncompleteStoreError:
        """The error for videos whose blocks have another mark than before they were read."""
        return IncompleteStoreError(
            f"{num_videos} videos of {view}/{backbone} in store {self.location.url!r} were extracted anew while they "
            "were read; read again when that job has ended"
        )

    @staticmethod
    def _committed_rows(array: StoredArray, rows: NDArray[np.int64], *, there: NDArray[np.bool_]) -> NDArray[Any]:
        """Rows of a block array; zeros (or empty texts), and no look at the bytes, where a row is not ``there``."""
        if there.all():
            return array.rows(rows)
        values = np.zeros((len(rows), *array.shape[1:]), dtype=array.dtype)
        if array.dtype == np.object_:
            values[:] = ""
        values[there] = array.rows(rows[there])
        return values


def _list_of_names(column: str, values: Any) -> tuple[str, ...]:
    """Class names as metadata hold them; a text would be taken for a list of its letters.

    Raises:
        ValueError: they are no list.
    """
    if not isinstance(values, list):
        raise ValueError(f"the class names of {column!r} must be a list, got {str(values)[:40]!r}")
    return tuple(values)
