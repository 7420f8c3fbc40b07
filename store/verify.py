"""Verifying a store: every digest of every committed block, recomputed from the bytes on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scale_video.store.digests import block_digest, plan_digest, videos_digest
from scale_video.store.errors import DamagedBlockError
from scale_video.store.read import FeatureStore
from scale_video.store.schema import BLOCK_ARRAYS


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
            raise DamagedBlockError("; ".join(self.damaged))


def verify_store(url: str | Path, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Read a whole store and compare every digest.

    Args:
        url: path or fsspec URL.
        progress: called with (blocks done, blocks in all).

    Raises:
        StoreError: the store cannot be opened at all.
    """
    store = FeatureStore.open(url)
    damaged = _damaged_plans(store)
    pairs = [(view, backbone) for view in store.views() for backbone in store.backbones(view)]
    total = len(pairs) * store.num_blocks
    num_committed = done = 0
    for view, backbone in pairs:
        marks = store.marks(view, backbone)
        plan = store.plan_digest(view)
        sizes = {name: store.location.chunk_sizes(f"{view}/{backbone}/{name}") for name in BLOCK_ARRAYS}
        committed = store.committed(view, backbone)
        num_committed += int(committed.sum())
        for index, mark in enumerate(marks):
            if mark != 0:
                damaged += _damaged_block(store, view, backbone, index=index, mark=int(mark), plan=plan, sizes=sizes)
            done += 1
            if progress is not None:
                progress(done, total)
    return VerifyReport(num_blocks=total, num_committed=num_committed, damaged=tuple(damaged))


def _damaged_plans(store: FeatureStore) -> list[str]:
    damaged = []
    videos = videos_digest(store.videos)
    if videos != store.attributes["videos_digest"]:
        damaged.append("the table of videos is not the one that was planned (group 'videos')")
    for view in store.views():
        try:
            digest = plan_digest(store.plan(view), videos=str(store.attributes["videos_digest"]))
        except ValueError as error:  # a chunk whose checksum fails, or values that are no plan
            damaged.append(f"plan of view {view!r} cannot be read: {error}")
            continue
        if digest != store.plan_digest(view):
            damaged.append(f"plan of view {view!r} is not the one that was drawn (coordinates, valid or planned)")
    return damaged


def _damaged_block(
    store: FeatureStore, view: str, backbone: str, *, index: int, mark: int, plan: str, sizes: dict[str, dict[int, int]]
) -> list[str]:
    where = f"block {index} of {view}/{backbone}"
    arrays = store.backbone_arrays(view, backbone)
    damaged = []
    for name in BLOCK_ARRAYS:
        if sizes[name].get(index, 0) == 0:
            damaged.append(f"{where}: array {name!r} is committed but has no bytes")
            continue
        try:
            arrays[name][store.block_rows(index)]
        except Exception as error:  # whatever a codec makes of foreign bytes: it must name the array, not end the check
            damaged.append(f"{where}: array {name!r} cannot be read: {error}")
    if damaged:
        return damaged
    try:
        block = store.read_block(view, backbone, index)
    except ValueError as error:
        return [f"{where}: its arrays contradict each other: {error}"]
    if block_digest(block, plan=plan) != mark:
        damaged.append(f"{where}: features, valid, status or error are not those that were committed")
    return damaged
