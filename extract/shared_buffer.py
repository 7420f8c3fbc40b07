"""Memory that a worker and its decoding processes both see: pixels go from one to the other without being copied.

An anonymous file rather than POSIX shared memory: containers often have a /dev/shm of 64 MB, and nothing is left behind
when a process is killed.
"""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class SharedBuffer:
    """Bytes in memory behind a file descriptor; they grow with the largest arrays that are asked for."""

    def __init__(self) -> None:
        self.descriptor = _anonymous_file()
        """For a process that inherits it."""
        self.num_bytes = 0
        """Its size; another process maps as much."""
        self._memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        weakref.finalize(self, os.close, self.descriptor)

    def arrays(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.uint8], ...]:
        """Views of the memory as uint8 arrays of these shapes, one behind the other; they hold what was there."""
        needed = sum(math.prod(shape) for shape in shapes)
        if needed > self.num_bytes:
            self.num_bytes = -(-needed // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.descriptor, self.num_bytes)
            self._memory = np.frombuffer(mmap.mmap(self.descriptor, self.num_bytes), np.uint8)
        return _laid_out(self._memory, shapes)


def inherited_arrays(
    descriptor: int, num_bytes: int, shapes: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.uint8], ...]:
    """What ``SharedBuffer.arrays`` gives for these shapes, in a process that inherited the descriptor."""
    return _laid_out(_mapped(descriptor, num_bytes), shapes)


@lru_cache(maxsize=64)
def _mapped(descriptor: int, num_bytes: int) -> NDArray[np.uint8]:
    """A mapping is worth keeping: the first touch of its pages costs about as much as copying them."""
    return np.frombuffer(mmap.mmap(descriptor, num_bytes), np.uint8)


def _laid_out(memory: NDArray[np.uint8], shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.uint8], ...]:
    arrays, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        arrays.append(memory[start:stop].reshape(shape))
        start = stop
    return tuple(arrays)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("clips")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
