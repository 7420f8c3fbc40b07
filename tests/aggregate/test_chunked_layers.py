from itertools import pairwise

import pytest
import torch

from scale_video.aggregate import chunked_layers as module
from scale_video.aggregate.chunked_layers import chunked_layers
from scale_video.aggregate.projection_head import ProjectionHead


def draw(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def by_formula(inputs, weights):
    """One row at a time, GELU from its definition."""
    outputs = []
    for row in inputs:
        for weight in weights[:-1]:
            row = torch.stack([torch.dot(unit, row) for unit in weight])
            row = row * (1 + torch.erf(row / 2**0.5)) / 2
        outputs.append(torch.stack([torch.dot(unit, row) for unit in weights[-1]]))
    return torch.stack(outputs)


@pytest.mark.parametrize("rows_per_chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("dims", [(4, 5, 3), (4, 6, 5, 3)])
def test_equals_the_formula_whatever_the_chunk(monkeypatch, rows_per_chunk, dims):
    monkeypatch.setattr(module, "UNITS_PER_CHUNK", rows_per_chunk * max(dims[1:-1]))
    inputs = draw(7, 4, seed=0)
    weights = [draw(after, before, seed=after) for before, after in pairwise(dims)]
    outputs, expected = chunked_layers(inputs, weights), by_formula(inputs, weights)
    torch.testing.assert_close(outputs, expected)
    by_outputs = draw(7, 3, seed=9).detach()
    got = torch.autograd.grad(outputs, [inputs, *weights], by_outputs)
    for ours, theirs in zip(got, torch.autograd.grad(expected, [inputs, *weights], by_outputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_gradient_is_computed_for_inputs_that_need_none():
    weights = [draw(5, 4, seed=1), draw(3, 5, seed=2)]
    inputs = draw(6, 4, seed=0).detach()
    chunked_layers(inputs, weights).sum().backward()
    assert inputs.grad is None
    assert all(weight.grad is not None for weight in weights)


def test_no_rows():
    weights = [draw(5, 4, seed=1), draw(3, 5, seed=2)]
    outputs = chunked_layers(draw(0, 4, seed=0), weights)
    assert outputs.shape == (0, 3)
    outputs.sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in weights)


def test_a_head_gives_the_same_in_chunks_and_whole(monkeypatch):
    head = ProjectionHead(6, hidden_dim=10, output_dim=4, num_layers=3)
    inputs = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    outputs = []
    for in_chunks in (True, False):
        monkeypatch.setattr("scale_video.aggregate.projection_head.in_chunks", lambda _, here=in_chunks: here)
        outputs.append(head(inputs))
        assert head(inputs[0, 0]).shape == (4,)
    assert outputs[0].shape == (3, 5, 4)
    torch.testing.assert_close(*outputs)
