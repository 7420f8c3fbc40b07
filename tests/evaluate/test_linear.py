import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate import linear, news
from scale_video.evaluate.holdout import hold_out_groups
from scale_video.evaluate.linear import DEFAULT_INVERSE_PENALTY, INVERSE_PENALTIES, linear_probe
from scale_video.evaluate.prediction import Prediction


def probe(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, test: np.ndarray, *, seed: int) -> Prediction:
    return linear_probe(vectors, labels, test, hold_out=hold_out_groups(labels, groups, seed=seed))


@pytest.mark.parametrize(("spread", "seed"), [(1.0, 0), (3.0, 1), (6.0, 2)])
def test_equals_scikit_learns_own_on_the_same_split(make_videos, spread: float, seed: int) -> None:
    train = make_videos(160, seed=seed, spread=spread)
    test = make_videos(60, seed=seed + 100, spread=spread)
    ours = probe(train.vectors, train.labels, train.groups, test.vectors, seed=seed)

    division = hold_out_groups(train.labels, train.groups, seed=seed)
    scores = []
    for candidate in INVERSE_PENALTIES:
        scaler = StandardScaler().fit(train.vectors[division.fit])
        model = LogisticRegression(C=candidate, max_iter=1000)
        model.fit(scaler.transform(train.vectors[division.fit]), train.labels[division.fit])
        scores.append(model.score(scaler.transform(train.vectors[division.held]), train.labels[division.held]))
    chosen = INVERSE_PENALTIES[int(np.argmax(scores))]
    scaler = StandardScaler().fit(train.vectors)
    model = LogisticRegression(C=chosen, max_iter=1000).fit(scaler.transform(train.vectors), train.labels)

    assert ours.hyperparameters == {"C": chosen}
    np.testing.assert_array_equal(ours.classes, model.predict(scaler.transform(test.vectors)))
    assert ours.note == ""


def test_the_fit_is_the_minimum_of_the_formula(make_videos) -> None:
    # The gradient of C * (sum of cross-entropies) + |w|^2 / 2 vanishes there, up to lbfgs's tolerance.
    train = make_videos(32, seed=0, spread=2.0)
    model, converged = linear._fit(train.vectors, train.labels, 1.0)
    vectors = (train.vectors - train.vectors.mean(axis=0)) / train.vectors.std(axis=0)
    weights, bias = model[-1].coef_, model[-1].intercept_
    logits = vectors @ weights.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = probabilities - np.eye(3)[train.labels]
    assert converged
    np.testing.assert_allclose(error.T @ vectors + weights, 0, atol=0.02)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=0.02)


def test_scale_of_a_feature_does_not_matter(make_videos) -> None:
    train, test = make_videos(160, seed=3, spread=3.0), make_videos(60, seed=4, spread=3.0)
    scales = np.float32(10.0) ** np.arange(-3, 5)
    plain = probe(train.vectors, train.labels, train.groups, test.vectors, seed=0)
    scaled = probe(train.vectors * scales, train.labels, train.groups, test.vectors * scales, seed=0)
    assert (plain.classes == scaled.classes).mean() > 0.97  # up to lbfgs's tolerance


def test_a_constant_feature_changes_nothing(make_videos) -> None:
    train, test = make_videos(60, seed=5), make_videos(20, seed=6)
    more_train, more_test = (np.pad(side.vectors, ((0, 0), (0, 1)), constant_values=7.0) for side in (train, test))
    np.testing.assert_array_equal(
        probe(train.vectors, train.labels, train.groups, test.vectors, seed=0).classes,
        probe(more_train, train.labels, train.groups, more_test, seed=0).classes,
    )


def test_too_few_groups_fall_back(make_videos) -> None:
    train = make_videos(24, seed=0)
    prediction = probe(train.vectors, train.labels, train.groups, train.vectors, seed=0)
    assert prediction.hyperparameters == {"C": DEFAULT_INVERSE_PENALTY}
    assert prediction.note == "no hold-out: 6 training groups, fewer than 10"


def test_labels_with_gaps_and_two_classes(make_videos) -> None:
    train = make_videos(80, seed=0, num_classes=2)
    prediction = probe(train.vectors, train.labels * 5 + 2, train.groups, train.vectors, seed=0)
    assert set(prediction.classes) == {2, 7}
    assert prediction.classes.dtype == np.int64


def test_no_convergence_is_noted_not_warned(make_videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MAX_ITERATIONS", 2)
    monkeypatch.setattr(linear, "INVERSE_PENALTIES", (1.0, 10.0))
    train = make_videos(80, seed=0, spread=3.0)
    prediction = probe(train.vectors, train.labels, train.groups, train.vectors, seed=0)
    assert "C=10 did not converge on the hold-out" in prediction.note
    assert "did not converge in 2 iterations" in prediction.note


def test_other_warnings_pass(make_videos, monkeypatch: pytest.MonkeyPatch) -> None:
    class Talkative(LogisticRegression):
        def fit(self, *args, **kwargs):
            warnings.warn("not converged", ConvergenceWarning, stacklevel=1)
            warnings.warn("mind the gap", UserWarning, stacklevel=1)
            return super().fit(*args, **kwargs)

    monkeypatch.setattr(linear, "LogisticRegression", Talkative)
    train = make_videos(24, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        with pytest.warns(UserWarning, match="mind the gap"):
            prediction = probe(train.vectors, train.labels, train.groups, train.vectors, seed=0)
    assert "did not converge" in prediction.note


def test_large_problems_are_fitted_alike_and_say_how_far_they_are(
    make_videos, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train, test = (make_videos(160, seed=seed, num_classes=7, spread=2.0) for seed in (0, 1))
    small = probe(*train, test.vectors, seed=0)
    monkeypatch.setattr(linear, "LARGE", 0)
    monkeypatch.setattr(news, "SECONDS_BETWEEN_NEWS", 0)
    with caplog.at_level("INFO", logger="scale_video"):
        large = probe(*train, test.vectors, seed=0)
    assert large.hyperparameters == small.hyperparameters
    assert (large.classes == small.classes).mean() > 0.97  # up to lbfgs's tolerance
    assert large.ranked.shape == small.ranked.shape == (160, 5)
    assert "linear probe, C=0.0001: iteration 1 of at most 1000, objective 1.9" in caplog.text
    monkeypatch.setattr(linear, "MAX_ITERATIONS", 2)
    assert "did not converge in 2 iterations" in probe(*train, test.vectors, seed=0).note


def test_one_label_a_class_raises_no_warning() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    classes = np.arange(6)
    predicted = probe(vectors, classes, classes, vectors, seed=0)
    np.testing.assert_array_equal(predicted.classes, classes)
