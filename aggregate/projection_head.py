"""The MLPs that map tokens and features into the space where they are compared; thrown away after pre-training."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scale_video.aggregate.chunked_layers import chunked_layers
from scale_video.aggregate.execution import in_chunks


class ProjectionHead(nn.Module):
    """Linear layers without bias, GELU between them, onto the unit sphere.

    Args:
        input_dim: Length of its input.
        hidden_dim: Units of every hidden layer.
        output_dim: Length of its output, P.
        num_layers: Linear layers, at least 2.
    """

    def __init__(self, input_dim: int, *, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(before, after, bias=False) for before, after in pairwise(dims))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (…, input_dim) to L2-normalised (…, P), float32 under autocast too."""
        if in_chunks(inputs):
            weights = [cast("Tensor", layer.weight) for layer in self.layers]
            outputs = chunked_layers(inputs.reshape(-1, inputs.shape[-1]), weights)
            outputs = outputs.view(*inputs.shape[:-1], len(weights[-1]))
        else:
            *hidden, last = self.layers
            for layer in hidden:
                inputs = F.gelu(layer(inputs))
            outputs = last(inputs)
        return F.normalize(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), dim=-1)
