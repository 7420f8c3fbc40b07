"""Which moments of the videos, and which places of their frames, the clips of a view lie on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate
from scale_video.store.read import FeatureStore

TIME_BINS: Final = 20
SPACE_BINS: Final = 32
"""To either side of the frame."""


@dataclass(frozen=True, slots=True)
class ClipCoverage:
    """Of some videos, or of all."""

    num_videos: int
    """Those that were looked at."""
    num_clips: int
    """Their planned clips, n."""
    centres: NDArray[np.int64]
    """Shape (TIME_BINS,): clips whose middle lies in each of as many equal parts of its video, the first part first."""
    seen: NDArray[np.float64]
    """Shape (SPACE_BINS, SPACE_BINS): share of the clips whose box holds the middle of each cell of the upright frame,
    from top to bottom and from left to right."""


def clip_coverage(stores: Sequence[FeatureStore], view: str, *, max_videos: int, seed: int) -> ClipCoverage:
    """Look at the clips of a view.

    Args:
        stores: Of one data set; all have the view.
        view: Its name.
        max_videos: Of more videos than this, some blocks are drawn that hold about as many.
        seed: Of the draw.

    Raises:
        StoreError: a plan cannot be read.
    """
    num_videos = num_clips = 0
    centres = np.zeros(TIME_BINS, dtype=np.int64)
    seen = np.zeros((SPACE_BINS, SPACE_BINS))
    for store, rows in _rows(stores, max_videos=max_videos, seed=seed):
        arrays = store.plan_arrays(view)
        wanted = np.arange(rows.start, rows.stop)
        valid = arrays["valid"].rows(wanted)
        clips = arrays["coordinates"].rows(wanted)[valid]  # (n, C)
        parts = store.parts(rows)
        begins = _of_clips(parts.begin_seconds, valid)
        durations = _of_clips(parts.durations(store.column("duration_seconds", rows)), valid)
        num_videos += len(wanted)
        num_clips += len(clips)
        centres += _centres(clips, begins, durations)
        seen += _seen(clips)
    return ClipCoverage(num_videos, num_clips, centres, seen / max(1, num_clips))


def _rows(stores: Sequence[FeatureStore], *, max_videos: int, seed: int) -> list[tuple[FeatureStore, slice]]:
    """Whole blocks, since a chunk is read as a whole: all of them, or some in the order of the stores."""
    blocks = [(store, store.block_rows(index)) for store in stores for index in range(store.num_blocks)]
    if sum(store.num_videos for store in stores) <= max_videos:
        return blocks
    chosen: list[int] = []
    num_videos = 0
    for place in np.random.default_rng(seed).permutation(len(blocks)).tolist():
        rows = blocks[place][1]
        if chosen and num_videos + rows.stop - rows.start > max_videos:
            break
        chosen.append(place)
        num_videos += rows.stop - rows.start
    return [blocks[place] for place in sorted(chosen)]


def _of_clips(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A value of each video, repeated for each of its clips; shape (n,)."""
    return np.broadcast_to(values[:, None], valid.shape)[valid]


def _centres(
    clips: NDArray[np.float32], begins: NDArray[np.float64], durations: NDArray[np.float64]
) -> NDArray[np.int64]:
    middles = (clips[:, Coordinate.START].astype(np.float64) + clips[:, Coordinate.END]) / 2
    # A clip that is longer than its video may have its middle behind the end, where the last frame repeats.
    relative = np.clip((middles - begins) / durations, 0, 1)
    counts: NDArray[np.int64] = np.histogram(relative, bins=TIME_BINS, range=(0, 1))[0]
    return counts


def _seen(clips: NDArray[np.float32]) -> NDArray[np.float64]:
    """Number of clips that hold the middle of each cell."""
    middles = (np.arange(SPACE_BINS) + 0.5) / SPACE_BINS

    def holds(first: Coordinate, last: Coordinate) -> NDArray[np.float64]:  # (n, SPACE_BINS)
        low, high = clips[:, first, None], clips[:, last, None]
        return ((low <= middles) & (middles < high)).astype(np.float64)

    counts: NDArray[np.float64] = holds(Coordinate.TOP, Coordinate.BOTTOM).T @ holds(Coordinate.LEFT, Coordinate.RIGHT)
    return counts
