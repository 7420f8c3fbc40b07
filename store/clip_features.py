"""What a reader gets of a view: features with their coordinates, and what a model makes of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Clip features of N videos of one view under one backbone, in memory."""

    video_ids: tuple[str, ...]
    """N ids."""
    features: NDArray[np.float16]
    """Shape (N, K, D); 0 (not NaN) where ``valid`` is false, so that masked sums need no care."""
    coordinates: NDArray[np.float32]
    """Shape (N, K, C = 7), columns of ``Coordinate``, as planned; 0 where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (N, K): the clip has a feature."""

    def __post_init__(self) -> None:
        """Check that shapes agree.

        Raises:
            ValueError: they do not.
        """
        n, k = self.valid.shape
        if len(self.video_ids) != n or self.features.shape[:2] != (n, k):
            raise ValueError(f"{len(self.video_ids)} ids, features {self.features.shape}, valid {self.valid.shape}")
        if self.coordinates.shape != (n, k, len(Coordinate)):
            raise ValueError(f"coordinates must be {(n, k, len(Coordinate))}, got {self.coordinates.shape}")

    @property
    def num_videos(self) -> int:
        """Rows, N."""
        return len(self.valid)

    @property
    def feature_dim(self) -> int:
        """Length of a backbone feature, D."""
        return int(self.features.shape[2])

    def take(self, rows: NDArray[np.int64]) -> "ClipFeatures":
        """The given rows, in the given order."""
        return ClipFeatures(
            video_ids=tuple(self.video_ids[row] for row in rows),
            features=self.features[rows],
            coordinates=self.coordinates[rows],
            valid=self.valid[rows],
        )


@dataclass(frozen=True, slots=True)
class VideoRepresentations:
    """One vector per video in three flavours (SCALE, ICCV 2023, section on video-level evaluation)."""

    video_ids: tuple[str, ...]
    """N ids."""
    x: NDArray[np.float32]
    """Shape (N, D): mean of the raw features over the valid clips; nothing in it is learned here."""
    h: NDArray[np.float32]
    """Shape (N, E): mean of the refined clip tokens."""
    cls: NDArray[np.float32]
    """Shape (N, E): the global token after one forward pass over all valid clips."""
