"""A clip plan: which spans and boxes of which videos a view consists of. Data, drawn before any pixel is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.store.augmentation import Augmentation
from scale_video.store.canonical_json import canonical_json
from scale_video.store.names import check_name


class Coordinate(IntEnum):
    """The columns of ``coordinates``, in the order of the store (SCALE, ICCV 2023, positional input of the model)."""

    FLIP = 0
    """1 when the clip is mirrored left-right, else 0."""
    TOP = 1
    """Box edges as fractions of the upright frame: 0 is its top or left, 1 its bottom or right."""
    LEFT = 2
    BOTTOM = 3
    RIGHT = 4
    START = 5
    """Seconds from the file's first frame to the clip's first sample time."""
    END = 6
    """Seconds to the clip's last sample time, which is *included*: start + span - one frame."""


COORDINATE_NAMES = tuple(c.name.lower() for c in Coordinate)


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """The clips of one view of N videos, at most K of each."""

    view: str
    """Name of the view: ``random``, ``grid``, …"""
    parameters: Mapping[str, Any]
    """What the clips were drawn by (seed, span, crop rule, …): JSON values, stored as the view's attributes."""
    coordinates: NDArray[np.float32]
    """Shape (N, K, C = 7), columns of ``Coordinate``; NaN where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (N, K): which clips are planned. Valid clips come first in a row."""
    planned: NDArray[np.bool_]
    """Shape (N,): false for a video that the view leaves out (``NOT_PLANNED``)."""
    augmentation: NDArray[np.float32] | None = None
    """Shape (N, K, A = 10), columns of ``Augmentation``; NaN where ``valid`` is false. None: no change of pixels."""

    def __post_init__(self) -> None:
        """Check the name, shapes, dtypes, and that planned clips have finite values and others NaN.

        Raises:
            ValueError: any of these does not hold.
        """
        check_name(self.view, what="view", reserved=("videos",))
        if self.coordinates.ndim != 3 or self.coordinates.shape[2] != len(Coordinate):
            raise ValueError(f"coordinates must be (videos, clips, {len(Coordinate)}), got {self.coordinates.shape}")
        if self.coordinates.dtype != np.float32:
            raise ValueError(f"coordinates must be float32, got {self.coordinates.dtype}")
        if self.coordinates.shape[1] == 0:
            raise ValueError(f"view {self.view!r} must plan at least one clip per video, got 0")
        if self.valid.shape != self.coordinates.shape[:2] or self.valid.dtype != np.bool_:
            raise ValueError(
                f"valid must be bool {self.coordinates.shape[:2]}, got {self.valid.dtype} {self.valid.shape}"
            )
        if self.planned.shape != self.valid.shape[:1] or self.planned.dtype != np.bool_:
            raise ValueError(f"planned must be bool {self.valid.shape[:1]}, got {self.planned.shape}")
        if (self.valid[:, 1:] > self.valid[:, :-1]).any():
            raise ValueError("valid clips must come first in a row")
        if self.valid[~self.planned].any():
            raise ValueError("a video that the view leaves out (planned is false) has a valid clip")
        if not np.isfinite(self.coordinates[self.valid]).all():
            raise ValueError("a planned clip has a coordinate that is not finite")
        if not np.isnan(self.coordinates[~self.valid]).all():
            raise ValueError("a clip that is not planned must have NaN for coordinates")
        canonical_json(self.parameters, what="parameters")
        self._check_augmentation()

    def _check_augmentation(self) -> None:
        if self.augmentation is None:
            return
        wanted = (*self.valid.shape, len(Augmentation))
        if self.augmentation.shape != wanted or self.augmentation.dtype != np.float32:
            got = f"{self.augmentation.dtype} {self.augmentation.shape}"
            raise ValueError(f"augmentation must be float32 {wanted}, got {got}")
        if (np.isfinite(self.augmentation) != self.valid[:, :, None]).any():
            raise ValueError("augmentation must be finite for planned clips, and NaN for the others")

    @property
    def num_videos(self) -> int:
        """Rows, N."""
        return len(self.valid)

    @property
    def num_clips(self) -> int:
        """Clips of the widest video, K."""
        return int(self.valid.shape[1])
