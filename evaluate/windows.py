"""Windows of long videos: each is predicted by itself, and a video's prediction is the mean over its windows.

Source: the evaluation of LVU (Wu and Krähenbühl, CVPR 2021): a window of a minute slides over a film scene, second by
second, and the probabilities, or the predicted numbers, of all its places are averaged. Where we depart: a window sees
the stored clips whose middle lies in it; neighbouring places that see the same clips are computed once and counted as
often as they are; and one window ends with the last clip, so that no clip is left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate

WINDOW_STRIDE_SECONDS = 1.0
"""From one place of the window to the next, over a test video."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Whose windows the rows of an array are."""

    video: NDArray[np.int64]
    """Row of the video of each window, rising, shape (W,)."""
    places: NDArray[np.int64]
    """How many places of the sliding window see the same clips, at least 1, shape (W,)."""

    def of(self, videos: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The windows of some videos, and the video of each.

        # windows of videos 0, 0, 1, 2, 2; of the videos [2, 0] -> windows [3, 4, 0, 1] of videos [2, 2, 0, 0]
        """
        first = np.searchsorted(self.video, videos, side="left")
        last = np.searchsorted(self.video, videos, side="right")
        windows = [np.arange(begin, end) for begin, end in zip(first, last, strict=True)]
        return np.concatenate(windows), np.repeat(videos, last - first)

    def mean(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Average over the places of each video's window, (W, O) -> (N, O)."""
        starts = np.flatnonzero(np.diff(self.video, prepend=-1))
        weighted = np.add.reduceat(values * self.places[:, None].astype(np.float64), starts)
        mean: NDArray[np.float64] = weighted / np.add.reduceat(self.places, starts)[:, None]
        return mean


def cut_windows(features: ClipFeatures, *, seconds: float, stride_seconds: float) -> tuple[ClipFeatures, Windows]:
    """Slide a window over each video, from where its first clip starts to where its last one ends.

    Args:
        features: N videos, each with at least one valid clip.
        seconds: Length of the window; a shorter video is one window.
        stride_seconds: From one place of the window to the next.

    Returns:
        The windows as videos of their own, with their video's id and their clips in the order of time, and whose they
        are. Every video has one at least, and every valid clip is in one.

    Raises:
        ValueError: a length or a stride that is not positive, or a stride that leaves gaps between windows.
    """
    if not 0 < stride_seconds <= seconds:
        raise ValueError(
            f"a window needs a positive length, and a positive stride not above it, got {seconds:g} and "
            f"{stride_seconds:g} seconds"
        )
    start, end = features.coordinates[:, :, Coordinate.START], features.coordinates[:, :, Coordinate.END]
    middle = np.where(features.valid, (start.astype(np.float64) + end) / 2, np.inf)
    order = np.argsort(middle, axis=1, kind="stable")  # clips that are not valid come last
    bounds, video, places = [], [], []
    for row in range(features.num_videos):
        there = features.valid[row]
        middles = middle[row, order[row, : there.sum()]]
        seen, count = _sliding(
            middles,
            first=float(start[row, there].min()),
            last=float(end[row, there].max()),
            seconds=seconds,
            stride_seconds=stride_seconds,
        )
        bounds.append(seen)
        places.append(count)
        video.append(np.full(len(seen), row))
    window_video, window_bounds = np.concatenate(video), np.concatenate(bounds)
    first_clip, num_clips = window_bounds[:, 0], window_bounds[:, 1] - window_bounds[:, 0]
    column = np.arange(num_clips.max())
    valid = column < num_clips[:, None]  # (W, K)
    clip = order[window_video[:, None], np.where(valid, first_clip[:, None] + column, 0)]
    chosen = (window_video[:, None], clip)
    return (
        ClipFeatures(
            video_ids=tuple(features.video_ids[row] for row in window_video),
            features=np.where(valid[:, :, None], features.features[chosen], np.float16(0)),
            coordinates=np.where(valid[:, :, None], features.coordinates[chosen], np.float32(0)),
            valid=valid,
        ),
        Windows(window_video, np.concatenate(places)),
    )


def _sliding(
    middles: NDArray[np.float64], *, first: float, last: float, seconds: float, stride_seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different windows of one video that see a clip, as ranges of its clips, and how many places see each.

    Args:
        middles: Of the clips, rising.
        first: Where the window starts at first.
        last: Where it ends at last.
        seconds: Its length.
        stride_seconds: Its step.
    """
    room = max(0.0, last - first - seconds)
    starts = first + np.append(np.arange(0, room, stride_seconds), room)
    begin, end = np.searchsorted(middles, starts), np.searchsorted(middles, starts + seconds)
    end[-1] = len(middles)  # the last place sees the last clip, though a clip of one frame has its middle at the end
    if room == 0:
        begin, end = np.zeros(1, dtype=np.int64), np.full(1, len(middles))
    ranges = np.stack([begin, end], axis=1)[begin < end]
    return np.unique(ranges, axis=0, return_counts=True)
