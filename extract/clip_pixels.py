"""The pixels of clips: which part of a frame, turned which way, at which size.

Colours: swscale's conversion with the matrix that the stream names (BT.709, BT.601, BT.2020, ...), BT.601 where it
names none, and its limited or full range; the transfer curve is left alone. Pixels count as square.
"""

from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from scale_video.extract.orientation import Orientation, orientation_of
from scale_video.extract.video_file import LIBAV_ERRORS, VideoFileError, reason
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus


class ClipPainter:
    """Writes decoded frames into clips: upright, cropped, resized, mirrored."""

    def __init__(self, coordinates: NDArray[np.float32], *, num_frames: int, frame_size: int) -> None:
        """Make room for the clips.

        Args:
            coordinates: Shape (K, C = 7), columns of ``Coordinate``.
            num_frames: Frames a clip, T.
            frame_size: Pixels of the square frames, S.
        """
        self.frames = np.zeros((len(coordinates), num_frames, frame_size, frame_size, 3), np.uint8)
        """RGB, shape (K, T, S, S, 3); 0 until painted."""
        self._flips = [flip == 1 for flip in coordinates[:, Coordinate.FLIP].tolist()]
        self._boxes = lru_cache(maxsize=4)(partial(_boxes, coordinates))  # by frame size, which may change midway
        self._to_rgb = VideoReformatter()  # one for all frames: it keeps the tables of the conversion
        self._orientation: Orientation | None = None

    def paint(self, picture: VideoFrame, samples: NDArray[np.int64]) -> None:
        """Write one frame into all samples (flat indices into K, T) that want it.

        Raises:
            VideoFileError: its pixel format cannot be converted.
        """
        rgb = self._upright_rgb(picture)
        num_frames, frame_size = self.frames.shape[1:3]
        painted: dict[int, NDArray[np.uint8]] = {}
        for sample in samples.tolist():
            clip, position = divmod(sample, num_frames)
            if clip not in painted:
                crop = rgb[self._boxes(rgb.shape[0], rgb.shape[1])[clip]]
                painted[clip] = _resize(crop, frame_size, mirror=self._flips[clip])
            self.frames[clip, position] = painted[clip]

    def _upright_rgb(self, picture: VideoFrame) -> NDArray[np.uint8]:
        if self._orientation is None:
            self._orientation = orientation_of(picture)
        try:
            converted = self._to_rgb.reformat(picture, format="rgb24", threads=1)
            rgb = np.asarray(converted.to_ndarray(), np.uint8)
        except LIBAV_ERRORS as error:
            raise VideoFileError(VideoStatus.CORRUPT, f"cannot be converted to RGB: {reason(error)}") from None
        return self._orientation.upright(rgb)


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


def _resize(rgb: NDArray[np.uint8], size: int, *, mirror: bool) -> NDArray[np.uint8]:
    """Bilinear with antialiasing, in integers (the same bits whatever the number of threads), to (size, size, 3)."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb))[None].permute(0, 3, 1, 2)  # (1, 3, H, W), channels last
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    if mirror:
        resized = resized.flip(3)  # 10 times faster than a copy of NumPy's reversed view
    return resized[0].permute(1, 2, 0).numpy()
