from itertools import islice

import numpy as np
import pytest
import torch

from scale_video.evaluate import nonlinear
from scale_video.evaluate.holdout import hold_out_groups
from scale_video.evaluate.nonlinear import NonlinearConfig, Perceptron, nonlinear_probe
from scale_video.evaluate.prediction import Prediction
from scale_video.evaluate.targets import OneClass

SMALL = NonlinearConfig(learning_rates=(1e-2, 1e-3), max_epochs=4, hidden_dim=32, output_dim=16)


def probe(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    test: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    config: NonlinearConfig,
) -> Prediction:
    hold_out = hold_out_groups(labels, groups, seed=seed)
    outputs = nonlinear_probe(
        vectors, labels, test, task=OneClass(num_classes), hold_out=hold_out, seed=seed, config=config
    )
    return outputs.ranked()


def slow_forward(model: Perceptron, vector: torch.Tensor) -> torch.Tensor:
    first, second, third = (model.mlp[index] for index in (0, 2, 4))
    hidden = (first.weight @ vector + first.bias).clamp(min=0)
    hidden = (second.weight @ hidden + second.bias).clamp(min=0)
    output = third.weight @ hidden + third.bias
    return model.classifier.weight @ torch.cat([vector, output]) + model.classifier.bias


def test_the_default_is_the_papers_network() -> None:
    config = NonlinearConfig()
    model = Perceptron(10, 7, hidden_dim=config.hidden_dim, output_dim=config.output_dim)
    shapes = [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim == 2]
    assert shapes == [(2048, 10), (2048, 2048), (512, 2048), (7, 522)]
    assert config.learning_rates[0] == 3e-4
    assert config.weight_decays[0] == 0.0


def test_forward_equals_the_formula() -> None:
    model = Perceptron(5, 3, hidden_dim=8, output_dim=4)
    x = torch.randn(6, 5)
    expected = torch.stack([slow_forward(model, vector) for vector in x])
    torch.testing.assert_close(model(x), expected)


def slow_training(vectors: np.ndarray, labels: np.ndarray, *, rate: float, seed: int, num_classes: int):
    """AdamW without decay, written out (Kingma & Ba 2015), from the same initial weights, in the same order.

    Yields, after each epoch, a function that classifies.
    """

    def standardised(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((rows - vectors.mean(axis=0)) / vectors.std(axis=0))

    @torch.no_grad()
    def classify(rows: np.ndarray) -> np.ndarray:
        return np.array([int(slow_forward(model, vector).argmax()) for vector in standardised(rows)])

    inputs = standardised(vectors)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Perceptron(vectors.shape[1], num_classes, hidden_dim=SMALL.hidden_dim, output_dim=SMALL.output_dim)
    order = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    step = 0
    while True:
        permutation = torch.randperm(len(inputs), generator=order)
        size = len(inputs) // 8
        for start in range(0, len(inputs), size):
            rows = permutation[start : start + size]
            logits = torch.stack([slow_forward(model, inputs[row]) for row in rows])
            loss = -sum(torch.log_softmax(row, 0)[labels[i]] for row, i in zip(logits, rows, strict=True)) / len(rows)
            gradients = torch.autograd.grad(loss, parameters)
            step += 1
            with torch.no_grad():
                for parameter, gradient, (first, second) in zip(parameters, gradients, moments, strict=True):
                    first.mul_(0.9).add_(0.1 * gradient)
                    second.mul_(0.999).add_(0.001 * gradient**2)
                    scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
                    parameter -= rate * first / (1 - 0.9**step) / scale
        yield classify


def test_choice_and_predictions_equal_a_slow_training(make_videos) -> None:
    train, test = make_videos(80, seed=0, spread=2.0), make_videos(40, seed=1, spread=2.0)
    ours = probe(train.vectors, train.labels, train.groups, test.vectors, num_classes=3, seed=5, config=SMALL)

    division = hold_out_groups(train.labels, train.groups, seed=5)
    best = (-1.0, 0, 0.0)
    for rate in SMALL.learning_rates:
        training = slow_training(
            train.vectors[division.fit], train.labels[division.fit], rate=rate, seed=5, num_classes=3
        )
        for epochs in range(1, SMALL.max_epochs + 1):
            top1 = float((next(training)(train.vectors[division.held]) == train.labels[division.held]).mean())
            if top1 > best[0]:
                best = (top1, epochs, rate)
    _, epochs, rate = best
    training = slow_training(train.vectors, train.labels, rate=rate, seed=5, num_classes=3)
    *_, classify = islice(training, epochs)
    assert ours.hyperparameters == {"learning_rate": rate, "weight_decay": 0.0, "epochs": epochs}
    assert (ours.classes == classify(test.vectors)).mean() > 0.97


def test_learns_what_no_linear_probe_can() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 4)).astype(np.float32)
    labels = (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int32)
    config = NonlinearConfig(learning_rates=(1e-2,), max_epochs=12, hidden_dim=64, output_dim=16)
    prediction = probe(vectors[:300], labels[:300], np.arange(300), vectors[300:], num_classes=2, seed=0, config=config)
    assert (prediction.classes == labels[300:]).mean() > 0.85


def test_seed_decides_and_global_generators_stay(make_videos) -> None:
    train = make_videos(60, seed=0, spread=6.0)

    def classes(seed: int) -> np.ndarray:
        return probe(
            train.vectors, train.labels, train.groups, train.vectors, num_classes=3, seed=seed, config=SMALL
        ).classes

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = classes(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(classes(0), first)
    assert (classes(1) != first).any()


def test_predicts_in_batches(make_videos, monkeypatch: pytest.MonkeyPatch) -> None:
    train = make_videos(40, seed=0)

    def classes() -> np.ndarray:
        return probe(
            train.vectors, train.labels, train.groups, train.vectors, num_classes=3, seed=0, config=SMALL
        ).classes

    whole = classes()
    monkeypatch.setattr(nonlinear, "_PREDICTION_BATCH", 7)
    np.testing.assert_array_equal(classes(), whole)


def test_too_few_groups_fall_back(make_videos) -> None:
    train = make_videos(24, seed=0)
    prediction = probe(train.vectors, train.labels, train.groups, train.vectors, num_classes=3, seed=0, config=SMALL)
    assert prediction.hyperparameters == {"learning_rate": 1e-2, "weight_decay": 0.0, "epochs": 4}
    assert prediction.note == "no hold-out: 6 training groups, fewer than 10"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": ()}, "learning_rates and weight_decays need at least one candidate each"),
        ({"weight_decays": ()}, "learning_rates and weight_decays need at least one candidate each"),
        ({"learning_rates": (0.0,)}, r"learning rates must be positive .* got \(0.0,\) and \(0.0,\)"),
        ({"weight_decays": (-1.0,)}, r"weight decays not negative, got .* and \(-1.0,\)"),
        ({"max_epochs": 0}, "max_epochs must be at least 1, got 0"),
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, got 0"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
        ({"output_dim": -2}, "output_dim must be at least 1, got -2"),
    ],
)
def test_bad_configuration(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NonlinearConfig(**changes)
