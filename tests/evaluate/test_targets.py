import numpy as np
import pytest
import torch

from scale_video.evaluate.targets import ClassSet, Number, OneClass, is_labelled, task_of

VALID = torch.tensor([[True, True, True], [True, False, True]])


@pytest.fixture
def outputs() -> torch.Tensor:
    """Of two videos of three clips; one of them is not valid and holds what it likes."""
    found = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    found[1, 1] = torch.nan
    return found


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


def sigmoid(row: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-row))


@pytest.mark.parametrize(("task", "squash"), [(OneClass(4), softmax), (ClassSet(4), sigmoid)])
def test_pooling_averages_logits_or_probabilities_of_valid_clips(task, squash, outputs: torch.Tensor) -> None:
    rows = outputs.numpy()
    clips = [[rows[0, 0], rows[0, 1], rows[0, 2]], [rows[1, 0], rows[1, 2]]]
    assert task.poolings == ("logits", "probabilities")
    logits, probabilities = (task.pool(outputs, VALID, pooling).numpy() for pooling in task.poolings)
    np.testing.assert_allclose(logits, [np.mean(of_video, axis=0) for of_video in clips], rtol=1e-6)
    expected = [np.mean([squash(clip) for clip in of_video], axis=0) for of_video in clips]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


def test_numbers_are_standardised_for_the_loss_and_come_back_in_their_unit(outputs: torch.Tensor) -> None:
    targets = np.array([10.0, 30.0, 50.0, 10.0], dtype=np.float32)
    task = task_of("number", targets, num_classes=0)
    assert isinstance(task, Number)
    assert (task.mean, task.scale) == (25.0, pytest.approx(np.sqrt(275)))
    of_clips = outputs[0, :, :1]
    expected = np.mean(
        [(float(out) - (target - 25) / np.sqrt(275)) ** 2 for out, target in zip(of_clips, targets[:3], strict=True)]
    )
    assert float(task.loss(of_clips, torch.from_numpy(targets[:3]))) == pytest.approx(expected, rel=1e-6)
    pooled = task.pool(outputs[:, :, :1], VALID, "mean").numpy()
    np.testing.assert_allclose(
        pooled[1, 0], np.mean([outputs[1, 0, 0], outputs[1, 2, 0]]) * np.sqrt(275) + 25, rtol=1e-6
    )
    assert task.score(np.array([[1.0], [4.0]]), np.array([2.0, 2.0])) == -2.5


def test_equal_numbers_have_a_scale() -> None:
    task = task_of("number", np.full(3, 7.0), num_classes=0)
    assert isinstance(task, Number)
    assert task.scale == 1.0


def test_losses_are_the_formulas(outputs: torch.Tensor) -> None:
    logits = outputs[0].double()
    labels = torch.tensor([2, 0, 3], dtype=torch.int32)
    expected = -np.mean([np.log(softmax(row.numpy()))[label] for row, label in zip(logits, labels, strict=True)])
    assert float(OneClass(4).loss(logits, labels)) == pytest.approx(expected)
    sets = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.int8)
    likely = sigmoid(logits.numpy())
    expected = -np.mean(np.where(sets.numpy() == 1, np.log(likely), np.log(1 - likely)))
    assert float(ClassSet(4).loss(logits, sets)) == pytest.approx(expected)


def test_sets_are_judged_by_the_classes_that_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4], [0.6, 0.3, 0.5]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=np.int8)
    assert ClassSet(3).score(scores, targets) == pytest.approx((1 + 1 / 2) / 2)
    assert ClassSet(3).score(scores, np.zeros_like(targets)) == 0.0


def test_who_has_a_target() -> None:
    np.testing.assert_array_equal(is_labelled("class", np.array([0, -1, 2])), [True, False, True])
    np.testing.assert_array_equal(is_labelled("number", np.array([0.5, np.nan])), [True, False])
    sets = np.array([[0, 0], [1, 0], [-1, -1]], dtype=np.int8)
    np.testing.assert_array_equal(is_labelled("classes", sets), [True, True, False])
