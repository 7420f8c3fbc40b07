import math

import pytest
import torch

from scale_video.aggregate.info_nce import info_nce, spread_of


def test_equals_loops():
    logits = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    positives = torch.tensor([0, 8, 3, 3, 5])
    losses, hits = [], []
    for row, positive in zip(logits.tolist(), positives.tolist(), strict=True):
        losses.append(-math.log(math.exp(row[positive]) / sum(math.exp(value) for value in row)))
        hits.append(row[positive] == max(row))
    contrast = info_nce(logits, positives)
    assert contrast.loss.item() == pytest.approx(sum(losses) / 5, abs=1e-10)
    assert contrast.accuracy.item() == pytest.approx(sum(hits) / 5)
    assert (contrast.num_rows, contrast.num_candidates) == (5, 9)


def test_ties_cost_log_of_candidates():
    contrast = info_nce(torch.full((4, 8), 5.0), torch.arange(4))
    assert contrast.loss.item() == pytest.approx(math.log(8))


def test_without_rows_loss_and_gradient_are_zero():
    predictions = torch.zeros(0, 3, requires_grad=True)
    targets = torch.ones(6, 3, requires_grad=True)
    contrast = info_nce(predictions @ targets.T, torch.zeros(0, dtype=torch.int64))
    contrast.loss.backward()
    assert contrast.loss.item() == contrast.accuracy.item() == 0
    assert targets.grad is not None
    assert not targets.grad.any()


def test_spread_equals_loops():
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    deviations = []
    for column in vectors.T.tolist():
        mean = sum(column) / 6
        deviations.append(math.sqrt(sum((value - mean) ** 2 for value in column) / 6))
    assert spread_of(vectors).item() == pytest.approx(sum(deviations) / 5 * math.sqrt(5), rel=1e-5)


def test_spread_of_all_directions_and_of_one():
    vectors = torch.nn.functional.normalize(torch.randn(4000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    assert spread_of(vectors).item() == pytest.approx(1, abs=0.01)
    assert spread_of(vectors[:1].expand(50, -1)).item() == pytest.approx(0, abs=1e-6)
    assert spread_of(vectors[:0]).item() == 0
    assert not spread_of(vectors.requires_grad_()).requires_grad
