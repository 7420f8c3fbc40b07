"""The pixels of clips: which part of a frame, turned which way, at which size.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020, ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from time import perf_counter

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.orientation import Orientation
from scale_video.extract.video_file import LIBAV_ERRORS, VideoFileError, reason
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus

BATCH_BYTES = 1 << 19
"""Crops of a clip are resized in batches of about this size."""


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
            plane = converted.planes[0]
            rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a buffer, whatever its stub says
        except MemoryError:
            raise
        except LIBAV_ERRORS as error:
            raise VideoFileError(VideoStatus.CORRUPT, f"cannot be converted to RGB: {reason(error)}") from None
        rgb = rows.reshape(plane.height, plane.line_size)[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
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
        flips = request.coordinates[:, Coordinate.FLIP] == 1
        self._clips = [_ClipBatch(clip, flip=flip) for clip, flip in zip(frames, flips.tolist(), strict=True)]
        self._num_frames = request.num_frames
        # By frame size, which may change midway.
        self._boxes = lru_cache(maxsize=4)(partial(_boxes, request.coordinates))

    def paint(self, rgb: NDArray[np.uint8], samples: Sequence[int]) -> None:
        """Write one frame into all samples (flat indices into K, T) that want it, at the latest with ``finish``.

        Raises:
            MemoryError: no room to resize frames.
        """
        begun = perf_counter()
        boxes = self._boxes(rgb.shape[0], rgb.shape[1])
        for sample in samples:
            clip, position = divmod(sample, self._num_frames)
            self._clips[clip].add(rgb[boxes[clip]], position)
        self.seconds += perf_counter() - begun

    def finish(self) -> None:
        """Write what waits to be resized.

        Raises:
            MemoryError: no room to resize frames.
        """
        begun = perf_counter()
        for clip in self._clips:
            clip.finish()
        self.seconds += perf_counter() - begun


class _ClipBatch:
    """Crops of one clip, until there are enough to be resized together: small ones cost a third less."""

    def __init__(self, frames: NDArray[np.uint8], *, flip: bool) -> None:
        self._frames = frames  # (T, S, S, 3)
        self._flip = flip
        self._crops = np.empty((0, 0, 0, 3), np.uint8)
        self._positions: list[int] = []

    def add(self, crop: NDArray[np.uint8], position: int) -> None:
        if self._positions and position != self._positions[-1] + 1:  # begun anew after damage
            self._resize()
        if crop.shape != self._crops.shape[1:]:  # the first one, or the frame size has changed
            self.finish()
            self._crops = np.empty((max(1, BATCH_BYTES // crop.size), *crop.shape), np.uint8)
        self._crops[len(self._positions)] = crop  # a copy: the frame's memory is the decoder's
        self._positions.append(position)
        if position == len(self._frames) - 1:
            self.finish()
        elif len(self._positions) == len(self._crops):
            self._resize()

    def finish(self) -> None:
        if self._positions:
            self._resize()
        self._crops = np.empty((0, 0, 0, 3), np.uint8)

    def _resize(self) -> None:
        """Bilinear with antialiasing, in integers: the same bits whatever the batch or the number of threads."""
        pixels = _channels_first(self._crops[: len(self._positions)])
        target = _channels_first(self._frames[self._positions[0] : self._positions[-1] + 1])
        try:
            # What F.interpolate(mode="bilinear", antialias=True) calls, straight into place.
            place = torch.empty_like(target) if self._flip else target
            torch.ops.aten._upsample_bilinear2d_aa.out(pixels, target.shape[2:], False, None, None, out=place)
            if self._flip:
                target.copy_(place.flip(3))  # 10 times faster than a copy of NumPy's reversed view
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise MemoryError(f"no room to resize {len(pixels)} frames") from None
            raise
        self._positions.clear()


def _channels_first(frames: NDArray[np.uint8]) -> Tensor:
    """A view (B, 3, H, W) of frames (B, H, W, 3)."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


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
