"""Textures of backgrounds and objects: periodic noise, in banks that share none.

Training videos, test videos and the backbone's training have separate banks: no texture tells what a test video shows.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

TEXTURES_PER_BANK: Final = 200
TEXTURE_SIZE: Final = 128
"""Texels of a texture's side, a power of two: textures are periodic."""


@lru_cache(maxsize=4)
def texture_bank(name: str, seed: int) -> NDArray[np.float32]:
    """Make a bank of periodic textures: four octaves of smooth noise, each half as strong as the coarser one.

    Args:
        name: Distinguishes banks of one seed; no texture is in two banks.
        seed: At least 0.

    Returns:
        Shape (TEXTURES_PER_BANK, TEXTURE_SIZE, TEXTURE_SIZE), mean 0 and standard deviation 1 each; read-only, as the
        bank is kept for the next video.
    """
    generator = np.random.default_rng([seed, *f"textures/{name}".encode()])
    bank = np.zeros((TEXTURES_PER_BANK, TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    for octave in range(4):
        num_knots = 4 << octave
        knots = generator.standard_normal((TEXTURES_PER_BANK, num_knots, num_knots), dtype=np.float32)
        bank += _upsample(_upsample(knots, axis=1), axis=2) * np.float32(0.5**octave)
    bank -= bank.mean(axis=(1, 2), keepdims=True)
    bank /= bank.std(axis=(1, 2), keepdims=True)
    bank.flags.writeable = False
    return bank


def _upsample(knots: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Interpolate periodic knots along an axis to TEXTURE_SIZE texels, with smoothstep weights."""
    num_knots = knots.shape[axis]
    place = np.arange(TEXTURE_SIZE, dtype=np.float32) * (num_knots / TEXTURE_SIZE)
    fraction = place % 1
    left = place.astype(np.int64)
    weight = (fraction * fraction * (3 - 2 * fraction)).reshape([-1 if a == axis else 1 for a in range(3)])
    start = knots.take(left, axis=axis)
    result: NDArray[np.float32] = start + weight * (knots.take((left + 1) % num_knots, axis=axis) - start)
    return result
