"""Pre-training straight from stores: small things are read at once, features where and when they are needed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.aggregate.clip_source import OpenClips, ResidentClips, Share
from scale_video.aggregate.normalise_coordinates import Positions, normalise_coordinates
from scale_video.aggregate.residency import Residence, Residency, decided_residence
from scale_video.aggregate.streamed_clips import StreamedClips
from scale_video.store.block_stream import BlockStream
from scale_video.store.clip_plan import Coordinate
from scale_video.store.union import ReadableStore

_REMOTE_READERS: Final = 16


class StoredClips:
    """Clips of some videos of a store, or of several that are read as one.

    Args:
        store: Where they are.
        views: One view, or two of the same videos.
        backbone: Name of the features.
        rows: Rows of the videos, N.
        residency: Where features are to live.
        memory_limit_bytes: What they may take of this machine's memory, all processes together; None: a part of what
            is available when training begins.

    Raises:
        StoreError: they are not there, not complete, or damaged.
        ValueError: the features of the two views have other lengths.
    """

    def __init__(
        self,
        store: ReadableStore,
        views: Sequence[str],
        backbone: str,
        rows: NDArray[np.int64],
        *,
        residency: Residency = "auto",
        memory_limit_bytes: int | None = None,
    ) -> None:
        ids = store.ids
        self.video_ids = tuple(ids[row] for row in rows)
        self._streams = [BlockStream(store, view, backbone, rows) for view in views]
        lengths = [stream.feature_dim for stream in self._streams]
        if len(set(lengths)) > 1:
            raise ValueError(f"the two views must hold features of one length, got {lengths[0]} and {lengths[1]}")
        self.feature_dim = lengths[0]
        self.valid: Sequence[NDArray[np.bool_]] = [stream.valid for stream in self._streams]
        self._residency = residency
        self._limit_bytes = memory_limit_bytes
        self._decided: dict[object, Residence] = {}
        self._opened: tuple[object, OpenClips] | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of all features and of what is known of their clips."""
        of_clip = 2 * self.feature_dim
        return self._fixed_bytes + sum(of_clip * valid.size for valid in self.valid)

    @property
    def _fixed_bytes(self) -> int:
        of_clip = 1 + 4 * len(Coordinate)
        return sum(of_clip * valid.size for valid in self.valid)

    def residence(self, device: torch.device, *, ranks_here: int) -> Residence:
        """Decide by sizes, once: a further training finds less memory, for these features are in it."""
        key = device, ranks_here
        if key not in self._decided:
            self._decided[key] = decided_residence(
                self._residency,
                num_bytes=self.num_bytes,
                device=device,
                ranks_here=ranks_here,
                limit_bytes=self._limit_bytes,
            )
        return self._decided[key]

    def open(
        self,
        residence: Residence,
        device: torch.device,
        *,
        share: Share,
        reserved_bytes: int,
        positions: Positions = "relative",
    ) -> OpenClips:
        """Read the features, or make ready to stream them. Further trainings use what the first has read.

        Raises:
            StoreError: a block cannot be read, or was written anew meanwhile.
        """
        key = residence.kind, device, share, reserved_bytes, positions
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # before others are read
            self._opened = (
                key,
                self._open(residence, device, share=share, reserved_bytes=reserved_bytes, positions=positions),
            )
        return self._opened[1]

    def _open(
        self,
        residence: Residence,
        device: torch.device,
        *,
        share: Share,
        reserved_bytes: int,
        positions: Positions,
    ) -> OpenClips:
        coordinates = [
            torch.from_numpy(normalise_coordinates(stream.coordinates(), stream.valid, flips=True, positions=positions))
            for stream in self._streams
        ]
        valid = [torch.from_numpy(of_view) for of_view in self.valid]
        if residence.kind == "stream":
            pool_bytes = residence.memory_bytes - reserved_bytes - self._fixed_bytes
            return StreamedClips(self._streams, coordinates, valid, pool_bytes=pool_bytes, share=share)
        where = device if residence.kind == "device" else torch.device("cpu")
        features = [read_all(stream, where) for stream in self._streams]
        return ResidentClips(
            features, [each.to(where) for each in coordinates], [each.to(where) for each in valid], share=share
        )


def read_all(stream: BlockStream, device: torch.device) -> Tensor:
    """The features of all rows of a stream, shape (N, K, D), float16; 0 where they are not valid.

    Main memory holds no more of them than a few blocks, unless it is where they are to live.

    Raises:
        StoreError: a block cannot be read, or was written anew meanwhile.
    """
    features = torch.empty((*stream.valid.shape, stream.feature_dim), dtype=torch.float16, device=device)
    order = np.argsort(stream.block_of, kind="stable")
    rows_of = np.split(order, np.searchsorted(stream.block_of[order], np.arange(1, stream.num_blocks)))

    def read(block: int) -> None:
        rows, size = rows_of[block], stream.block_rows
        consecutive = len(rows) == size and np.array_equal(rows, np.arange(rows[0], rows[0] + size))
        if device.type == "cpu" and consecutive and np.array_equal(stream.place_of[rows], np.arange(size)):
            part = features[rows[0] : rows[0] + size].numpy()
            stream.read(block, part)  # to its place at once
            part[~stream.valid[rows]] = 0
        else:
            whole = np.empty((size, *features.shape[1:]), dtype=np.float16)
            stream.read(block, whole)
            part = whole[stream.place_of[rows]]
            part[~stream.valid[rows]] = 0
            features[torch.from_numpy(rows).to(device)] = torch.from_numpy(part).to(device)

    with ThreadPoolExecutor(1 if stream.is_local else _REMOTE_READERS, thread_name_prefix="read-block") as readers:
        for _ in readers.map(read, range(stream.num_blocks)):
            pass
    return features
