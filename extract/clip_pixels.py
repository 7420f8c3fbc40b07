"""The pixels of clips: which part of a frame, turned which way, at which size.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020, ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter
from typing import Final

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

WAITING_BYTES = 4 << 20
"""Frames wait until they take this much memory, each counted once by every request that wants it; so decoding and
painting take turns less often, and find their own data in a core's cache."""
CLIP_BYTES = 2 << 20
"""A clip gathers crops until they take this much memory, at least one; then they are resized together, as every call
computes its weights anew."""
CLIPS_AT_ONCE = 32
"""As many clips of a request gather crops at a time."""
_SPARE: Final[deque[NDArray[np.uint8]]] = deque(maxlen=16)
"""Where crops lay before, in this video or another: fresh memory costs more than what it is used for. Threads may share
it: a deque's ``pop`` and ``append`` are atomic."""


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
            plane = self._to_rgb.reformat(picture, format="rgb24", threads=1).planes[0]
        except MemoryError:
            raise
        except LIBAV_ERRORS as error:
            raise VideoFileError(VideoStatus.CORRUPT, f"cannot be converted to RGB: {reason(error)}") from None
        shape, strides = (plane.height, plane.width, 3), (plane.line_size, 3, 1)
        return self._orientation.upright(np.ndarray(shape, np.uint8, plane, strides=strides))  # type: ignore[arg-type]


@dataclass(slots=True)
class _Crops:
    """Crops of one clip that wait to be resized: of one size, at positions that follow each other."""

    memory: NDArray[np.uint8]
    """Where they lie, and more."""
    pixels: NDArray[np.uint8]
    """Shape (B, height, width, 3): room for all of them."""
    begin: int
    """The first one's position."""
    count: int = 0
    """How many there are."""

    def takes(self, crop: NDArray[np.uint8], position: int) -> bool:
        return position == self.begin + self.count and crop.shape == self.pixels.shape[1:]


class ClipPainter:
    """Writes upright RGB frames into the clips of one request: cropped, resized, mirrored.

    A few frames wait, then all crops are copied out of them; those of a clip are resized together, in a call or two.
    """

    def __init__(self, request: ClipRequest, frames: NDArray[np.uint8]) -> None:
        """Prepare.

        Args:
            request: The clips.
            frames: Where they go, shape (K, T, S, S, 3); whatever it holds stays where nothing is painted.
        """
        self.seconds = 0.0
        """Spent so far."""
        self.sizes = np.full((len(frames), 2), request.frame_size, np.int32)
        """Shape (K, 2): height and width of the corner that is painted of each clip."""
        self._enlarge = request.enlarge
        self._begun = [False] * len(frames)
        self._frames = frames
        self._flips: list[bool] = (request.coordinates[:, Coordinate.FLIP] == 1).tolist()
        # By frame size, which may change midway.
        self._boxes = lru_cache(maxsize=4)(partial(_boxes, request.coordinates))
        self._waiting: list[tuple[NDArray[np.uint8], Sequence[int]]] = []  # frames with their samples
        self._waiting_bytes = 0
        self._gathered: dict[int, _Crops] = {}  # by clip
        self._large = np.empty(0, np.uint8)

    def paint(self, rgb: NDArray[np.uint8], samples: Sequence[int]) -> None:
        """Write one frame into all samples (flat indices into K, T) that want it, at the latest with ``finish``.

        Args:
            rgb: Shape (height, width, 3); must not change any more.
            samples: Of a clip, in order of position.

        Raises:
            MemoryError: no room to gather or resize crops.
        """
        self._waiting.append((rgb, samples))
        self._waiting_bytes += rgb.size
        if self._waiting_bytes >= WAITING_BYTES:
            begun = perf_counter()
            self._crop_waiting()
            self.seconds += perf_counter() - begun

    def finish(self) -> None:
        """Write what waits.

        Raises:
            MemoryError: no room to gather or resize crops.
        """
        begun = perf_counter()
        self._crop_waiting()
        self._resize_gathered()
        self.seconds += perf_counter() - begun

    def _crop_waiting(self) -> None:
        num_positions = self._frames.shape[1]
        for rgb, samples in self._waiting:
            boxes = self._boxes(*rgb.shape[:2])
            for sample in samples:
                clip, position = divmod(sample, num_positions)
                self._add(rgb[boxes[clip]], clip, position)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _add(self, crop: NDArray[np.uint8], clip: int, position: int) -> None:
        crops = self._gathered.get(clip)
        if crops is not None and not crops.takes(crop, position):
            self._resize(clip)
            crops = None
        if crops is None:
            crops = self._gather(crop.shape, clip, position)
        crops.pixels[crops.count] = crop
        crops.count += 1
        if crops.count == len(crops.pixels):
            self._resize(clip)

    def _gather(self, shape: tuple[int, ...], clip: int, position: int) -> _Crops:
        """Make room for crops of one shape from a position on."""
        if len(self._gathered) >= CLIPS_AT_ONCE:
            self._resize_gathered()
        bytes_per_crop = math.prod(shape)
        count = max(1, min(self._frames.shape[1] - position, CLIP_BYTES // bytes_per_crop))
        memory = self._room(count * bytes_per_crop)
        pixels = memory[: count * bytes_per_crop].reshape(count, *shape)
        crops = self._gathered[clip] = _Crops(memory, pixels, position)
        return crops

    def _room(self, num_bytes: int) -> NDArray[np.uint8]:
        if num_bytes > CLIP_BYTES:  # one crop, which is resized at once
            if self._large.size < num_bytes:
                self._large = np.empty(num_bytes, np.uint8)
            return self._large
        try:
            return _SPARE.pop()
        except IndexError:
            return np.empty(CLIP_BYTES, np.uint8)

    def _resize_gathered(self) -> None:
        for clip in list(self._gathered):
            self._resize(clip)

    def _resize(self, clip: int) -> None:
        """Bilinear with antialiasing, in integers: the same bits however many crops are resized together."""
        crops = self._gathered.pop(clip)
        _, height, width, _ = crops.pixels.shape
        try:
            pixels = _channels_first(crops.pixels[: crops.count])
            target = _channels_first(self._frames[clip, crops.begin : crops.begin + crops.count])
            if self._flips[clip]:  # before the resize, which gives the same bits; 10 times faster than by NumPy
                for few in torch.split(pixels, 4):
                    few.copy_(few.flip(3))
            if self._enlarge or not self._fits_corner(clip, height, width):
                _resize_into(target, pixels)
            else:
                target[:, :, :height, :width].copy_(pixels)
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise MemoryError(f"no room to resize {crops.count} crops") from None
            raise
        if crops.memory is not self._large:
            _SPARE.append(crops.memory)

    def _fits_corner(self, clip: int, height: int, width: int) -> bool:
        """Whether a crop stays in the clip's corner as it is; of one clip, all crops do or none."""
        side = self._frames.shape[2]
        if not self._begun[clip]:
            self._begun[clip] = True
            if max(height, width) <= side:
                self.sizes[clip] = height, width
        before = self.sizes[clip].tolist()
        if before not in ([side, side], [height, width]):  # the frame size has changed midway
            corner = self._frames[clip, :, : before[0], : before[1]].copy()
            _resize_into(_channels_first(self._frames[clip]), _channels_first(corner))
            self.sizes[clip] = side
        return bool(self.sizes[clip].tolist() == [height, width])


def _resize_into(target: Tensor, pixels: Tensor) -> None:
    """What ``F.interpolate(mode="bilinear", antialias=True)`` calls, straight into place."""
    torch.ops.aten._upsample_bilinear2d_aa.out(pixels, target.shape[2:], False, None, None, out=target)


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
