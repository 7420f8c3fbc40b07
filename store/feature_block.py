"""One block of a backbone's arrays: the unit that one task computes, one writer writes and one mark commits."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.names import check_text
from scale_video.store.video_probe import VideoStatus

_NAN_BITS: Final = 0x7E00
_HAS_FEATURES: Final = [status for status in VideoStatus if status.has_features]


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
        """Check shapes and dtypes, and that features, ``valid`` and ``status`` agree.

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
        if (self.status == VideoStatus.PENDING).any():
            raise ValueError("a block may be written only when no video of it is pending")
        if self.status.max() > max(VideoStatus):
            raise ValueError(f"status has the unknown code {self.status.max()}")
        if self.valid[~np.isin(self.status, _HAS_FEATURES)].any():
            raise ValueError("a video whose status says that it has no features has a valid clip")
        if not np.isfinite(self.features[self.valid]).all():
            raise ValueError("a valid clip has a feature that is not finite; float16 holds at most 65504")
        # One NaN among the many that there are, so that equal blocks have equal bytes.
        if (self.features[~self.valid].view(np.uint16) != _NAN_BITS).any():
            raise ValueError("a clip that is not valid must be NaN (bits 0x7E00) throughout")
        for error in self.error:
            check_text(error, what="error")
            if len(error.splitlines()) > 1:
                raise ValueError(f"error must be one line, got {error!r}")
