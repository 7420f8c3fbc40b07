import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from scale_video.evaluate import logistic
from scale_video.evaluate.logistic import fit_logistic


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("inverse_penalty", [1e-3, 1.0])
def test_the_optimum_is_scikit_learns(make_videos, num_classes: int, inverse_penalty: float) -> None:
    train = make_videos(280, seed=0, num_classes=num_classes, spread=2.0)
    vectors, labels = train.vectors.astype(np.float64), train.labels * 3
    options = {"inverse_penalty": inverse_penalty, "max_iterations": 1000}
    ours = fit_logistic(vectors, labels, tolerance=1e-7, **options)
    theirs = LogisticRegression(C=inverse_penalty, max_iter=1000, tol=1e-7).fit(vectors, labels)
    assert ours.converged
    assert ours.classes.tolist() == theirs.classes_.tolist()
    weights, expected = ours.weights, theirs.coef_
    if num_classes == 2:
        weights = weights[1:] - weights[:1]
    np.testing.assert_allclose(weights, expected, atol=1e-4 * abs(expected).max())

    single = fit_logistic(train.vectors, labels, **options)  # in single precision, at the tolerance in use
    assert single.converged
    np.testing.assert_allclose(single.weights, ours.weights, atol=5e-3)
    assert (
        single.decision_function(train.vectors).argmax(axis=1) == ours.decision_function(vectors).argmax(axis=1)
    ).all()


def test_blocks_change_nothing(make_videos, monkeypatch: pytest.MonkeyPatch) -> None:
    train = make_videos(100, seed=1, spread=2.0)
    whole = fit_logistic(train.vectors, train.labels, inverse_penalty=1.0, max_iterations=100, tolerance=1e-5)
    monkeypatch.setattr(logistic, "_BLOCK_VALUES", 3 * 7)  # seven videos at a time
    parts = fit_logistic(train.vectors, train.labels, inverse_penalty=1.0, max_iterations=100, tolerance=1e-5)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-3)


def test_every_iteration_is_told_and_the_objective_falls(make_videos) -> None:
    train = make_videos(100, seed=1, spread=2.0)
    told: list[tuple[int, float]] = []
    model = fit_logistic(
        train.vectors, train.labels, inverse_penalty=1.0, max_iterations=5, progress=lambda *now: told.append(now)
    )
    assert [number for number, _ in told] == [1, 2, 3, 4, 5]
    assert all(later < earlier for (_, earlier), (_, later) in itertools.pairwise(told))
    assert (model.num_iterations, model.converged) == (5, False)
    assert told[0][1] < np.log(3)  # of no knowledge
