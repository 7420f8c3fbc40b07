"""Changing colours and sharpness of decoded clips, by parameters that were drawn before; ``FORMAT.md`` defines them.

NumPy's sums, products and roundings of float32 arrays, and no library of matrix products: the same bits on every
machine. A few frames at a time, so that what is worked on stays in a core's cache. Source of the definitions: Pillow's
``ImageEnhance``, which MoCo v2 was trained with, without its rounding to whole levels after each step.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.augmentation import Augmentation

Planes = NDArray[np.float32]
"""F frames, shape (3, F, S, S): levels of red, green and blue, in [0, 255]; or their grey, shape (F, S, S)."""

PIXELS_AT_ONCE: Final = 224 * 224
GREY_WEIGHTS: Final = (0.299, 0.587, 0.114)
_HUE_OFFSETS: Final = (5, 3, 1)
"""Of red, green and blue, in sixths of the colour circle."""


def augment_clip(frames: NDArray[np.uint8], augmentation: NDArray[np.float32]) -> None:
    """Change all frames of a clip, in place.

    Args:
        frames: RGB, shape (T, S, S, 3).
        augmentation: Shape (A,), columns of ``Augmentation``.
    """
    steps = _steps(augmentation.astype(np.float64), side=frames.shape[1])
    at_once = max(1, PIXELS_AT_ONCE // frames[0, :, :, 0].size)
    for first in range(0, len(frames) if steps else 0, at_once):
        some = frames[first : first + at_once]
        planes = np.ascontiguousarray(some.transpose(3, 0, 1, 2), dtype=np.float32)
        for step in steps:
            step(planes)
        some[...] = np.rint(planes, out=planes).transpose(1, 2, 3, 0)


def _steps(augmentation: NDArray[np.float64], *, side: int) -> list[Callable[[Planes], None]]:
    """What is to be done, in order; what would change nothing is left out."""
    of_colours: dict[float, Callable[[Planes], None]] = {}
    for parameter, step, change, neutral in (
        (Augmentation.BRIGHTNESS, Augmentation.BRIGHTNESS_STEP, _brighten, 1),
        (Augmentation.CONTRAST, Augmentation.CONTRAST_STEP, _contrast, 1),
        (Augmentation.SATURATION, Augmentation.SATURATION_STEP, _saturate, 1),
        (Augmentation.HUE, Augmentation.HUE_STEP, _turn_hue, 0),
    ):
        if augmentation[parameter] != neutral:
            of_colours[augmentation[step]] = partial(change, amount=np.float32(augmentation[parameter]))
    steps = [of_colours[step] for step in sorted(of_colours)]
    if augmentation[Augmentation.GREY]:
        steps.append(_remove_colours)
    if augmentation[Augmentation.BLUR]:
        steps.append(partial(_blur, weights=_blur_weights(augmentation[Augmentation.BLUR] * side)))
    return steps


def _brighten(planes: Planes, *, amount: np.float32) -> None:
    planes *= amount
    np.clip(planes, 0, 255, out=planes)


def _contrast(planes: Planes, *, amount: np.float32) -> None:
    """The mean of each frame is taken of whole levels, whose sum is exact in any order."""
    levels = np.rint(_grey(planes)).astype(np.uint8)
    means = levels.sum(axis=(1, 2), dtype=np.int64, keepdims=True) / levels[0].size
    _blend(planes, means.astype(np.float32), amount)


def _saturate(planes: Planes, *, amount: np.float32) -> None:
    _blend(planes, _grey(planes), amount)


def _blend(planes: Planes, base: Planes, amount: np.float32) -> None:
    """``base + amount * (planes - base)``, brought back into the range of levels."""
    planes -= base
    planes *= amount
    planes += base
    np.clip(planes, 0, 255, out=planes)


def _turn_hue(planes: Planes, *, amount: np.float32) -> None:
    """Go around the colour circle by some turns; the largest and the smallest level of each pixel stay.

    Red is at 0, green at 2, blue at 4 sixths. A level is the pixel's largest up to one sixth away from its own place,
    falls until two sixths away, and is the smallest beyond.
    """
    red, green, blue = planes
    largest = planes.max(axis=0)
    chroma = largest - planes.min(axis=0)
    divisor = np.where(chroma > 0, chroma, np.float32(1))
    sixths = np.where(
        largest == red,
        (green - blue) / divisor,
        np.where(largest == green, (blue - red) / divisor + np.float32(2), (red - green) / divisor + np.float32(4)),
    )
    sixths += np.float32(6) * amount
    sixths -= np.float32(6) * np.floor(sixths / np.float32(6))  # in [0, 6]
    for plane, offset in zip(planes, _HUE_OFFSETS, strict=True):
        distance = np.abs(sixths + np.float32(offset - 2))  # from the middle of where the level is smallest
        np.minimum(distance, np.abs(distance - np.float32(6)), out=distance)
        fall = np.clip(np.float32(2) - distance, 0, 1)
        np.subtract(largest, chroma * fall, out=plane)


def _remove_colours(planes: Planes) -> None:
    planes[...] = _grey(planes)


def _grey(planes: Planes) -> Planes:
    """Shape (F, S, S)."""
    grey: Planes = planes[0] * np.float32(GREY_WEIGHTS[0])
    grey += planes[1] * np.float32(GREY_WEIGHTS[1])
    grey += planes[2] * np.float32(GREY_WEIGHTS[2])
    return grey


def _blur_weights(sigma: float) -> list[np.float32]:
    """Of a pixel itself and of its neighbours at 1, 2, … pixels on either side; they sum to 1 over both sides."""
    radius = max(1, math.floor(4 * sigma + 0.5))
    weights = [math.exp(-(distance**2) / (2 * sigma**2)) for distance in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [np.float32(weight / total) for weight in weights]


def _blur(planes: Planes, *, weights: list[np.float32]) -> None:
    """Along columns, then along rows; beyond its edges a frame goes on with its outermost pixels."""
    radius, side = len(weights) - 1, planes.shape[2]
    for axis in (2, 3):
        widths = [(radius, radius) if which == axis else (0, 0) for which in range(4)]
        padded = np.moveaxis(np.pad(planes, widths, mode="edge"), axis, 0)
        target = np.moveaxis(planes, axis, 0)
        target *= weights[0]
        for distance in range(1, radius + 1):
            pair = padded[radius - distance :][:side] + padded[radius + distance :][:side]
            pair *= weights[distance]
            target += pair
