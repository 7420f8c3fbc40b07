"""Probes on single clips against a training that is written out: sets, loss, schedule, optimiser, choice."""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scale_video.evaluate.clip_training import ClipTrainingConfig, learning_rate_factor, train_on_clips
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos, concatenate_videos
from scale_video.evaluate.holdout import HoldOut, hold_out_groups, validation_part
from scale_video.evaluate.per_clip import clip_probe
from scale_video.evaluate.targets import ClassSet, Number, OneClass

CONFIG = ClipTrainingConfig(
    max_epochs=5, schedule_epochs=8, warmup_fraction=0.2, learning_rate=3e-2, weight_decay=0.1, clips_per_set=3,
    hidden_dim=12, output_dim=6,
)  # fmt: skip


class Tokens(NamedTuple):
    cls: Tensor
    clips: Tensor


class Aggregator(nn.Module):
    """Clips that know of each other and of their places, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.project = nn.Linear(4, 5)
            self.place = nn.Linear(7, 5)
            self.token = nn.Parameter(torch.full((5,), 0.5))
            self.dropout = nn.Dropout(0.1)

    def forward(self, features: Tensor, coordinates: Tensor, *, valid: Tensor) -> Tokens:
        clips = self.dropout(torch.tanh(self.project(features) + self.place(coordinates)))
        there = valid[:, :, None]
        mean = torch.where(there, clips, 0).sum(dim=1) / there.sum(dim=1) + self.token
        return Tokens(mean, clips + mean[:, None])


def make_clips(num_videos: int, *, seed: int, spread: float = 1.0) -> tuple[ClipVideos, np.ndarray]:
    """Videos of three classes and six clips, of which some videos have only two; the others hold what must not be
    read."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(num_videos) // 2 % 3).astype(np.int32)
    means = np.random.default_rng(99).normal(size=(3, 4))
    features = means[labels][:, None] + spread * rng.normal(size=(num_videos, 6, 4))
    valid = np.ones((num_videos, 6), dtype=bool)
    valid[::5, 2:] = False
    features[~valid] = 1e4
    return ClipVideos(features.astype(np.float32), rng.random((num_videos, 6, 7), dtype=np.float32), valid), labels


def encoder(*parts: str) -> ClipEncoder:
    return ClipEncoder(parts, None if parts == ("x",) else Aggregator())


def test_clips_are_put_together_by_their_parts() -> None:
    videos, _ = make_clips(2, seed=0)
    made = encoder("x", "h", "cls").eval()
    found = made(*videos.tensors("cpu"))
    tokens = made.aggregator(*videos.tensors("cpu")[:2], valid=torch.from_numpy(videos.valid))
    for video in range(2):
        for clip in range(6):
            expected = torch.cat(
                [torch.from_numpy(videos.features[video, clip]), tokens.clips[video, clip], tokens.cls[video]]
            )
            torch.testing.assert_close(found[video, clip], expected)
    assert encoder("x")(*videos.tensors("cpu")).shape == (2, 6, 4)


def test_unknown_parts_and_missing_aggregators_are_refused() -> None:
    with pytest.raises(ValueError, match="a clip has no part 'y'; it has x, h, cls"):
        ClipEncoder(("y",), None)
    with pytest.raises(ValueError, match="part 'cls' of a clip needs an aggregator, got none"):
        ClipEncoder(("x", "cls"), None)


def test_views_of_different_widths_are_joined() -> None:
    (one, _), (other, _) = make_clips(3, seed=0), make_clips(2, seed=1)
    narrow = ClipVideos(other.features[:, :4], other.coordinates[:, :4], other.valid[:, :4])
    both = concatenate_videos(one, narrow)
    assert both.features.shape == (5, 6, 4)
    np.testing.assert_array_equal(both.features[3:, :4], narrow.features)
    np.testing.assert_array_equal(both.coordinates[:3], one.coordinates)
    assert not both.valid[3:, 4:].any()


def test_the_schedule_is_the_published_one() -> None:
    factors = [learning_rate_factor(step, total_steps=10, warmup_fraction=0.2) for step in range(11)]
    expected = [0.0, 0.5] + [0.5 * (math.cos((step - 2) / 8 * math.pi) + 1) for step in range(2, 11)]
    np.testing.assert_allclose(factors, expected, atol=1e-12)
    assert learning_rate_factor(0, total_steps=10, warmup_fraction=0) == 1.0


def slow_training(
    videos: ClipVideos, labels: np.ndarray, *, made: ClipEncoder, head: nn.Module, unfreeze: bool, seed: int
):
    """Train video by video and clip by clip with AdamW written out (Loshchilov & Hutter 2019).

    Yields, after each epoch, the means of logits and of probabilities of other videos' clips.
    """

    def logits_of(side: ClipVideos, row: int, clips: list[int]) -> Tensor:
        kept = [clip for clip in clips if side.valid[row, clip]]
        one = ClipVideos(
            side.features[[row]][:, kept], side.coordinates[[row]][:, kept], np.ones((1, len(kept)), dtype=bool)
        )
        return head(made(*one.tensors("cpu")))[0]

    def predict(side: ClipVideos) -> dict[str, np.ndarray]:
        with torch.no_grad():
            rows = [logits_of(side, row, list(range(6))) for row in range(len(side))]
        return {
            "logits": np.stack([row.mean(dim=0).numpy() for row in rows]),
            "probabilities": np.stack([row.softmax(dim=1).mean(dim=0).numpy() for row in rows]),
        }

    generator = torch.Generator().manual_seed(seed)
    trained = [*(made.parameters() if unfreeze else ()), *head.parameters()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in trained]
    size = len(labels) // 8
    total_steps = CONFIG.schedule_epochs * (len(labels) // size)
    step = 0
    while True:
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(labels) - size + 1, size):
            rows = order[start : start + size].tolist()
            keys = torch.rand(size, 6, generator=generator) + torch.tensor(~videos.valid[rows])
            losses = []
            for row, clips in zip(rows, keys.argsort(dim=1)[:, :3].tolist(), strict=True):
                losses += [-torch.log_softmax(clip, 0)[labels[row]] for clip in logits_of(videos, row, clips)]
            gradients = torch.autograd.grad(sum(losses) / len(losses), trained)
            rate = CONFIG.learning_rate * learning_rate_factor(step, total_steps=total_steps, warmup_fraction=0.2)
            step += 1
            with torch.no_grad():
                for parameter, gradient, (first, second) in zip(trained, gradients, moments, strict=True):
                    parameter *= 1 - rate * (CONFIG.weight_decay if parameter.ndim > 1 else 0)
                    first.mul_(0.9).add_(0.1 * gradient)
                    second.mul_(0.999).add_(0.001 * gradient**2)
                    scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
                    parameter -= rate * first / (1 - 0.9**step) / scale
        yield predict


def fresh_head(input_dim: int, *, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(input_dim, 3)


@pytest.mark.parametrize(
    ("parts", "dim", "unfreeze"), [(("x",), 4, False), (("x", "cls"), 9, False), (("x", "cls"), 9, True)]
)
def test_training_equals_one_that_is_written_out(parts: tuple[str, ...], dim: int, unfreeze: bool) -> None:
    (videos, labels), (others, _) = make_clips(40, seed=0), make_clips(9, seed=1)
    made = encoder(*parts)
    if made.aggregator is not None:
        made.aggregator.dropout.p = 0.0  # its draws are no part of the formula
    slow = slow_training(
        videos, labels, made=copy.deepcopy(made), head=fresh_head(dim, seed=5), unfreeze=unfreeze, seed=5
    )
    found: list[dict[str, np.ndarray]] = []
    train_on_clips(
        videos,
        labels,
        np.arange(40),
        task=OneClass(3),
        encoder=made,
        config=replace(CONFIG, unfreeze=unfreeze),
        num_epochs=3,
        seed=5,
        device="cpu",
        after_epoch=lambda epoch, predict: found.append(predict(others)),
    )
    assert len(found) == 3
    for ours in found:
        theirs = next(slow)(others)
        for pooling in ("logits", "probabilities"):
            np.testing.assert_allclose(ours[pooling], theirs[pooling], rtol=2e-3, atol=2e-3)


def run(train, labels, test, *, parts=("x", "cls"), task=None, hold_out=None, seed=0, look_at=None, **changes):
    return clip_probe(
        train,
        labels,
        test,
        task=task or OneClass(3),
        encoder=encoder(*parts),
        hold_out=hold_out or hold_out_groups(labels, np.arange(len(labels)) // 2, seed=0),
        seed=seed,
        config=replace(CONFIG, **changes),
        look_at=look_at,
    )


def after_each_epoch(videos, labels, rows, others, **changes) -> list[dict[str, np.ndarray]]:
    found: list[dict[str, np.ndarray]] = []
    train_on_clips(
        videos,
        labels,
        rows,
        task=OneClass(3),
        encoder=encoder("x", "cls"),
        config=replace(CONFIG, **changes),
        num_epochs=CONFIG.max_epochs,
        seed=0,
        device="cpu",
        after_epoch=lambda epoch, predict: found.append(
            {name: values.copy() for name, values in predict(others).items()}
        ),
    )
    return found


def best(outputs: list[dict[str, np.ndarray]], labels: np.ndarray) -> tuple[int, str]:
    ranked = [
        (-(values.argmax(axis=1) == labels).mean(), epoch, pooling == "probabilities", pooling)
        for epoch, of_epoch in enumerate(outputs, start=1)
        for pooling, values in of_epoch.items()
    ]
    _, epoch, _, pooling = min(ranked)
    return epoch, pooling


@pytest.mark.parametrize("unfreeze", [False, True])
def test_the_hold_out_chooses_and_training_starts_anew(unfreeze: bool) -> None:
    (train, labels), (test, _) = make_clips(80, seed=0, spread=4), make_clips(12, seed=1, spread=4)
    division = hold_out_groups(labels, np.arange(80) // 2, seed=0)
    found = run(train, labels, test, unfreeze=unfreeze)
    epoch, pooling = best(
        after_each_epoch(train, labels, division.fit, train.take(division.held), unfreeze=unfreeze),
        labels[division.held],
    )
    assert found.hyperparameters == {"epochs": epoch, "average_probabilities": pooling == "probabilities"}
    again = after_each_epoch(train, labels, np.arange(80), test, unfreeze=unfreeze)[epoch - 1][pooling]
    np.testing.assert_array_equal(found.values, again)


def test_as_published_test_chooses_and_the_note_says_so() -> None:
    (train, labels), (test, test_labels) = make_clips(80, seed=0, spread=4), make_clips(30, seed=1, spread=4)
    rows = np.arange(3, 30)
    found = run(train, labels, test, look_at=(rows, test_labels[rows]))
    outputs = after_each_epoch(train, labels, np.arange(80), test)
    epoch, pooling = best([{name: values[rows] for name, values in of.items()} for of in outputs], test_labels[rows])
    assert found.hyperparameters == {"epochs": epoch, "average_probabilities": pooling == "probabilities"}
    np.testing.assert_array_equal(found.values, outputs[epoch - 1][pooling])
    assert found.note == "epochs and averaging were chosen on test, as published"


def test_a_validation_part_chooses_and_is_not_trained_on() -> None:
    (train, labels), (test, _), (extra, extra_labels) = (make_clips(n, seed=n, spread=4) for n in (60, 12, 20))
    both, all_labels = concatenate_videos(train, extra), np.concatenate([labels, extra_labels])
    found = run(both, all_labels, test, hold_out=validation_part(60, 20))
    epoch, pooling = best(after_each_epoch(train, labels, np.arange(60), extra), extra_labels)
    assert found.hyperparameters["epochs"] == epoch
    np.testing.assert_array_equal(
        found.values, after_each_epoch(train, labels, np.arange(60), test)[epoch - 1][pooling]
    )


def test_without_a_hold_out_all_epochs_are_trained() -> None:
    (train, labels), (test, _) = make_clips(18, seed=0), make_clips(6, seed=1)
    none = HoldOut(np.arange(18), np.arange(0), 18, "no hold-out: few")
    found = run(train, labels, test, hold_out=none)
    assert found.hyperparameters == {"epochs": 5, "average_probabilities": 0.0}
    assert found.note == "no hold-out: few"


def test_fine_tuning_leaves_the_aggregator_as_it_is_and_uses_its_dropout() -> None:
    (train, labels), (test, _) = make_clips(40, seed=0), make_clips(6, seed=1)
    made = encoder("x", "cls")
    before = copy.deepcopy(made.state_dict())
    arguments = {"task": OneClass(3), "hold_out": hold_out_groups(labels, np.arange(40), seed=0), "seed": 0}
    config = replace(CONFIG, unfreeze=True)
    first = clip_probe(train, labels, test, encoder=made, config=config, **arguments)
    for name, value in made.state_dict().items():
        assert torch.equal(value, before[name])
    torch.manual_seed(7)
    state = torch.get_rng_state()
    again = clip_probe(train, labels, test, encoder=made, config=config, **arguments)
    np.testing.assert_array_equal(first.values, again.values)
    assert torch.equal(torch.get_rng_state(), state)
    made.aggregator.dropout.p = 0.0
    assert (clip_probe(train, labels, test, encoder=made, config=config, **arguments).values != first.values).any()
    frozen = clip_probe(train, labels, test, encoder=made, config=CONFIG, **arguments)
    made.aggregator.dropout.p = 0.5
    np.testing.assert_array_equal(
        clip_probe(train, labels, test, encoder=made, config=CONFIG, **arguments).values, frozen.values
    )


def test_order_of_test_clips_and_other_test_videos_do_not_matter() -> None:
    (train, labels), (test, _) = make_clips(40, seed=0), make_clips(10, seed=1)
    turned = ClipVideos(test.features[:, ::-1].copy(), test.coordinates[:, ::-1].copy(), test.valid[:, ::-1].copy())
    whole = run(train, labels, test).values
    np.testing.assert_allclose(run(train, labels, turned).values, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(train, labels, test.take(slice(0, 3))).values, whole[:3], rtol=1e-4, atol=1e-4)


def test_learns_from_clips_what_their_labels_are() -> None:
    (train, labels), (test, test_labels) = make_clips(120, seed=0), make_clips(60, seed=1)
    for changes in ({}, {"head": "perceptron"}, {"unfreeze": True}):
        found = run(train, labels, test, **changes)
        assert (found.values.argmax(axis=1) == test_labels).mean() > 0.8


def test_numbers_and_sets_are_learned_from_clips_too() -> None:
    (train, labels), (test, test_labels) = make_clips(120, seed=0), make_clips(60, seed=1)
    division = hold_out_groups(labels, np.arange(120), seed=0)
    numbers = np.float32([10, 20, 40])
    task = Number(mean=float(numbers[labels].mean()), scale=float(numbers[labels].std()))
    found = run(train, numbers[labels], test, task=task, hold_out=division)
    assert found.hyperparameters.keys() == {"epochs"}
    assert ((found.values[:, 0] - numbers[test_labels]) ** 2).mean() < 0.5 * numbers[test_labels].var()
    sets = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.int8)
    found = run(train, sets[labels], test, task=ClassSet(2), hold_out=division)
    middle = 0.5 if found.hyperparameters["average_probabilities"] else 0.0
    assert ((found.values > middle) == sets[test_labels]).mean() > 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be positive, got 0"),
        ({"clips_per_set": 0}, "clips_per_set must be positive, got 0"),
        ({"learning_rate": -1}, "learning_rate must be positive, got -1"),
        ({"schedule_epochs": 10}, r"schedule_epochs must be at least max_epochs \(60\), got 10"),
        ({"weight_decay": -1}, r"weight_decay must not be negative .* got -1 and 0\.05"),
        ({"warmup_fraction": 1}, r"warmup_fraction in \[0, 1\), got 0\.0001 and 1"),
    ],
)
def test_bad_configuration(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipTrainingConfig(**changes)
