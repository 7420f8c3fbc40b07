"""Clip coordinates as the model reads them: relative to what the clips of one video cover, or absolute.

Where they are relative, the model cannot tell a long video from a short one, nor a wide crop rule from a narrow one; it
learns where a clip lies among the *other clips of its video*. Source: SCALE (ICCV 2023), published code; a zero range
giving 0 is ours, and so are absolute positions.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate

Positions = Literal["relative", "absolute"]
"""``absolute``: edges in fractions of the frame, times in units of ``SECONDS_PER_UNIT`` from the video's begin."""
SECONDS_PER_UNIT: Final = 10.0
"""So that a video of Kinetics covers [0, 1], as it does where positions are relative."""
_EXTENTS: Final = (
    (Coordinate.TOP, Coordinate.BOTTOM),
    (Coordinate.LEFT, Coordinate.RIGHT),
    (Coordinate.START, Coordinate.END),
)
"""Pairs of edges that share one scale."""


def normalise_coordinates(
    coordinates: NDArray[np.float32], valid: NDArray[np.bool_], *, flips: bool, positions: Positions = "relative"
) -> NDArray[np.float32]:
    """Scale each axis of each video to what its valid clips cover together, or each axis of all videos alike.

    Starts [10, 30] and ends [20, 50] become starts [0, .5] and ends [.25, 1]: v -> (v - 10) / (50 - 10). Where
    positions are absolute, they become [1, 3] and [2, 5].

    Args:
        coordinates: Shape (N, K, C), columns of ``Coordinate``.
        valid: Shape (N, K).
        flips: Whether the view mirrors clips at random. If it never does, the column is -1 throughout.
        positions: Relative to the other clips of the video, or absolute.

    Returns:
        Shape (N, K, C), float32: edges, where they are relative in [0, 1], and 0 on an axis without extent; flip -1 or
        1; 0 where ``valid`` is false.
    """
    mask = valid[:, :, None]
    normalised = _relative(coordinates, mask) if positions == "relative" else _absolute(coordinates, mask)
    flip = coordinates[:, :, Coordinate.FLIP] * 2 - 1 if flips else -1
    normalised[:, :, Coordinate.FLIP] = np.where(valid, flip, 0)
    return normalised


def _relative(coordinates: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    lowest = coordinates.min(axis=1, keepdims=True, where=mask, initial=np.inf)  # (N, 1, C)
    highest = coordinates.max(axis=1, keepdims=True, where=mask, initial=-np.inf)
    normalised = np.zeros_like(coordinates)
    for low, high in _EXTENTS:
        edges = slice(low, high + 1, high - low)
        origin = lowest[:, :, low, None]
        extent = highest[:, :, high, None] - origin
        np.divide(coordinates[:, :, edges] - origin, extent, out=normalised[:, :, edges], where=mask & (extent > 0))
    return normalised


def _absolute(coordinates: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    normalised = np.where(mask, coordinates, np.float32(0))
    normalised[:, :, [Coordinate.START, Coordinate.END]] /= np.float32(SECONDS_PER_UNIT)
    return normalised
