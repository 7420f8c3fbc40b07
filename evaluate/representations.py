"""One vector per video, under the names that results carry: what the probes compare.

``x``, ``h``, ``cls`` and their concatenations are SCALE's (ICCV 2023; unscaled, as in its published evaluation). The
others are baselines of ours: ``x-bins2`` and ``x-bins4`` give the raw features back the order of time that their mean
throws away, ``x-whitened`` gives them uncorrelated axes, and ``init`` is ``x+cls`` of an aggregator never trained.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_features import ClipFeatures, VideoRepresentations
from scale_video.store.clip_plan import Coordinate

REPRESENTATIONS = ("x", "h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls", "x-bins2", "x-bins4", "x-whitened", "init")
"""Every name a result may carry, in the order of the table."""

RAW_REPRESENTATIONS = ("x", "x-bins2", "x-bins4", "x-whitened")
"""Those without an aggregator, hence without seed and checkpoint."""

VARIANCE_FLOOR = 1e-6
"""A principal component with less than this share of the first one's variance is dropped: float16 features carry a
rounding noise of about 1e-7 of their square, and whitening would blow it up to the size of the signal."""

_BINNING_CHUNK_VALUES = 2**24  # float32 features at a time: 64 MiB


def concatenate(representations: VideoRepresentations, name: str) -> NDArray[np.float32]:
    """Put x, h and cls side by side, unscaled.

    Args:
        representations: x (N, D), h (N, E) and cls (N, E) of N videos.
        name: Parts joined by ``+``: ``x``, ``x+cls``, ``x+h+cls``, …

    Returns:
        Shape (N, sum of the parts' dimensions), float32.

    Raises:
        ValueError: a part is none of x, h, cls.
    """
    available = {"x": representations.x, "h": representations.h, "cls": representations.cls}
    parts = name.split("+")
    for part in parts:
        if part not in available:
            raise ValueError(
                f"representation {name!r} has the part {part!r}; only x, h and cls, joined by '+', can be concatenated"
            )
    return np.concatenate([available[part] for part in parts], axis=1)


def time_bins(features: ClipFeatures, num_bins: int) -> NDArray[np.float32]:
    """Average the raw clip features within equal spans of a video's time, and concatenate the averages.

    The time axis of a video runs from the earliest start to the latest end of its own valid clips, so no knowledge of
    the file's duration is used; a clip falls into the bin that holds the middle of its span. A bin without a clip takes
    the mean over the whole video, which is also what every bin holds when there is one bin only.

    Args:
        features: Clips of N videos of dimension D; their order does not matter.
        num_bins: Spans per video, at least 1.

    Returns:
        Shape (N, num_bins * D), float32, earliest bin first.

    Raises:
        ValueError: ``num_bins`` < 1, or a video has no valid clip.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    without = np.flatnonzero(~features.valid.any(axis=1))
    if without.size:
        raise ValueError(
            f"{without.size} of {features.num_videos} videos have no valid clip, the first is "
            f"{features.video_ids[without[0]]!r}; leave them out"
        )
    membership = _bin_membership(features, num_bins)  # (N, K, bins)
    num_videos, num_clips, dim = features.features.shape
    binned = np.empty((num_videos, num_bins, dim), dtype=np.float32)
    videos_per_chunk = max(1, _BINNING_CHUNK_VALUES // max(1, num_clips * dim))
    for first in range(0, num_videos, videos_per_chunk):
        rows = slice(first, first + videos_per_chunk)
        clips = features.features[rows].astype(np.float32)  # (n, K, D), 0 where invalid
        sums = membership[rows].transpose(0, 2, 1) @ clips  # (n, bins, D)
        counts = membership[rows].sum(axis=1)[:, :, None]  # (n, bins, 1)
        video_mean = sums.sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
        binned[rows] = np.where(counts > 0, sums / np.maximum(counts, 1), video_mean)
    return binned.reshape(num_videos, num_bins * dim)


def _bin_membership(features: ClipFeatures, num_bins: int) -> NDArray[np.float32]:
    """1 where a valid clip (axis 1) belongs to a bin (axis 2), else 0; shape (N, K, bins)."""
    valid = features.valid
    start = features.coordinates[:, :, Coordinate.START].astype(np.float64)
    end = features.coordinates[:, :, Coordinate.END].astype(np.float64)
    first = np.where(valid, start, np.inf).min(axis=1, keepdims=True)
    last = np.where(valid, end, -np.inf).max(axis=1, keepdims=True)
    # A range of zero (one clip of one frame) puts every clip into the first bin, and so the mean into all of them.
    position = ((start + end) / 2 - first) / np.where(last > first, last - first, 1.0)  # 0 … 1 for valid clips
    bins = np.clip((position * num_bins).astype(np.int64), 0, num_bins - 1)
    member: NDArray[np.bool_] = (bins[:, :, None] == np.arange(num_bins)) & valid[:, :, None]
    return member.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Whitening:
    """An affine map after which the videos it was fitted on have mean 0 and uncorrelated dimensions of variance 1."""

    mean: NDArray[np.float64]
    """Shape (D,)."""
    projection: NDArray[np.float64]
    """Shape (D, R): principal axes in falling order of variance, each divided by its standard deviation."""

    @classmethod
    def fit(cls, train: NDArray[np.float32]) -> "Whitening":
        """Find the principal axes of training vectors.

        Components below ``VARIANCE_FLOOR`` are dropped, so R is at most the rank: at most D, and at most N - 1. With
        N <= D + 1 and full rank all training videos end up equally far from each other; that is a property of
        whitening, not of the features, and such a baseline says little.

        Args:
            train: Vectors of N *training* videos, shape (N, D), finite; test videos have no say in the axes.

        Raises:
            ValueError: the vectors do not differ from each other.
        """
        mean = train.mean(axis=0, dtype=np.float64)
        centred = train - mean
        num_free = max(1, len(train) - 1)
        has_few = train.shape[0] < train.shape[1]  # then the products of videos are the smaller matrix
        products = centred @ centred.T if has_few else centred.T @ centred
        variances, vectors = np.linalg.eigh(products / num_free)  # ascending
        if not variances[-1] > 0:
            raise ValueError(f"whitening needs training videos that differ; all {len(train)} have the same features")
        kept = np.flatnonzero(variances >= VARIANCE_FLOOR * variances[-1])[::-1]
        axes = vectors[:, kept]
        if has_few:
            axes = centred.T @ axes / np.sqrt(num_free * variances[kept])
        return cls(mean=mean, projection=axes / np.sqrt(variances[kept]))

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map vectors of shape (N, D) to whitened ones of shape (N, R), float32.

        Raises:
            ValueError: the dimension is not the one of the training vectors.
        """
        if vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors have {vectors.shape[1]} dimensions, the whitening was fitted on {len(self.mean)}"
            )
        whitened: NDArray[np.float64] = (vectors - self.mean) @ self.projection
        return whitened.astype(np.float32)
