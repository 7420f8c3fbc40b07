"""Features that are read a block at a time, from one store or several: for readers that don't hold all of them at once.

What is small is read at once: which clips are valid, where they lie, and the marks of the blocks. A block's features
come later, into a place that the caller keeps, from any thread and in any order.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate
from scale_video.store.errors import DamagedBlockError
from scale_video.store.read import FeatureStore
from scale_video.store.stored_array import StoredArray
from scale_video.store.union import ReadableStore, StoreUnion


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A block that holds some of the rows."""

    store: FeatureStore
    index: int
    """In its store."""
    mark: np.uint64
    """When the stream was opened: a digest of the block, so while it is the same, so are the features."""
    num_rows: int
    """Rows that are asked for."""


class BlockStream:
    """Blocks that together hold the features of some rows of a store.

    Args:
        store: Where they are; of several stores each gives blocks of its own.
        view: Name of the view.
        backbone: Name of the backbone.
        rows: N rows, in this order; each at most once.

    Raises:
        IncompleteStoreError: one of the rows lies in a block that is not committed.
        DamagedBlockError: a chunk of a committed block is absent, too long or too short, or says wrong what is valid.
        PlanMismatchError: the features of several stores do not go together.
    """

    def __init__(self, store: ReadableStore, view: str, backbone: str, rows: NDArray[np.int64]) -> None:
        store.plan_parameters(view)  # of several stores, compares them
        self._view, self._backbone = view, backbone
        self.feature_dim = store.feature_dim(view, backbone)
        """Length of a feature, D."""
        self.num_clips = store.num_clips(view)
        """Clips of the widest video, K."""
        self.block_of: NDArray[np.int64] = np.zeros(len(rows), dtype=np.int64)
        """Shape (N,): the block of each row, counted over all stores."""
        self.place_of: NDArray[np.int64] = np.zeros(len(rows), dtype=np.int64)
        """Shape (N,): its place within the block."""
        self.valid: NDArray[np.bool_] = np.zeros((len(rows), self.num_clips), dtype=np.bool_)
        """Shape (N, K): the clip has a feature."""
        self._blocks: list[_Block] = []
        self._parts = list(_parts(store, rows))
        for part in self._parts:
            self._open(*part)
        self.block_rows = max((block.store.block_size for block in self._blocks), default=0)
        """Rows of the largest block."""

    @property
    def num_blocks(self) -> int:
        """Blocks that hold some of the rows."""
        return len(self._blocks)

    @property
    def is_local(self) -> bool:
        """Whether all blocks are local files."""
        return all(block.store.location.is_local for block in self._blocks)

    def coordinates(self) -> NDArray[np.float32]:
        """Read where the clips lie.

        Returns:
            Shape (N, K, C), columns of ``Coordinate``, as planned; 0 where ``valid`` is false.

        Raises:
            StoreError: a chunk of them is missing or cannot be read.
        """
        coordinates = np.zeros((*self.valid.shape, len(Coordinate)), dtype=np.float32)
        for store, places, rows in self._parts:
            of_store = store.plan_arrays(self._view)["coordinates"].rows(rows)
            coordinates[places, : of_store.shape[1]] = of_store
        coordinates[~self.valid] = 0
        return coordinates

    def read(self, block: int, out: NDArray[np.float16]) -> None:
        """Read the features of one block.

        Args:
            block: Which.
            out: Shape (``block_rows``, K, D), contiguous. Rows get to their ``place_of``; of clips that are not valid,
                and behind a block's end, anything may be left.

        Raises:
            IncompleteStoreError: the block was written anew since the stream was opened.
            DamagedBlockError: it cannot be read.
        """
        asked = self._blocks[block]
        features = self._array(asked.store, "features")
        size, num_clips = features.chunk_rows, features.shape[1]
        if num_clips == self.num_clips:
            features.read_block(asked.index, out[:size])
        else:
            narrow = np.empty((size, *features.shape[1:]), dtype=np.float16)
            features.read_block(asked.index, narrow)
            out[:size, :num_clips] = narrow
        mark = np.zeros(1, dtype=np.uint64)
        with contextlib.suppress(DamagedBlockError):  # a writer has taken it away
            self._array(asked.store, "commit").read_block(asked.index, mark)
        if mark[0] != asked.mark:
            raise asked.store.rewritten(self._view, self._backbone, num_videos=asked.num_rows)

    def _open(self, store: FeatureStore, places: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Look at the part of the rows that one store holds.

        Args:
            store: The store.
            places: Where its rows stand among all, shape (R,).
            rows: What their numbers are in the store, shape (R,).
        """
        view, backbone = self._view, self._backbone
        blocks, block_of_row, counts = np.unique(rows // store.block_size, return_inverse=True, return_counts=True)
        marks = store.marks(view, backbone, blocks)
        there = (marks != 0) & store.committed(view, backbone, blocks)
        if not there.all():
            missing = int((~there[block_of_row]).sum())
            raise store.incomplete(view, backbone, missing=missing, wanted=len(rows))
        self._array(store, "features").check_sizes(blocks)  # before memory is taken for what they hold
        valid = self._array(store, "valid").rows(rows)
        self.valid[places, : valid.shape[1]] = valid
        self.block_of[places] = len(self._blocks) + block_of_row
        self.place_of[places] = rows % store.block_size
        self._blocks += [
            _Block(store, int(index), mark, int(num_rows))
            for index, mark, num_rows in zip(blocks, marks, counts, strict=True)
        ]

    def _array(self, store: FeatureStore, name: str) -> StoredArray:
        return store.backbone_arrays(self._view, self._backbone)[name]


def _parts(
    store: ReadableStore, rows: NDArray[np.int64]
) -> Iterator[tuple[FeatureStore, NDArray[np.int64], NDArray[np.int64]]]:
    """Each store that holds some of the rows, where these stand in ``rows``, and their numbers in the store."""
    stores = store.stores if isinstance(store, StoreUnion) else (store,)
    first = 0
    for part in stores:
        places = np.flatnonzero((rows >= first) & (rows < first + part.num_videos))
        if len(places):
            yield part, places, rows[places] - first
        first += part.num_videos
