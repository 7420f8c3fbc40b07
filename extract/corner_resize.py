"""Enlarging clips on the device that embeds them, where a GPU has nothing better to do and decoders have.

A crop that is smaller than the backbone's input travels as it is, in the upper left corner of its frames.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def enlarge_corners(clips: Tensor, sizes: Sequence[tuple[int, int]]) -> None:
    """Enlarge, in place, what lies in the upper left corners of clips to whole frames.

    Bilinear, in float32, rounded to the nearest level: within one level of what decoders give, who compute in integers.

    Args:
        clips: uint8, shape (B, T, S, S, 3), on any device.
        sizes: for each clip the height and width of its corner; (S, S) leaves it as it is.
    """
    side = clips.shape[2]
    for clip, (height, width) in zip(clips, sizes, strict=True):
        if (height, width) != (side, side):
            corners = clip[:, :height, :width].permute(0, 3, 1, 2).float()  # (T, 3, height, width)
            enlarged = F.interpolate(corners, size=(side, side), mode="bilinear", align_corners=False)
            clip.copy_(enlarged.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
