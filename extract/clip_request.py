"""What one view and one backbone want of a video: which clips, how many frames of each, how large."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_video.store.augmentation import Augmentation
from scale_video.store.clip_plan import Coordinate


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Clips of one video that are wanted as pixels."""

    coordinates: NDArray[np.float32]
    """Shape (K, C = 7), columns of ``Coordinate``: seconds from the first shown frame, box edges as fractions of the
    upright frame. Not read where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (K,): which clips are planned."""
    num_frames: int
    """Frames a clip, T, spread evenly over its span, ends included; 1 takes the middle."""
    frame_size: int
    """Pixels of the square frames, S."""
    enlarge: bool = True
    """Whether smaller crops are enlarged to the frames; else they lie in the upper left corner of them, for a device
    that enlarges them itself."""
    augmentation: NDArray[np.float32] | None = None
    """Shape (K, A), columns of ``Augmentation``: how colours and sharpness of the finished frames are changed. Not read
    where ``valid`` is false. None: not at all."""
    begin_seconds: float = 0.0
    """Of the part of the file in which the clips lie: no frame from outside it is shown."""
    until_seconds: float = math.inf
    """Its end, excluded."""

    def __post_init__(self) -> None:
        """Check that something can be decoded of it.

        Raises:
            ValueError: arrays of other shapes, no planned clip, sizes below 1, a box, span or part without extent, an
                augmentation of frames that another device enlarges.
        """
        coordinates, valid = self.coordinates, self.valid
        if valid.ndim != 1 or coordinates.shape != (len(valid), len(Coordinate)):
            raise ValueError(
                f"coordinates {coordinates.shape} and valid {valid.shape} must be (K, {len(Coordinate)}) and (K,); "
                "pass the rows of one video"
            )
        if self.num_frames < 1 or self.frame_size < 1:
            raise ValueError(f"num_frames ({self.num_frames}) and frame_size ({self.frame_size}) must be at least 1")
        if not valid.any():
            raise ValueError("valid plans none of the clips; leave out videos that the view does not plan")
        planned = coordinates[valid]
        for low, high in ((Coordinate.TOP, Coordinate.BOTTOM), (Coordinate.LEFT, Coordinate.RIGHT)):
            wrong = ~(planned[:, low] < planned[:, high])  # NaN too
            if wrong.any():
                values = planned[wrong][0, [low, high]].tolist()
                raise ValueError(
                    f"{low.name.lower()} ({values[0]:g}) must be less than {high.name.lower()} ({values[1]:g})"
                )
        if not (planned[:, Coordinate.START] <= planned[:, Coordinate.END]).all():
            raise ValueError("start must not be after end, in seconds, for every planned clip")
        if not 0 <= self.begin_seconds < self.until_seconds:
            raise ValueError(
                f"begin_seconds ({self.begin_seconds:g}) must be 0 or more, and less than until_seconds "
                f"({self.until_seconds:g})"
            )
        self._check_augmentation()

    def _check_augmentation(self) -> None:
        if self.augmentation is None:
            return
        if self.augmentation.shape != (len(self.valid), len(Augmentation)):
            raise ValueError(f"augmentation must be (K, {len(Augmentation)}), got {self.augmentation.shape}")
        if not np.isfinite(self.augmentation[self.valid]).all():
            raise ValueError("augmentation must be finite for every planned clip")
        blur = self.augmentation[self.valid, Augmentation.BLUR]
        if not ((blur >= 0) & (blur <= 1)).all():  # a store may claim anything, and a blur takes memory by its width
            raise ValueError(f"blur must be in [0, 1] of the frame's side, got {blur.max():g}")
        if not self.enlarge:
            raise ValueError("augmentation changes finished frames; ask for enlarge=True")

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Of its pixels: (K, T, S, S, 3)."""
        return (len(self.valid), self.num_frames, self.frame_size, self.frame_size, 3)
