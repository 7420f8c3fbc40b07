"""The pixels of clips: which part of a frame, turned which way, at which size.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020, ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

from functools import lru_cache, partial
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.orientation import Orientation
from scale_video.extract.video_file import LIBAV_ERRORS, VideoFileError, reason
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus

BATCH_BYTES = 1 << 20
"""Crops of a clip are resized in batches of about this size: small ones cost a third less together."""


class RgbConverter:
    """Turns decoded frames into upright RGB."""

    def __init__(self, orientation: Orientation) -> None:
        """Prepare for the frames of one file, which all lie alike."""
        self._to_rgb = VideoReformatter()  # one for all frames: it keeps the tables of the conversion
        self._orientation = orientation

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """Convert one frame.

        Returns:
            Shape (height, width, 3), upright.

        Raises:
            VideoFileError: its pixel format cannot be converted.
        """
        try:
            converted = self._to_rgb.reformat(picture, format="rgb24", threads=1)
            rgb = np.asarray(converted.to_ndarray(), np.uint8)
        except MemoryError:
            raise
        except LIBAV_ERRORS as error:
            raise VideoFileError(VideoStatus.CORRUPT, f"cannot be converted to RGB: {reason(error)}") from None
        return self._orientation.upright(rgb)


class ClipPainter:
    """Writes upright RGB frames into the clips of one request: cropped, resized, mirrored."""

    def __init__(self, request: ClipRequest, frames: NDArray[np.uint8]) -> None:
        """Prepare.

        Args:
            request: The clips.
            frames: Where they go, shape (K, T, S, S, 3); whatever it holds stays where nothing is painted.
        """
        self.seconds = 0.0
        """Spent so far."""
        self._frames = frames
        self._flips = [flip == 1 for flip in request.coordinates[:, Coordinate.FLIP].tolist()]
        # By frame size, which may change midway.
        self._boxes = lru_cache(maxsize=4)(partial(_boxes, request.coordinates))
        # Crops of each clip, and their places in it, until there are enough to be resized together.
        self._waiting: list[list[tuple[NDArray[np.uint8], list[int]]]] = [[] for _ in frames]

    def paint(self, rgb: NDArray[np.uint8], samples: NDArray[np.int64]) -> None:
        """Write one frame into all samples (flat indices into K, T) that want it, at the latest with ``finish``.

        Raises:
            MemoryError: no room for the resized frames.
        """
        begun = perf_counter()
        boxes = self._boxes(rgb.shape[0], rgb.shape[1])
        positions: dict[int, list[int]] = {}
        for sample in samples.tolist():
            clip, position = divmod(sample, self._frames.shape[1])
            positions.setdefault(clip, []).append(position)
        for clip, wanted in positions.items():
            crop = rgb[boxes[clip]]
            waiting = self._waiting[clip]
            if waiting and waiting[0][0].shape != crop.shape:  # the frame size has changed
                self._resize(clip)
            waiting.append((crop.copy(), wanted))  # the frame's memory is the decoder's
            if len(waiting) * crop.size >= BATCH_BYTES:
                self._resize(clip)
        self.seconds += perf_counter() - begun

    def finish(self) -> None:
        """Write what waits to be resized.

        Raises:
            MemoryError: no room for the resized frames.
        """
        begun = perf_counter()
        for clip in range(len(self._frames)):
            self._resize(clip)
        self.seconds += perf_counter() - begun

    def _resize(self, clip: int) -> None:
        """Bilinear with antialiasing, in integers: the same bits whatever the batch or the number of threads."""
        if not self._waiting[clip]:
            return
        crops, positions = zip(*self._waiting[clip], strict=True)
        self._waiting[clip].clear()
        try:
            pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last
            resized = F.interpolate(pixels, size=self._frames.shape[2:4], mode="bilinear", antialias=True)
            if self._flips[clip]:
                resized = resized.flip(3)  # 10 times faster than a copy of NumPy's reversed view
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise MemoryError(f"no room to resize {len(crops)} frames") from None
            raise
        for frame, wanted in zip(resized.permute(0, 2, 3, 1).numpy(), positions, strict=True):
            for position in wanted:
                self._frames[clip, position] = frame


def _boxes(coordinates: NDArray[np.float32], height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each clip's box: edges rounded to whole pixels of the frame, at least one pixel."""
    sides = []
    for low, high, num_pixels in (
        (Coordinate.TOP, Coordinate.BOTTOM, height),
        (Coordinate.LEFT, Coordinate.RIGHT, width),
    ):
        edges = np.nan_to_num(coordinates[:, [low, high]].astype(np.float64)) * num_pixels  # NaN: not planned
        first = np.clip(np.floor(edges[:, 0] + 0.5), 0, num_pixels - 1).astype(int)
        stop = np.clip(np.floor(edges[:, 1] + 0.5), first + 1, num_pixels).astype(int)
        sides.append([slice(*pair) for pair in zip(first.tolist(), stop.tolist(), strict=True)])
    return list(zip(*sides, strict=True))
