"""Writing blocks: the data first, forced to disk, and the mark that makes them exist last."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from scale_video.store.digests import block_digest
from scale_video.store.errors import StoreError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.in_place_folder import InPlaceFolder
from scale_video.store.lock import check_lock
from scale_video.store.read import FeatureStore


class BlockWriter:
    """Writes blocks of one backbone in one view. A block must have one writer at a time; blocks are independent."""

    def __init__(self, url: str | Path, *, view: str, backbone: str, lock_token: str | None = None) -> None:
        """Open the arrays for writing.

        Args:
            url: path or fsspec URL of the store.
            view: name of the view.
            backbone: name of the backbone.
            lock_token: that of the ``StoreLock`` which the job holds. Then no block is written, and none is committed,
                once the lock was taken away or the store is not there any more.

        Raises:
            StoreError: there is no such store, view or backbone, or an array is not what the format demands.
        """
        self.path = f"{view}/{backbone}"
        self._lock_token = lock_token
        self._store = FeatureStore.open(url, writable=True)
        self._location = self._store.location
        self._plan_digest = self._store.plan_digest(view)
        self._planned_clips = self._store.plan_arrays(view)["valid"]
        # Reopened arrays forget this setting, and a chunk of fill values would be left out without it.
        self._layouts = self._store.backbone_arrays(view, backbone)
        group = self._group()
        self._arrays = {
            name: cast("zarr.Array[Any]", group[name]).with_config({"write_empty_chunks": True})
            for name in self._layouts
        }

    def write(self, block: FeatureBlock) -> None:
        """Write and commit one block, replacing what may be there.

        Raises:
            ValueError: the block has another shape than the store gives it, or clips that the view does not plan.
            StoreLostError: the lock is not ours any more. The block then does not exist, or it is what it was.
            OSError: the disk is full or the store cannot be written. The block then does not exist, or it is whole.
        """
        self._check_lock()
        try:
            self._write(block, self._check(block))
        except (FileNotFoundError, StoreError):
            self._check_lock()  # where the whole store is gone, this says so
            raise

    def _write(self, block: FeatureBlock, rows: slice) -> None:
        if self._layouts["commit"].sizes([block.index])[0] > 0:
            self._mark(block.index, 0)
        values = {
            "features": block.features,
            "valid": block.valid,
            "status": block.status,
            "error": np.array(block.error, dtype=object),
        }
        for name, value in values.items():
            self._arrays[name][rows] = value
        self._flush(block.index, *values)
        self._check_lock()
        self._mark(block.index, block_digest(block, plan=self._plan_digest))

    def _group(self) -> zarr.Group:
        """The group of the backbone, in which arrays can be written."""
        if not self._location.is_local:
            view, backbone = self.path.split("/")
            return self._store.backbone_group(view, backbone)
        folder = InPlaceFolder(self._location.root)
        return zarr.open_group(folder, mode="r+", path=self.path, zarr_format=3, use_consolidated=False)

    def _check_lock(self) -> None:
        if self._lock_token is not None:
            check_lock(self._location, self._lock_token)

    def _check(self, block: FeatureBlock) -> slice:
        rows = self._store.block_rows(block.index)
        shape = (rows.stop - rows.start, *self._layouts["features"].shape[1:])
        if block.features.shape != shape:
            raise ValueError(
                f"block {block.index} of {self.path} must have features of shape {shape}, got {block.features.shape}"
            )
        unplanned = block.valid & ~self._planned_clips[rows]
        if unplanned.any():
            video, clip = np.argwhere(unplanned)[0]
            raise ValueError(
                f"block {block.index} of {self.path} has a feature for clip {clip} of row {rows.start + video}, "
                "which the view does not plan"
            )
        return rows

    def _mark(self, index: int, mark: int) -> None:
        self._arrays["commit"][index] = np.uint64(mark)
        self._flush(index, "commit")

    def _flush(self, index: int, *names: str) -> None:
        self._location.flush(*(self._layouts[name].keys([index])[0] for name in names))
