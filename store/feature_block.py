"""One block of a backbone's arrays: the unit that one task computes, one writer writes and one mark commits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """The features of V consecutive videos; V is the store's block size, less in the last block."""

    index: int
    """Position of the block: its first video is row ``index * block_size``."""
    features: NDArray[np.float16]
    """Shape (V, K, D); NaN where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (V, K): clips that were decoded in full and embedded; a subset of the plan's."""
    status: NDArray[np.uint8]
    """Shape (V,): codes of ``VideoStatus``; none is ``PENDING``."""
    error: tuple[str, ...]
    """V reasons in one line each, empty where nothing failed; no absolute path, time, host or process id."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes, and that NaN and ``valid`` agree.

        Raises:
            ValueError: any of these does not hold.
        """
        if self.features.ndim != 3 or self.features.dtype != np.float16:
            raise ValueError(
                f"features must be float16 (videos, clips, dim), got {self.features.dtype} {self.features.shape}"
            )
        if self.valid.shape != self.features.shape[:2] or self.valid.dtype != np.bool_:
            raise ValueError(f"valid must be bool {self.features.shape[:2]}, got {self.valid.dtype} {self.valid.shape}")
        num_videos = self.features.shape[0]
        if self.status.shape != (num_videos,) or len(self.error) != num_videos:
            raise ValueError(f"status and error must have {num_videos} entries")
        if (self.status == 0).any():
            raise ValueError("a block may be written only when no video of it is pending")
        if not np.isfinite(self.features[self.valid]).all():
            raise ValueError("a valid clip has a feature that is not finite")
        if not np.isnan(self.features[~self.valid]).all():
            raise ValueError("a clip that is not valid must be NaN throughout")
