import math

import pytest
import torch

from scale_video.aggregate.masked_clip_infonce import MaskedClipTask, masked_clip_infonce


def unit(shape, seed, dtype=torch.float64):
    vectors = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1)


def by_loops(predictions, targets, positives, temperature):
    losses = []
    for prediction, positive in zip(predictions, positives, strict=True):
        similarities = [sum(a * b for a, b in zip(prediction, target, strict=True)) for target in targets]
        scores = [math.exp(s / temperature) for s in similarities]
        losses.append(-math.log(scores[positive] / sum(scores)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_equals_loops(temperature):
    predictions, targets, positives = unit((3, 4), 0), unit((7, 4), 1), [6, 0, 2]
    contrast = masked_clip_infonce(predictions, targets, positives=torch.tensor(positives), temperature=temperature)
    expected = by_loops(predictions.tolist(), targets.tolist(), positives, temperature)
    assert contrast.loss.item() == pytest.approx(expected, abs=1e-5)


def make_task(negatives):
    torch.manual_seed(0)
    return MaskedClipTask(
        width=6,
        feature_dim=5,
        prediction_hidden_dim=8,
        target_hidden_dim=9,
        projection_dim=4,
        negatives=negatives,
        temperature=0.2,
    ).double()


CLIPS, FEATURES, MASKED = unit((12, 6), 2), unit((12, 5), 3), torch.tensor([1, 3, 10, 6])


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("negatives", ["all", "masked"])
def test_task_equals_loops(negatives):
    task = make_task(negatives)
    candidates = MASKED if negatives == "masked" else torch.arange(12)
    expected = by_loops(
        task.predict(CLIPS[MASKED]).tolist(),
        task.target(FEATURES[candidates]).tolist(),
        [candidates.tolist().index(clip) for clip in MASKED.tolist()],
        0.2,
    )
    contrast = task(CLIPS, FEATURES, MASKED)
    assert contrast.loss.item() == pytest.approx(expected, abs=1e-5)
    assert contrast.num_candidates == len(candidates)


@pytest.mark.parametrize("negatives", ["all", "masked"])
def test_sparse_equals_the_masked_rows_of_dense(negatives):
    """The published computation: everything with everything, then most of it thrown away. Gradients agree as well."""
    task = make_task(negatives)
    clips, features = CLIPS.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    logits = task.predict(clips) @ task.target(features).T / 0.2  # (12, 12)
    if negatives == "masked":
        is_masked = torch.zeros(12, dtype=torch.bool).index_fill(0, MASKED, True)
        logits = logits.masked_fill(~is_masked, -torch.inf)
    losses = torch.nn.functional.cross_entropy(logits, torch.arange(12), reduction="none")
    dense = losses[MASKED].mean()
    sparse = task(clips, features, MASKED).loss
    torch.testing.assert_close(sparse, dense)
    inputs = [clips, features, *task.parameters()]
    for got, expected in zip(torch.autograd.grad(sparse, inputs), torch.autograd.grad(dense, inputs), strict=True):
        torch.testing.assert_close(got, expected)


def test_equal_clips_give_a_finite_loss():
    task = make_task("all")
    contrast = task(torch.ones_like(CLIPS), torch.ones_like(FEATURES), MASKED)
    assert contrast.loss.item() == pytest.approx(math.log(12))


def test_targets_are_trained_too():
    task = make_task("all")
    task(CLIPS, FEATURES, MASKED).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in task.parameters())
