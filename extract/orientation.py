"""How a decoded frame must be turned to stand upright; phones record lying down and say so in a matrix."""

from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """First mirror, then turn."""

    rotation_degrees: int = 0
    """Clockwise turn: 0, 90, 180 or 270."""
    mirrored: bool = False
    """Whether the frame is left-right reversed before the turn (selfie cameras)."""

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.rotation_degrees in (90, 270)

    def upright(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame (height, width, 3) as a player shows it; a view where nothing is to be done, else a copy."""
        if not (self.rotation_degrees or self.mirrored):
            return rgb
        if self.mirrored:
            rgb = rgb[:, ::-1]
        return np.ascontiguousarray(np.rot90(rgb, -self.rotation_degrees // 90))


def orientation_of(picture: VideoFrame) -> Orientation:
    """Read the display matrix that goes with a decoded frame.

    Its rows (a, b, .), (c, d, .) send a pixel (x, y) to (a x + c y, b x + d y), y downwards: a clockwise turn by t has
    a = d = cos t, b = -c = sin t. Turns that are no multiple of 90 degrees go to the nearest one.
    """
    try:
        matrix = picture.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # the stub says str
    except ValueError:  # beside it lies a kind of data that this PyAV has no name for; this way mirroring is missed
        return Orientation(90 * (round(-picture.rotation / 90) % 4))
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(float)
    mirrored = bool(a * d - b * c < 0)
    if mirrored:  # the matrix is turn x mirror, and mirroring negates its first row
        a, b = -a, -b
    quarters = round(float(np.degrees(np.arctan2(b, a))) / 90)
    return Orientation(90 * (quarters % 4), mirrored)
