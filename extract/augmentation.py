"""Drawing how colours and sharpness of each clip are changed, as MoCo v2 does: once for all frames of a clip.

Source: Chen et al., *Improved Baselines with Momentum Contrastive Learning* (2020), for the operations; SCALE (ICCV
2023), for the ranges.
"""

import math
from dataclasses import dataclass, fields
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.augmentation import Augmentation

Floats = NDArray[np.float64]

DRAWS_PER_CLIP: Final = 9
"""Columns of a clip's uniform draws: jitter or not, four strengths, their order, grey or not, blur or not, sigma."""
_ORDERS: Final = np.array(list(permutations(range(4))), dtype=np.float64)
"""Shape (24, 4): the step of each of the four, in every order."""


@dataclass(frozen=True, slots=True)
class AugmentationRanges:
    """How far clips may be changed, and how often."""

    jitter_probability: float = 0.8
    """Of a change of brightness, contrast, saturation and hue, in random order."""
    brightness: float = 0.6
    """Factors lie in [1 - brightness, 1 + brightness]; likewise the next two."""
    contrast: float = 0.6
    saturation: float = 0.6
    hue: float = 0.15
    """Turns lie in [-hue, hue]."""
    grey_probability: float = 0.2
    blur_probability: float = 0.5
    min_blur_sigma: float = 0.1
    """Pixels of a frame of the view's nominal size."""
    max_blur_sigma: float = 2.0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: a parameter out of its range.
        """
        for field in fields(self):
            value, limit = getattr(self, field.name), 0.5 if field.name == "hue" else 1.0
            if not field.name.endswith("sigma") and not 0 <= value <= limit:
                raise ValueError(f"{field.name} must be in [0, {limit:g}], got {value}")
        if not 0 < self.min_blur_sigma <= self.max_blur_sigma < math.inf:
            raise ValueError(
                f"blur needs 0 < min_blur_sigma <= max_blur_sigma, got {self.min_blur_sigma} and {self.max_blur_sigma}"
            )


def draw_augmentation(ranges: AugmentationRanges, draws: Floats, *, nominal_size: int) -> Floats:
    """Turn uniform draws into parameters.

    Args:
        ranges: What they are drawn from.
        draws: U[0, 1), shape (n, K, 9).
        nominal_size: Pixels of the frames that sigmas are meant for.

    Returns:
        Shape (n, K, A), columns of ``Augmentation``.
    """
    jitter, brightness, contrast, saturation, hue, order, grey, blur, sigma = np.moveaxis(draws, 2, 0)  # each (n, K)
    jittered = jitter < ranges.jitter_probability
    parameters = np.empty((*draws.shape[:2], len(Augmentation)))
    for column, draw, strength in (
        (Augmentation.BRIGHTNESS, brightness, ranges.brightness),
        (Augmentation.CONTRAST, contrast, ranges.contrast),
        (Augmentation.SATURATION, saturation, ranges.saturation),
    ):
        parameters[..., column] = np.where(jittered, 1 + strength * (2 * draw - 1), 1)
    parameters[..., Augmentation.HUE] = np.where(jittered, ranges.hue * (2 * hue - 1), 0)
    steps = slice(Augmentation.BRIGHTNESS_STEP, Augmentation.HUE_STEP + 1)
    parameters[..., steps] = _ORDERS[(order * len(_ORDERS)).astype(np.int64)]
    parameters[..., Augmentation.GREY] = grey < ranges.grey_probability
    pixels = ranges.min_blur_sigma + sigma * (ranges.max_blur_sigma - ranges.min_blur_sigma)
    parameters[..., Augmentation.BLUR] = np.where(blur < ranges.blur_probability, pixels / nominal_size, 0)
    return parameters
