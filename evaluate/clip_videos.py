"""What probes on single clips read: the clips of videos, and one vector per clip made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLIP_PARTS = ("x", "h", "cls")
"""Of what a clip's vector is put together: its raw feature, its refined token, the global token of its set."""


@dataclass(frozen=True, slots=True)
class ClipVideos:
    """The clips of N videos, in memory."""

    features: NDArray[np.float16]
    """Backbone features, shape (N, K, D); 0 where ``valid`` is false."""
    coordinates: NDArray[np.float32]
    """As the aggregator reads them, shape (N, K, C)."""
    valid: NDArray[np.bool_]
    """Shape (N, K); at least one clip a video."""

    def __len__(self) -> int:
        """Videos, N."""
        return len(self.valid)

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> "ClipVideos":
        """The given rows, in the given order."""
        return ClipVideos(self.features[rows], self.coordinates[rows], self.valid[rows])

    def take_clips(self, rows: NDArray[np.int64], clips: NDArray[np.int64]) -> "ClipVideos":
        """Of each row (n,) its clips (n, k)."""
        chosen = (rows[:, None], clips)
        return ClipVideos(self.features[chosen], self.coordinates[chosen], self.valid[chosen])

    def tensors(self, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Features in single precision, coordinates and ``valid`` on a device."""
        features = torch.from_numpy(self.features).to(device).float()
        return features, torch.from_numpy(self.coordinates).to(device), torch.from_numpy(self.valid).to(device)


def concatenate_videos(first: ClipVideos, second: ClipVideos) -> ClipVideos:
    """The videos of both; where their views have different numbers of clips, the missing ones are not valid."""
    num_clips = max(first.valid.shape[1], second.valid.shape[1])

    def joined(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        padded = [np.pad(part, [(0, 0), (0, num_clips - part.shape[1]), (0, 0)][: part.ndim]) for part in (one, other)]
        return np.concatenate(padded)

    return ClipVideos(
        joined(first.features, second.features),
        joined(first.coordinates, second.coordinates),
        joined(first.valid, second.valid),
    )


class ClipEncoder(nn.Module):
    """Puts the vectors of clips together, of raw features and what an aggregator makes of their set.

    Args:
        parts: Of ``CLIP_PARTS``, in the order of the concatenation.
        aggregator: Maps features (n, K, D), coordinates (n, K, C) and ``valid=`` (n, K) to an object with ``clips`` (n,
            K, E) and ``cls`` (n, E); None where ``parts`` is x alone.

    Raises:
        ValueError: an unknown part, or one that needs an aggregator where there is none.
    """

    def __init__(self, parts: Sequence[str], aggregator: nn.Module | None) -> None:
        super().__init__()
        for part in parts:
            if part not in CLIP_PARTS:
                raise ValueError(f"a clip has no part {part!r}; it has {', '.join(CLIP_PARTS)}")
            if part != "x" and aggregator is None:
                raise ValueError(f"part {part!r} of a clip needs an aggregator, got none")
        self.parts = tuple(parts)
        self.aggregator = aggregator

    def forward(self, features: Tensor, coordinates: Tensor, valid: Tensor) -> Tensor:
        """Vectors of the clips, shape (n, K, sum of the parts' dimensions); meaningless where a clip is not valid."""
        there = {"x": features}
        if self.aggregator is not None:
            tokens = self.aggregator(features, coordinates, valid=valid)
            there |= {"h": tokens.clips, "cls": tokens.cls[:, None].expand_as(tokens.clips)}
        return torch.cat([there[part] for part in self.parts], dim=-1)
