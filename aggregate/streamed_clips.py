"""Features that are read from the store while they are trained on, block by block, in memory of a fixed size.

An epoch takes the blocks in random order, and delays each video by a random number of places, up to the *window*. So
the videos of a batch come from many blocks, yet at any time only the blocks of a window need be in memory: it is what a
shuffle buffer does, but the whole order is known before anything is read. Therefore it does not depend on how fast
threads read, an epoch can begin at any step, and each rank reads the blocks of its own videos only.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.aggregate.clip_source import Share, row_keys
from scale_video.aggregate.counter_random import NUM_KEYS, Purpose, derived_seed, random_keys
from scale_video.store.amounts import memory_text
from scale_video.store.block_stream import BlockStream

_LOCAL_READERS: Final = 4
_REMOTE_READERS: Final = 16
"""Other file systems answer late; asking for many blocks at once hides that."""
_NARROWER: Final = 0.85


class StreamedClips:
    """Clips of videos whose features pass through memory once an epoch.

    Args:
        streams: Of each view, the same rows of the same stores.
        coordinates: Of each view, normalised, shape (N, K, C), float32.
        valid: Of each view, shape (N, K), bool.
        pool_bytes: What features may take of memory.
        share: Which part of every batch is this process's own.
    """

    def __init__(
        self,
        streams: Sequence[BlockStream],
        coordinates: Sequence[Tensor],
        valid: Sequence[Tensor],
        *,
        pool_bytes: int,
        share: Share,
    ) -> None:
        self.coordinates, self.valid = coordinates, valid
        self._streams = streams
        self._share = share
        self._block_of, self._place_of = streams[0].block_of, streams[0].place_of
        shapes = [(stream.block_rows, stream.num_clips, stream.feature_dim) for stream in streams]
        self._slot_bytes = sum(2 * int(np.prod(shape)) for shape in shapes)
        self._pool_bytes = pool_bytes
        self._num_slots = min(max(0, pool_bytes) // self._slot_bytes, streams[0].num_blocks)
        # memory is taken when a slot is first read into
        pools = [np.empty((self._num_slots, *shape), dtype=np.float16) for shape in shapes]
        self._pools = pools
        self.features: Sequence[Tensor] = [torch.from_numpy(pool).flatten(0, 1) for pool in pools]
        local = all(stream.is_local for stream in streams)
        self._num_readers = min(_LOCAL_READERS if local else _REMOTE_READERS, max(1, self._num_slots // 4))
        self.order = (
            f"{self._num_slots} blocks of {streams[0].num_blocks} at a time, {self._num_readers} readers, "
            f"{share.num_ranks} ranks"
        )

    def schedule(self, rows: Tensor, *, batch_size: int, seed: int, epoch: int) -> Tensor:
        """The rank's part of the blocks in random order, each video moved back by a random number of places.

        The videos are shared out so that all ranks have equally many, hence equally many steps; a block at the seam of
        two ranks is read by both.

        Raises:
            ValueError: the blocks of a single batch do not fit into memory.
        """
        num_ranks = self._share.num_ranks
        own = self._own_part(rows, seed=seed, epoch=epoch)
        videos = batch_size // num_ranks
        num_steps = len(own) // videos
        delays = random_keys(own, 1, seed=derived_seed(seed, epoch, Purpose.DELAYS)).squeeze(1).double() / NUM_KEYS
        num_blocks = len(np.unique(self._block_of[own.numpy()]))
        all_fit = num_blocks <= self._num_slots
        rows_per_block = len(own) / max(1, num_blocks)
        room = self._num_slots if all_fit else self._num_slots - self._blocks_ahead(videos / rows_per_block)
        window = math.inf if all_fit else room * rows_per_block  # no wider one can do
        while True:
            keys = delays if all_fit else torch.arange(len(own)) + delays * window
            schedule = own[keys.argsort()[: num_steps * videos]].view(num_steps, videos)
            needed = _Use(self._block_of[schedule.numpy()]).most_at_once()
            if needed <= room or window == 0:
                break
            window = window * _NARROWER if window > 1 else 0.0
        if needed > self._num_slots:
            raise ValueError(
                f"a batch of {videos} videos lies in {needed} blocks of {memory_text(self._slot_bytes)}, more than "
                f"fit into the {memory_text(max(0, self._pool_bytes))} that are left for features; raise "
                f"--memory-limit by {(needed * self._slot_bytes - self._pool_bytes) / 2**30:.2g} GiB, or lower "
                "pretrain.batch_size"
            )
        return schedule

    def places(self, schedule: Tensor) -> Iterator[Tensor]:
        """Have blocks read ahead into free slots, in the order in which they are needed."""
        use = _Use(self._block_of[schedule.numpy()])
        unread, free = deque(use.order.tolist()), deque(range(self._num_slots))
        slot_of = np.zeros(len(use.names), dtype=np.int64)
        reading: dict[int, Future[None]] = {}
        readers = ThreadPoolExecutor(self._num_readers, thread_name_prefix="read-block")
        try:
            for rows, blocks, ended in zip(schedule.numpy(), use.blocks, use.ended, strict=True):
                while unread and free:
                    block, slot = unread.popleft(), free.popleft()
                    slot_of[block] = slot
                    reading[block] = readers.submit(self._read, int(use.names[block]), slot)
                for block in np.unique(blocks).tolist():
                    if block in reading:
                        reading.pop(block).result()
                yield torch.from_numpy(slot_of[blocks] * self._streams[0].block_rows + self._place_of[rows])
                free.extend(slot_of[ended].tolist())
        finally:
            readers.shutdown(cancel_futures=True)

    def _own_part(self, rows: Tensor, *, seed: int, epoch: int) -> Tensor:
        """The rank's videos, block by block, blocks in random order."""
        names, block_of = np.unique(self._block_of[rows.numpy()], return_inverse=True)
        block_keys = random_keys(torch.from_numpy(names), 1, seed=derived_seed(seed, epoch, Purpose.BLOCKS))
        of_blocks = block_keys.squeeze(1).numpy()[block_of]
        order = rows[np.lexsort((row_keys(rows, seed=seed, epoch=epoch).numpy(), of_blocks))]
        rank, num_ranks = self._share
        each = len(rows) // num_ranks
        return order[rank * each : (rank + 1) * each]

    def _blocks_ahead(self, blocks_per_step: float) -> int:
        """Slots that are kept for reading what the next step needs while one goes on, where there are enough."""
        return min(math.ceil(blocks_per_step) + self._num_readers, self._num_slots // 3)

    def _read(self, block: int, slot: int) -> None:
        for stream, pool in zip(self._streams, self._pools, strict=True):
            stream.read(block, pool[slot])


class _Use:
    """When the steps of a schedule need which blocks.

    Args:
        blocks: Shape (steps, videos): the block of each video.
    """

    def __init__(self, blocks: NDArray[np.int64]) -> None:
        self.names, first, inverse = np.unique(blocks, return_index=True, return_inverse=True)
        """Blocks that are needed at all; the others of these are numbers of theirs."""
        self.blocks: NDArray[np.int64] = inverse.reshape(blocks.shape)
        """Shape (steps, videos)."""
        self.order: NDArray[np.int64] = np.argsort(first)
        """By the step that needs them first."""
        videos = max(1, blocks.shape[1])
        self._first_step = first // videos
        last = np.zeros(len(self.names), dtype=np.int64)
        last[inverse.reshape(-1)] = np.arange(blocks.size)  # the last one stays
        self._last_step = last // videos
        by_step = np.argsort(self._last_step, kind="stable")
        bounds = np.searchsorted(self._last_step[by_step], np.arange(1, len(blocks)))
        self.ended: list[NDArray[np.int64]] = np.split(by_step, bounds) if len(blocks) else []
        """For each step, the blocks that no later one needs."""

    def most_at_once(self) -> int:
        """Blocks that are needed at the same time: begun, and not ended."""
        steps = len(self.ended)
        begun = np.bincount(self._first_step, minlength=steps).cumsum()
        ended = np.bincount(self._last_step, minlength=steps).cumsum()
        ended_before = np.concatenate([[0], ended[:-1]])
        return int((begun - ended_before).max(initial=0))
