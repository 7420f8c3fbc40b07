"""Verifying a store: every digest of every table, plan and committed block, recomputed from the bytes on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.clip_plan import COORDINATE_NAMES
from scale_video.store.digests import block_digest, plan_digest, probes_digest, videos_digest
from scale_video.store.errors import DamagedBlockError, StoreError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.members import readable, require_digest
from scale_video.store.read import FeatureStore
from scale_video.store.schema import (
    AUGMENTATION_ARRAY,
    BLOCK_ARRAYS,
    COORDINATE,
    PARAMETER,
    PROBE_ARRAYS,
    TEXT,
    ArrayLayout,
)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify_store`` found."""

    num_blocks: int
    """Blocks of all views and backbones."""
    num_committed: int
    """Blocks that carry a mark and all their chunks."""
    damaged: tuple[str, ...]
    """One line for each thing that is not as it was committed; empty for a sound store."""

    def raise_if_damaged(self) -> None:
        """Raise what was found.

        Raises:
            DamagedBlockError: anything is damaged.
        """
        if self.damaged:
            more = f" (and {len(self.damaged) - 1} more)" if len(self.damaged) > 1 else ""
            raise DamagedBlockError(self.damaged[0] + more)


def verify_store(url: str | Path, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Read a whole store and compare every digest.

    Args:
        url: path or fsspec URL.
        progress: called with (blocks done, blocks in all).

    Raises:
        StoreError: the store cannot be opened at all.
    """
    store = FeatureStore.open(url)
    damaged = [*_lines(_wrong_videos(store)), *_lines(_wrong_probes(store))]
    damaged += _lines(_wrong_names(store, store.videos_group(), "video", TEXT, names=_ids(store)))
    for view in store.views():
        damaged += _lines(_wrong_plan(store, view))
        damaged += _lines(_wrong_names(store, store.view_group(view), "video", TEXT, names=_ids(store)))
        damaged += _lines(_wrong_names(store, store.view_group(view), "coordinate", COORDINATE, names=COORDINATE_NAMES))
        damaged += _lines(_wrong_parameters(store, view))
    pairs = [(view, backbone) for view in store.views() for backbone in store.backbones(view)]
    total = len(pairs) * store.num_blocks
    num_committed = 0
    for number, (view, backbone) in enumerate(pairs):
        damaged += _lines(_wrong_names(store, store.backbone_group(view, backbone), "video", TEXT, names=_ids(store)))
        try:
            num_committed += int(store.committed(view, backbone).sum())
            for index, lines in enumerate(_damaged_blocks(store, view, backbone)):
                damaged += lines
                if progress is not None:
                    progress(number * store.num_blocks + index + 1, total)
        except StoreError as error:  # what belongs to no block, such as an array that is missing
            damaged.append(str(error))
    return VerifyReport(num_blocks=total, num_committed=num_committed, damaged=tuple(damaged))


def _lines(faults: Iterator[str]) -> Iterator[str]:
    """The faults that are found, and the one that ended the search."""
    try:
        yield from faults
    except StoreError as error:
        yield str(error)


def _ids(store: FeatureStore) -> tuple[str, ...] | None:
    """The ids, or None where they cannot be read, which is a fault of the table of videos and of nothing else."""
    try:
        return store.ids
    except StoreError:
        return None


def _wrong_videos(store: FeatureStore) -> Iterator[str]:
    if videos_digest(store.videos) != require_digest(store.root, "videos_digest"):
        yield "the table of videos is not the one that was planned (ids, paths, groups, labels, splits …)"


def _wrong_probes(store: FeatureStore) -> Iterator[str]:
    columns = {name: store.column(name) for name in PROBE_ARRAYS}
    if probes_digest(columns) != require_digest(store.root, "probes_digest"):
        yield "the table of videos does not hold what the probe found (durations, sizes, content digests …)"


def _wrong_plan(store: FeatureStore, view: str) -> Iterator[str]:
    if plan_digest(store.plan(view), videos=require_digest(store.root, "videos_digest")) != store.plan_digest(view):
        yield f"the plan of view {view!r} is not the one that was drawn (coordinates, augmentation, parameters …)"


def _wrong_parameters(store: FeatureStore, view: str) -> Iterator[str]:
    if AUGMENTATION_ARRAY in store.plan_arrays(view):
        yield from _wrong_names(store, store.view_group(view), "parameter", PARAMETER, names=AUGMENTATION_NAMES)


def _wrong_names(
    store: FeatureStore, group: zarr.Group, name: str, layout: ArrayLayout, *, names: Sequence[str] | None
) -> Iterator[str]:
    """Check the names of rows or columns, which xarray selects by."""
    if names is None:
        return
    array = store.table_array(group, name, layout, length=len(names))
    with readable(f"array {array.path!r}"):
        found = array[:]
    if not np.array_equal(found, np.array(names, dtype=object)):
        yield f"array {array.path!r} does not hold the names that the format demands"


def _damaged_blocks(store: FeatureStore, view: str, backbone: str) -> Iterator[list[str]]:
    """What is wrong with each block, in order."""
    group = f"{view}/{backbone}"
    arrays, plan = store.backbone_arrays(view, backbone), store.plan_digest(view)
    marks = store.marks(view, backbone)
    sizes = {name: array.sizes(range(store.num_blocks)) for name, array in arrays.items()}
    for index, mark in enumerate(marks):
        rows = store.block_rows(index)
        faults: list[str] = []
        values: dict[str, NDArray[Any]] = {}
        for name in BLOCK_ARRAYS if mark else ["commit"]:  # a mark that cannot be read counts as 0
            wanted = np.arange(rows.start, rows.stop) if mark else np.array([index])
            if mark and sizes[name][index] == 0:
                faults.append(str(DamagedBlockError.at(group, index, f"array {name!r} has no bytes, but a mark")))
                continue
            try:
                values[name] = arrays[name].rows(wanted)
            except DamagedBlockError as error:
                faults.append(str(error))
        if mark and not faults and (fault := _contradiction(values, index=index, mark=int(mark), plan=plan)):
            faults.append(str(DamagedBlockError.at(group, index, fault)))
        yield faults


def _contradiction(values: Mapping[str, NDArray[Any]], *, index: int, mark: int, plan: str) -> str:
    """Why arrays whose checksums hold are still not what was committed; empty when they are."""
    try:
        block = FeatureBlock(
            index=index,
            features=values["features"],
            valid=values["valid"],
            status=values["status"],
            error=tuple(values["error"]),
        )
    except ValueError as error:
        return f"its arrays contradict each other: {error}"
    if block_digest(block, plan=plan) != mark:
        return "features, valid, status or error are not those that were committed"
    return ""
