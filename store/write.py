"""Writing blocks: the data first, forced to disk, and the mark that makes them exist last."""

from pathlib import Path

import numpy as np
import zarr

from scale_video.store.digests import block_digest
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.schema import BLOCK_ARRAYS, require_array


class BlockWriter:
    """Writes blocks of one backbone in one view. A block must have one writer at a time; blocks are independent."""

    def __init__(self, url: str | Path, *, view: str, backbone: str) -> None:
        store = FeatureStore.open(url)
        self.path = f"{view}/{backbone}"
        store.backbone_arrays(view, backbone)  # raises when one is missing
        self._location = StoreLocation.of(url)
        self._plan_digest = store.plan_digest(view)
        self._block_size = store.block_size
        group = zarr.open_group(self._location.url, mode="r+", path=self.path, zarr_format=3, use_consolidated=False)
        # Reopened arrays forget this setting, and a chunk of fill values would be left out without it.
        self._arrays = {
            name: require_array(group, name).with_config({"write_empty_chunks": True}) for name in BLOCK_ARRAYS
        }
        self._commit = require_array(group, "commit").with_config({"write_empty_chunks": True})

    def write(self, block: FeatureBlock) -> None:
        """Write and commit one block, replacing what may be there.

        Raises:
            ValueError: the block has another shape than the store gives it.
            OSError: the disk is full or the store cannot be written; the block then stays uncommitted.
        """
        num_videos, num_clips, feature_dim = self._arrays["features"].shape
        first = block.index * self._block_size
        size = min(self._block_size, num_videos - first)
        if not 0 <= block.index < self._commit.shape[0] or block.features.shape != (size, num_clips, feature_dim):
            raise ValueError(
                f"block {block.index} of {self.path} must have features of shape {(size, num_clips, feature_dim)}, "
                f"got {block.features.shape}"
            )
        if self._commit[block.index] != 0:
            self._mark(block.index, 0)
        rows = slice(first, first + size)
        self._arrays["features"][rows] = block.features
        self._arrays["valid"][rows] = block.valid
        self._arrays["status"][rows] = block.status
        self._arrays["error"][rows] = np.array(block.error, dtype=object)
        for name in BLOCK_ARRAYS:
            self._location.flush(f"{self.path}/{name}", block.index)
        self._mark(block.index, block_digest(block, plan=self._plan_digest))

    def _mark(self, index: int, mark: int) -> None:
        self._commit[index] = np.uint64(mark)
        self._location.flush(f"{self.path}/commit", index)
