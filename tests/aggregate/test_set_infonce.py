import itertools
import math

import pytest
import torch

from scale_video.aggregate.set_infonce import set_infonce


def sets(num_videos, num_sets=2, seed=0):
    z = torch.randn(num_videos, num_sets, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=-1)


@pytest.mark.parametrize("num_sets", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_equals_loops(temperature, num_sets):
    z = sets(5, num_sets).tolist()
    losses, hits = [], []
    for n in range(5):
        for one, other in itertools.permutations(range(num_sets), 2):
            scores = []
            for video in range(5):
                similarity = sum(a * b for a, b in zip(z[n][one], z[video][other], strict=True))
                scores.append(math.exp(similarity / temperature))
            losses.append(-math.log(scores[n] / sum(scores)))
            hits.append(scores[n] == max(scores))
    contrast = set_infonce(sets(5, num_sets), temperature=temperature)
    assert contrast.loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert contrast.accuracy.item() == pytest.approx(sum(hits) / len(hits))


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


@pytest.mark.parametrize("shape", [(4, 1, 8), (4, 8)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"z must be \(videos, sets, dim\) with at least 2 sets, got \(4, "):
        set_infonce(torch.zeros(shape), temperature=0.2)


def test_wrong_temperature():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        set_infonce(sets(2), temperature=0)
