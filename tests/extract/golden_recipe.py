"""The weights and clips behind the golden outputs in ``tests/data/golden``, made from names and shapes alone.

NumPy promises that the streams of ``RandomState`` never change.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor


def weight(name: str, shape: tuple[int, ...], *, faint: bool = False) -> Tensor:
    """The tensor of a checkpoint that has this name there; float32.

    Scaled such that activations stay near 1 in every layer: a difference in any of them then shows in the output.

    Args:
        name: in the checkpoint, its prefix included.
        shape: there.
        faint: make what precedes a transformer's blocks so small that the epsilon of their first norms counts.
    """
    values = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)  # 0 to 1
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values += 0.5  # scales and variances of norms
    else:
        values -= 0.5
        if len(shape) == 1:
            values *= 0.2  # biases, running means
        elif name.endswith(("cls_token", "pos_embed", "time_embed")):
            values *= 4
        else:
            values *= 2 * math.sqrt(3 / math.prod(shape[1:]))  # variance 1 / fan-in
        if "qkv.weight" in name:
            values *= 2  # attention that prefers some tokens: else all clips look alike in the mean
    if faint and (name.endswith(("cls_token", "pos_embed", "time_embed")) or "patch_embed" in name):
        values *= 0.003
    return torch.from_numpy(values.astype(np.float32))


def clips(num_clips: int, *, num_frames: int, size: int) -> Tensor:
    """Clips of 4 x 4 coloured squares under noise, uint8, shape (num_clips, num_frames, size, size, 3)."""
    random = np.random.RandomState(size)
    noise = random.randint(0, 128, (num_clips, num_frames, size, size, 3), dtype=np.uint8)
    squares = random.randint(0, 128, (num_clips, num_frames, 4, 4, 3), dtype=np.uint8)
    return torch.from_numpy(noise + squares.repeat(size // 4, axis=2).repeat(size // 4, axis=3))
