"""The slow pathway of SlowFast on its own: a ResNet-50 whose last two stages also convolve over time.

Source: SlowFast networks (ICCV 2019, arXiv 1812.03982), as PySlowFast builds its architecture ``slow`` (stride of a
bottleneck at its 3 x 3 convolution, no stride in time). Modules are named as there, so that published files fit.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, relu

_EXPANSION: Final = 4
"""Channels of a block's output, per channel inside."""
_STAGES: Final = (("s2", 1, 1), ("s3", 1, 2), ("s4", 3, 2), ("s5", 3, 2))
"""Name, length in time of the first kernel of each block, stride in space."""


class SlowResNet(nn.Module):
    """Stem, four stages of bottlenecks, and the mean over time and space of what they give."""

    def __init__(self, *, width: int = 64, num_blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        """Build it, with weights that mean nothing.

        Args:
            width: Channels of the stem.
            num_blocks: Bottlenecks of each of the four stages.
        """
        super().__init__()
        self.s1 = nn.ModuleDict({"pathway0_stem": _Stem(width)})
        num_in, inner = width, width
        for (name, time_kernel, stride), blocks in zip(_STAGES, num_blocks, strict=True):
            stage = nn.ModuleDict()
            for block in range(blocks):
                stage[f"pathway0_res{block}"] = _Bottleneck(
                    num_in, inner, time_kernel=time_kernel, stride=stride if block == 0 else 1
                )
                num_in = inner * _EXPANSION
            self.add_module(name, stage)
            inner *= 2
        self.feature_dim = num_in

    @classmethod
    def fitting(cls, tensors: Mapping[str, Tensor]) -> "SlowResNet":
        """Build the network of a checkpoint, whose width and numbers of blocks follow from names and shapes.

        Args:
            tensors: By the names of this module; of a checkpoint that is none of it, the published network is built.
        """
        stem = tensors.get("s1.pathway0_stem.conv.weight")
        num_blocks = [
            len({key.split(".")[1] for key in tensors if key.startswith(f"{name}.pathway0_res")})
            for name, _, _ in _STAGES
        ]
        return cls() if stem is None or not all(num_blocks) else cls(width=stem.shape[0], num_blocks=num_blocks)

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn normalised clips into features.

        Args:
            pixels: float32, shape (B, 3, T, H, W); any T, H and W.

        Returns:
            Shape (B, 32 * width).
        """
        maps = pixels
        for stage in self.children():
            for block in stage.children():
                maps = block(maps)
        return maps.mean(dim=(2, 3, 4))


class _FrozenBatchNorm(nn.Module):
    """Batch norm by the statistics of the training; without the count of batches, which nothing depends on."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_channels,), value))

    def forward(self, maps: Tensor) -> Tensor:
        return batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias)


class _Stem(nn.Module):
    """A 7 x 7 convolution of each frame, and a pool: a quarter of the height and the width."""

    def __init__(self, num_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, num_out, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.bn = _FrozenBatchNorm(num_out)
        self.pool_layer = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.pool_layer(relu(self.bn(self.conv(pixels)), inplace=True))
        return maps


class _Bottleneck(nn.Module):
    """Three convolutions beside a shortcut, which is a convolution where shapes change."""

    def __init__(self, num_in: int, inner: int, *, time_kernel: int, stride: int) -> None:
        super().__init__()
        num_out = inner * _EXPANSION
        self.changes_shape = num_in != num_out or stride != 1
        if self.changes_shape:
            self.branch1 = nn.Conv3d(num_in, num_out, 1, stride=(1, stride, stride), bias=False)
            self.branch1_bn = _FrozenBatchNorm(num_out)
        self.branch2 = nn.ModuleDict(
            {
                "a": nn.Conv3d(num_in, inner, (time_kernel, 1, 1), padding=(time_kernel // 2, 0, 0), bias=False),
                "a_bn": _FrozenBatchNorm(inner),
                "b": nn.Conv3d(inner, inner, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
                "b_bn": _FrozenBatchNorm(inner),
                "c": nn.Conv3d(inner, num_out, 1, bias=False),
                "c_bn": _FrozenBatchNorm(num_out),
            }
        )

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = self.branch1_bn(self.branch1(maps)) if self.changes_shape else maps
        inner = relu(self.branch2["a_bn"](self.branch2["a"](maps)), inplace=True)
        inner = relu(self.branch2["b_bn"](self.branch2["b"](inner)), inplace=True)
        result: Tensor = self.branch2["c_bn"](self.branch2["c"](inner))
        return relu(result.add_(shortcut), inplace=True)
