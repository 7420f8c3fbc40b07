"""What a store says of a block's videos before anything is extracted, read once for many blocks."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.store.read import FeatureStore
from scale_video.store.schema import AUGMENTATION_ARRAY, VIDEOS, plan_chunk_rows

_COLUMNS = ("path", "duration_seconds", "probe_status", "probe_error")


class PlannedBlock:
    """The rows of one block in the table of videos and in the plans of some views."""

    def __init__(self, store: FeatureStore, index: int, *, views: tuple[str, ...]) -> None:
        """Read them, if another block of the same chunks has not been asked for just before.

        Args:
            store: opened once by each worker, and not planned anew while it works.
            index: of the block.
            views: whose plans are wanted.

        Raises:
            StoreError: they cannot be read.
        """
        self.index = index
        rows = store.block_rows(index)
        run_rows = plan_chunk_rows(num_videos=store.num_videos, block_size=store.block_size)
        first = rows.start - rows.start % run_rows
        self._run = _read_run(store, views, first, min(first + run_rows, store.num_videos))
        self._rows = slice(rows.start - first, rows.stop - first)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the table of videos: ``path``, ``duration_seconds``, ``probe_status`` or ``probe_error``."""
        return self._run[VIDEOS, name][self._rows]

    def part(self, row: int) -> tuple[float, float]:
        """Beginning and end, in seconds, of the part of its file that a row of the block is; (0, inf) for all of it."""
        begin, end = self.column("begin_seconds")[row], self.column("end_seconds")[row]
        return float(begin), float(end)

    def plan(self, view: str, name: str) -> NDArray[Any]:
        """An array of a view's plan: ``coordinates`` or ``valid``."""
        return self._run[view, name][self._rows]

    def augmentation(self, view: str) -> NDArray[np.float32] | None:
        """How a view changes the pixels of its clips; None where it does not."""
        return self.plan(view, AUGMENTATION_ARRAY) if (view, AUGMENTATION_ARRAY) in self._run else None


@lru_cache(maxsize=4)
def _read_run(
    store: FeatureStore, views: tuple[str, ...], first: int, stop: int
) -> dict[tuple[str, str], NDArray[Any]]:
    """All that is wanted of a run of blocks which lie in one chunk of a plan.

    Who asks for one block of a run has to read the chunk, and will soon be given another block of it.
    """
    rows = slice(first, stop)
    run = {(VIDEOS, name): store.column(name, rows) for name in _COLUMNS}
    parts = store.parts(rows)
    run |= {(VIDEOS, "begin_seconds"): parts.begin_seconds, (VIDEOS, "end_seconds"): parts.end_seconds}
    for view in views:
        plan = store.plan_arrays(view)
        wanted = ("coordinates", "valid", AUGMENTATION_ARRAY)
        run |= {(view, name): plan[name][rows] for name in wanted if name in plan}
    for array in run.values():
        array.setflags(write=False)
    return run
