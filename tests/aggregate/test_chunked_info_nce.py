import math

import pytest
import torch

from scale_video.aggregate import chunked_info_nce as module
from scale_video.aggregate.chunked_info_nce import chunked_info_nce
from scale_video.aggregate.info_nce import info_nce, similarity_logits
from scale_video.aggregate.masked_clip_infonce import masked_clip_infonce


def unit(num_vectors, seed):
    vectors = torch.randn(num_vectors, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1).requires_grad_()


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 5, 100])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_equals_loops_whatever_the_chunk(monkeypatch, rows_per_chunk, temperature):
    monkeypatch.setattr(module, "LOGITS_PER_CHUNK", rows_per_chunk * 9)
    rows, candidates, positives = unit(5, 0), unit(9, 1), [8, 0, 3, 3, 5]
    losses, hits = [], 0
    for row, positive in zip(rows.tolist(), positives, strict=True):
        logits = [sum(a * b for a, b in zip(row, other, strict=True)) / temperature for other in candidates.tolist()]
        losses.append(-math.log(math.exp(logits[positive]) / sum(math.exp(value) for value in logits)))
        hits += logits[positive] == max(logits)
    contrast = chunked_info_nce(rows, candidates, torch.tensor(positives), temperature=temperature)
    assert contrast.loss.item() == pytest.approx(sum(losses) / 5, abs=1e-10)
    assert contrast.accuracy.item() == pytest.approx(hits / 5)
    assert (contrast.num_rows, contrast.num_candidates) == (5, 9)
    assert not contrast.accuracy.requires_grad


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 100])
def test_gradients_are_those_of_finite_differences(monkeypatch, rows_per_chunk):
    monkeypatch.setattr(module, "LOGITS_PER_CHUNK", rows_per_chunk * 9)
    positives = torch.tensor([8, 0, 3, 3, 5])

    def loss(rows, candidates):
        return 3 * chunked_info_nce(rows, candidates, positives, temperature=0.5).loss

    assert torch.autograd.gradcheck(loss, (unit(5, 0), unit(9, 1)))


@pytest.mark.parametrize("temperature", [0.2, 0.001])
def test_values_and_gradients_are_those_of_whole_logits(temperature):
    """Also where a positive's probability is too small for a float32."""
    rows, candidates = (unit(n, n).detach().float().requires_grad_() for n in (40, 70))
    positives = torch.randint(70, (40,), generator=torch.Generator().manual_seed(0))
    ours = chunked_info_nce(rows, candidates, positives, temperature=temperature)
    whole = info_nce(similarity_logits(rows, candidates, temperature=temperature), positives)
    torch.testing.assert_close(ours.loss, whole.loss)
    assert torch.equal(ours.accuracy, whole.accuracy)
    got = torch.autograd.grad(ours.loss, [rows, candidates])
    for mine, its in zip(got, torch.autograd.grad(whole.loss, [rows, candidates]), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4 * its.abs().max().item())


def test_equal_vectors_are_no_hits():
    """A collapse must look like chance: of equal candidates the first counts."""
    ones = torch.full((6, 4), 0.5)
    contrast = chunked_info_nce(ones, ones, torch.arange(6), temperature=0.2)
    assert contrast.loss.item() == pytest.approx(math.log(6))
    assert contrast.accuracy.item() == pytest.approx(1 / 6)


def test_without_rows_loss_and_gradient_are_zero():
    candidates = unit(6, 0)
    contrast = chunked_info_nce(unit(0, 1), candidates, torch.zeros(0, dtype=torch.int64), temperature=0.2)
    contrast.loss.backward()
    assert contrast.loss.item() == contrast.accuracy.item() == 0
    assert candidates.grad is not None
    assert not candidates.grad.any()


def test_the_loss_of_masked_clips_is_the_same_in_chunks_and_whole(monkeypatch):
    contrasts = []
    for in_chunks in (True, False):
        monkeypatch.setattr("scale_video.aggregate.masked_clip_infonce.in_chunks", lambda _, here=in_chunks: here)
        positives = torch.tensor([8, 0, 3])
        contrasts.append(masked_clip_infonce(unit(3, 0), unit(9, 1), positives=positives, temperature=0.2))
    for ours, whole in zip(*contrasts, strict=True):
        torch.testing.assert_close(ours, whole)
