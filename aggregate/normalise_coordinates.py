"""Clip coordinates as the model reads them: relative to what the clips of one video cover.

The model cannot tell a long video from a short one, nor a wide crop rule from a narrow one; it learns where a clip lies
among the *other clips of its video*. Source: SCALE (ICCV 2023), published code; a zero range giving 0 is ours.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_plan import Coordinate

_EXTENTS: Final = (
    (Coordinate.TOP, Coordinate.BOTTOM),
    (Coordinate.LEFT, Coordinate.RIGHT),
    (Coordinate.START, Coordinate.END),
)
"""Pairs of edges that share one scale."""


def normalise_coordinates(
    coordinates: NDArray[np.float32], valid: NDArray[np.bool_], *, flips: bool
) -> NDArray[np.float32]:
    """Scale each axis of each video to what its valid clips cover together.

    Starts [10, 30] and ends [20, 50] become starts [0, .5] and ends [.25, 1]: v -> (v - 10) / (50 - 10).

    Args:
        coordinates: Shape (N, K, C), columns of ``Coordinate``.
        valid: Shape (N, K).
        flips: Whether the view mirrors clips at random. If it never does, the column is -1 throughout.

    Returns:
        Shape (N, K, C): edges in [0, 1], 0 on an axis without extent; flip -1 or 1; 0 where ``valid`` is false.
    """
    mask = valid[:, :, None]
    lowest = coordinates.min(axis=1, keepdims=True, where=mask, initial=np.inf)  # (N, 1, C)
    highest = coordinates.max(axis=1, keepdims=True, where=mask, initial=-np.inf)
    normalised = np.zeros_like(coordinates)
    for low, high in _EXTENTS:
        edges = slice(low, high + 1, high - low)
        origin = lowest[:, :, low, None]
        extent = highest[:, :, high, None] - origin
        np.divide(coordinates[:, :, edges] - origin, extent, out=normalised[:, :, edges], where=mask & (extent > 0))
    flip = coordinates[:, :, Coordinate.FLIP] * 2 - 1 if flips else -1
    normalised[:, :, Coordinate.FLIP] = np.where(valid, flip, 0)
    return normalised
