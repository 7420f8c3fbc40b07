"""TimeSformer with divided attention: each block looks along time first, place by place, and then across each frame.

Source: Is Space-Time Attention All You Need for Video Understanding? (ICML 2021, arXiv 2102.05095), with the one CLS
token of SVT's code, which takes no part in attention over time, and gets the mean over time of what each frame gives
it. Modules are named as there, so that published files fit.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

Resizing = Literal["nearest", "linear"]

_HEAD_DIM: Final = 64
_MOST_SEQUENCES: Final = 32768
"""That attention takes at once: kernels for GPUs count them in 16 bits."""


class DividedTimeSformer(nn.Module):
    """Patches, positions of places and of times, blocks, and the CLS token after a last norm."""

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        mlp_width: int = 3072,
        patch_size: int = 16,
        num_places: int = 14 * 14,
        num_times: int = 8,
        norm_eps: float = 1e-6,
        resizing: Resizing = "nearest",
    ) -> None:
        """Build it, with weights that mean nothing; heads are 64 wide, as in ViT-S, B and L.

        Args:
            width: Length of a token, D.
            depth: Blocks.
            mlp_width: Length of the vectors inside the blocks' MLPs.
            patch_size: Pixels of a square patch.
            num_places: Patches a frame that the table of places is for, a square number.
            num_times: Frames a clip that the table of times is for.
            norm_eps: Of all norms.
            resizing: How the tables become longer or shorter for other frames and clips.
        """
        super().__init__()
        self.patch_size = patch_size
        self.feature_dim = width
        self.num_times = num_times
        self.side = isqrt(num_places)
        self._resizing: Resizing = resizing
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + num_places, width))
        self.time_embed = nn.Parameter(torch.zeros(1, num_times, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch_size, stride=patch_size)})
        self.blocks = nn.ModuleList(_Block(width, mlp_width, norm_eps=norm_eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], *, norm_eps: float, resizing: Resizing, source: str
    ) -> "DividedTimeSformer":
        """Build the network of a checkpoint, all of whose sizes follow from names and shapes.

        Args:
            tensors: By the names of this module.
            norm_eps: Which no checkpoint holds.
            resizing: Likewise.
            source: The file's name, for messages.

        Raises:
            ValueError: A tensor that tells a size is missing, or tells one that there cannot be.
        """
        patches = _shape(tensors, "patch_embed.proj.weight", num_dims=4, source=source)
        num_places = _shape(tensors, "pos_embed", num_dims=3, source=source)[1] - 1
        width = patches[0]
        if isqrt(num_places) ** 2 != num_places or width % _num_heads(width):
            raise ValueError(
                f"the weights {source!r} are for {num_places} places a frame and tokens of {width}, expected a square "
                f"number and a multiple of {_HEAD_DIM}; choose the file that belongs to this backbone"
            )
        return cls(
            width=width,
            depth=len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
            mlp_width=_shape(tensors, "blocks.0.mlp.fc1.weight", num_dims=2, source=source)[0],
            patch_size=patches[3],
            num_places=num_places,
            num_times=_shape(tensors, "time_embed", num_dims=3, source=source)[1],
            norm_eps=norm_eps,
            resizing=resizing,
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn normalised clips into features.

        Args:
            pixels: float32, shape (B, 3, T, H, W); H and W multiples of the patches' size.

        Returns:
            The CLS token after the norm, shape (B, D).
        """
        num_clips, _, num_times, _, _ = pixels.shape
        patches = self.patch_embed["proj"](pixels.transpose(1, 2).flatten(0, 1))  # (B*T, D, h, w)
        places = self._places(patches.shape[2], patches.shape[3])  # (1, 1, h*w, D)
        tokens = patches.flatten(2).transpose(1, 2)  # (B*T, h*w, D)
        tokens = tokens.reshape(num_clips, num_times, *tokens.shape[1:]) + places + self._times(num_times)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(num_clips, -1, -1)  # (B, 1, D)
        for block in self.blocks:
            cls, tokens = block(cls, tokens)
        features: Tensor = self.norm(cls[:, 0])
        return features

    def _places(self, height: int, width: int) -> Tensor:
        """The table of places, shape (1, 1, height * width, D)."""
        table: Tensor = self.pos_embed[:, 1:]
        if (height, width) != (self.side, self.side):
            maps = table.transpose(1, 2).reshape(1, -1, self.side, self.side)  # (1, D, side, side)
            # Space and time are resized apart: trilinear interpolation of a sum of both tables comes to the same.
            mode = "nearest" if self._resizing == "nearest" else "bilinear"
            table = interpolate(maps, size=(height, width), mode=mode).flatten(2).transpose(1, 2)
        return table[:, None]

    def _times(self, num_times: int) -> Tensor:
        """The table of times, shape (1, num_times, 1, D)."""
        table: Tensor = self.time_embed
        if num_times != self.num_times:
            table = interpolate(table.transpose(1, 2), size=num_times, mode=self._resizing).transpose(1, 2)
        return table[:, :, None]


class _Block(nn.Module):
    """Attention along time, attention across each frame and the CLS token, and an MLP."""

    def __init__(self, width: int, mlp_width: int, *, norm_eps: float) -> None:
        super().__init__()
        self.temporal_norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.temporal_attn = _Attention(width)
        self.temporal_fc = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, mlp_width), "fc2": nn.Linear(mlp_width, width)})
        self.gelu = nn.GELU()

    def forward(self, cls: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the CLS token, (B, 1, D), and the tokens of the patches, (B, T, P, D)."""
        num_clips, num_times, num_places, _ = tokens.shape
        lines = self.temporal_norm1(tokens).transpose(1, 2).flatten(0, 1)  # (B*P, T, D)
        lines = self.temporal_fc(self.temporal_attn(lines))
        tokens = tokens + lines.reshape(num_clips, num_places, num_times, -1).transpose(1, 2)
        frames = torch.cat([cls[:, None].expand(-1, num_times, -1, -1), tokens], dim=2)  # (B, T, 1 + P, D)
        seen = self.attn(self.norm1(frames).flatten(0, 1)).reshape(frames.shape)
        cls = cls + seen[:, :, 0].mean(1, keepdim=True)
        tokens = tokens + seen[:, :, 1:]
        return cls + self._think(cls), tokens + self._think(tokens)

    def _think(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.mlp["fc2"](self.gelu(self.mlp["fc1"](self.norm2(tokens))))
        return result


class _Attention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = _num_heads(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let the tokens of each sequence look at one another; shape (S, L, D)."""
        heads = self.qkv(tokens).reshape(*tokens.shape[:2], 3, self.num_heads, -1)
        heads = heads.permute(2, 0, 3, 1, 4)  # (3, S, heads, L, D / heads)
        mixed = [scaled_dot_product_attention(*part) for part in heads.split(_MOST_SEQUENCES, dim=1)]
        joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        result: Tensor = self.proj(joined.transpose(1, 2).flatten(2))
        return result


def _num_heads(width: int) -> int:
    """Heads of 64; one where tokens are shorter."""
    return max(1, width // _HEAD_DIM)


def _shape(tensors: Mapping[str, Tensor], name: str, *, num_dims: int, source: str) -> torch.Size:
    """The shape of a tensor that is there, with so many dimensions."""
    shape = tensors[name].shape if name in tensors else None
    if shape is None or len(shape) != num_dims:
        raise ValueError(
            f"the weights {source!r} have {'no' if shape is None else f'the shape {tuple(shape)} of'} {name}, expected "
            f"{num_dims} dimensions; choose the file that belongs to this backbone"
        )
    return shape
