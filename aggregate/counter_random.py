"""Random numbers that follow from what they are for, not from what was drawn before them.

A generator's n-th number needs the n - 1 before it, on the same kind of device. Here a number is a hash of (seed,
epoch, purpose, row, place): a video's sets and masks in an epoch are the same on a CPU and on a GPU, in whatever batch,
on whatever rank, and also when training goes on in the middle of the epoch.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA
2014), once for the row and once for the place; its 64-bit arithmetic is that of PyTorch's int64, which wraps around.
"""

from enum import IntEnum
from typing import Final

import numpy as np
import torch
from torch import Tensor

NUM_KEYS: Final = 2**63
"""Keys lie in [0, NUM_KEYS)."""


class Purpose(IntEnum):
    """What random numbers are for; those of one purpose tell nothing of another's."""

    ORDER = 0
    """Of an epoch's videos."""
    CLIPS = 1
    """Which clips make the sets."""
    POSITIONS = 2
    """Ablation: whose coordinates the clips are given."""
    MASKS = 3
    DROPOUT = 4
    BLOCKS = 5
    """Of an epoch's blocks, where features are streamed."""
    DELAYS = 6
    """How far behind its block a video comes."""


def derived_seed(*entropy: int) -> int:
    """A seed in [0, 2**64) that is unrelated to those of any other entropy; for example of (seed, epoch)."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def random_keys(rows: Tensor, per_row: int, *, seed: int) -> Tensor:
    """Keys to sort by, or to compare with a share of ``NUM_KEYS``.

    Args:
        rows: Numbers of the rows, shape (N,), int64; equal rows get equal keys.
        per_row: Keys of a row.
        seed: From ``derived_seed``.

    Returns:
        Shape (N, per_row), int64, uniform in [0, ``NUM_KEYS``), on the device of ``rows``.
    """
    places = torch.arange(per_row, device=rows.device)
    return _shifted(_mixed(_mixed(rows + _signed(seed))[:, None] + places), 1)


def _mixed(state: Tensor) -> Tensor:
    """Every bit of the result depends on every bit of the state."""
    state = (state + 1) * _signed(0x9E3779B97F4A7C15)  # neighbouring numbers become distant ones
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shifted(state, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift to the right and fill with zeros; PyTorch fills with the sign."""
    shifted: Tensor = (bits >> places) & (2 ** (64 - places) - 1)
    return shifted


def _signed(bits: int) -> int:
    """The int64 of the same 64 bits."""
    return bits - 2**64 if bits >= 2**63 else bits
