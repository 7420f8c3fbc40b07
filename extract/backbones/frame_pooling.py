"""From the vectors of a clip's frames to one vector of the clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

NUM_FRAMES: Final = 8
"""Frames a clip for networks of images: each costs a forward pass, and those of two seconds resemble each other."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """A way to pool over time."""

    pool: Callable[[Tensor], Tensor]
    """From the frames' vectors, (B, T, D), to the clips', (B, parts * D)."""
    parts: int
    description: str

    def dim(self, frame_dim: int) -> int:
        """Length of a clip's vector, by that of a frame's."""
        return self.parts * frame_dim


def mean(frames: Tensor) -> Tensor:
    """The mean over time.

    Args:
        frames: shape (B, T, D).

    Returns:
        float32, shape (B, D).
    """
    return frames.float().mean(1)


def moments(frames: Tensor) -> Tensor:
    """What is seen, how much it varies, and how fast.

    Args:
        frames: shape (B, T, D), T at least 2.

    Returns:
        float32, shape (B, 3 D): the means over time, the standard deviations (of all T, not of a sample), the means of
        the absolute differences of successive frames.
    """
    frames = frames.float()
    return torch.cat([frames.mean(1), frames.std(1, correction=0), frames.diff(dim=1).abs().mean(1)], dim=1)


POOLINGS: Final[Mapping[str, Pooling]] = {
    "": Pooling(mean, 1, "mean over the frames"),
    "-moments": Pooling(
        moments, 3, "mean, standard deviation and mean absolute difference of successive ones, over the frames"
    ),
}
"""By what the names of their families end with."""


class PooledFrames(nn.Module):
    """An encoder of images over the frames of clips, pooled over time."""

    def __init__(self, image: nn.Module, pooling: Pooling) -> None:
        """Join the two.

        Args:
            image: from (B, 3, H, W) to (B, D).
            pooling: over time.
        """
        super().__init__()
        self.image = image
        self.pooling = pooling

    def forward(self, pixels: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, parts * D)."""
        num_clips, num_frames = len(pixels), pixels.shape[2]
        frames = pixels.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        # A CPU does the frames of one clip after those of another: 1.6 times faster than eight clips at once through
        # ``lite``, whose maps then stay in its caches.
        at_once = num_frames if pixels.device.type == "cpu" else len(frames)
        vectors = torch.cat([self.image(some) for some in torch.split(frames, at_once)])  # (B * T, D)
        return self.pooling.pool(vectors.reshape(num_clips, num_frames, -1))
