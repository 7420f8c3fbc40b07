"""The layers of a projection head a few rows at a time, for a CPU.

A hidden layer of the target head holds 67 MB at the paper's sizes. Layer by layer, autograd takes such memory eight
times a step, and the system clears it each time it is taken: GELU then costs four times what it computes. Here the rows
pass through all layers in chunks that stay in the cache. Only what goes into each GELU is kept for the backward pass,
which takes the GELU again: that is cheaper than to keep its outputs.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

UNITS_PER_CHUNK: Final = 2**21
"""Hidden units of all rows of a chunk: 8 MiB in float32."""


def chunked_layers(inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Linear layers without bias, GELU between them.

    Args:
        inputs: Shape (M, D).
        weights: Of each layer, at least two, shape (after, before).

    Returns:
        Shape (M, P).
    """
    outputs: Tensor = _ChunkedLayers.apply(inputs, *weights)  # type: ignore[no-untyped-call]
    return outputs


class _ChunkedLayers(torch.autograd.Function):
    """``gelu(… gelu(inputs @ w[0].T) @ w[1].T …) @ w[-1].T``."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *weights: Tensor) -> Tensor:
        """Take every chunk through all layers."""
        *hidden, last = weights
        before_gelu = [inputs.new_empty(len(inputs), len(weight)) for weight in hidden]
        outputs = inputs.new_empty(len(inputs), len(last))
        for chunk in _chunks(inputs, weights):
            values = inputs[chunk]
            for weight, linear in zip(hidden, before_gelu, strict=True):
                values = F.gelu(torch.mm(values, weight.T, out=linear[chunk]))
            torch.mm(values, last.T, out=outputs[chunk])
        ctx.save_for_backward(inputs, *weights, *before_gelu)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Take every chunk back, and add up what it contributes to the gradients of the weights."""
        inputs, *saved = ctx.saved_tensors
        num_layers = (len(saved) + 1) // 2
        weights, before_gelu = saved[:num_layers], saved[num_layers:]
        by_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        by_weights = [torch.zeros_like(weight) for weight in weights]
        for chunk in _chunks(inputs, weights):
            by_values = by_outputs[chunk]
            for layer in range(num_layers - 1, 0, -1):
                linear = before_gelu[layer - 1][chunk]
                _add_product(by_weights[layer], by_values, F.gelu(linear))
                by_values = by_values @ weights[layer]
                torch.ops.aten.gelu_backward.grad_input(by_values, linear, grad_input=by_values)  # in place
            _add_product(by_weights[0], by_values, inputs[chunk])
            if by_inputs is not None:
                torch.mm(by_values, weights[0], out=by_inputs[chunk])
        return by_inputs, *by_weights


def _add_product(by_weight: Tensor, by_outputs: Tensor, inputs: Tensor) -> None:
    """Add what a layer's chunk contributes to the gradient of its weight, (after, before)."""
    torch.addmm(by_weight, by_outputs.T, inputs, out=by_weight)


def _chunks(inputs: Tensor, weights: Sequence[Tensor]) -> list[slice]:
    """Rows of each chunk: as many as keep the widest hidden layer within ``UNITS_PER_CHUNK``."""
    rows = max(1, UNITS_PER_CHUNK // max(len(weight) for weight in weights[:-1]))
    return [slice(first, first + rows) for first in range(0, len(inputs), rows)]
