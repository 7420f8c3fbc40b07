import math

import pytest
import torch

from scale_video.aggregate.set_infonce import set_infonce


def sets(num_videos, seed=0):
    z = torch.randn(num_videos, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=-1)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_equals_loops(temperature):
    z = sets(5).tolist()
    losses = []
    for n in range(5):
        for side in range(2):
            scores = []
            for other in range(5):
                similarity = sum(a * b for a, b in zip(z[n][side], z[other][1 - side], strict=True))
                scores.append(math.exp(similarity / temperature))
            losses.append(-math.log(scores[n] / sum(scores)))
    contrast = set_infonce(sets(5), temperature=temperature)
    assert contrast.loss.item() == pytest.approx(sum(losses) / 10, abs=1e-5)


def test_accuracy_counts_both_directions():
    a, b = torch.eye(4)[0], torch.eye(4)[1]
    z = torch.stack([torch.stack([a, a]), torch.stack([b, a])])
    # forth: video 0 finds itself (tie, first wins), video 1 is orthogonal to both (tie, first wins); back likewise
    assert set_infonce(z, temperature=0.2).accuracy.item() == 0.5
    z = torch.stack([torch.stack([a, a]), torch.stack([b, b])])
    assert set_infonce(z, temperature=0.2).accuracy.item() == 1


def test_equal_sets_give_a_finite_loss_and_gradient():
    z = torch.ones(6, 2, 4).div(2).requires_grad_()
    contrast = set_infonce(z, temperature=0.2)
    contrast.loss.backward()
    assert contrast.loss.item() == pytest.approx(math.log(6))
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(4, 3, 8), (4, 8)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"z must be \(videos, 2, dim\), got \(4, "):
        set_infonce(torch.zeros(shape), temperature=0.2)


def test_wrong_temperature():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        set_infonce(sets(2), temperature=0)
