"""Multinomial logistic regression on video vectors: a linear probe without randomness in its fit.

Ours, not the paper's (which trains one linear layer per clip by AdamW): the objective is convex, so a result depends on
the features alone and not on a learning rate. Features are standardised by the training statistics, because the parts
of ``x+cls`` differ in scale and the L2 penalty would otherwise weigh them by it; a constant feature stays 0.

scikit-learn fits it, or ``logistic.py`` where the problem is so large that one wants to see how far it is.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.logistic import LogisticModel, fit_logistic
from scale_video.evaluate.news import News
from scale_video.evaluate.prediction import Outputs, Prediction, rank_classes

INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-4, 3))
"""Candidates for C, scikit-learn's inverse strength of the L2 penalty, strongest penalty first."""

DEFAULT_INVERSE_PENALTY = 1.0
"""C when there is no hold-out to choose it on."""

LARGE = 2**30
"""Videos x dimensions x classes from which on ``logistic.py`` fits."""

MAX_ITERATIONS = 1000
"""Of lbfgs; ten times scikit-learn's default. A fit that needs more is reported in the note."""


def linear_probe(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    *,
    hold_out: HoldOut,
) -> Prediction:
    """Choose C on a hold-out, fit on all training videos, and classify the test videos. Nothing is random.

    The C with the highest held-out top-1 wins, of equal ones the smallest. Scaling is fitted anew for each fit, on the
    rows it fits.

    Args:
        train: Vectors of N training videos, shape (N, D), finite.
        train_labels: Their classes, at least two different ones, shape (N,).
        test: Vectors to classify, shape (N_test, D), finite.
        hold_out: Which of the training videos C is chosen on.

    Returns:
        Classes; the hyper-parameter ``C``; a note where there was no hold-out or lbfgs did not converge.
    """
    model, penalty, note = _chosen(train, train_labels, hold_out)
    ranked = model.classes_.astype(np.int64)[rank_classes(_class_scores(model, test))]
    return Prediction(ranked, {"C": penalty}, note)


def linear_probabilities(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    *,
    hold_out: HoldOut,
    num_classes: int,
) -> Outputs:
    """As ``linear_probe``, but each class's probability, (N_test, num_classes); 0 where it is not in training."""
    model, penalty, note = _chosen(train, train_labels, hold_out)
    probabilities = np.zeros((len(test), num_classes))
    probabilities[:, model.classes_.astype(np.int64)] = softmax(_class_scores(model, test).astype(np.float64), axis=1)
    return Outputs(probabilities, {"C": penalty}, note)


def _chosen(
    train: NDArray[np.float32], train_labels: NDArray[np.integer[Any]], hold_out: HoldOut
) -> tuple[Any, float, str]:
    """The model of the best C, that C, and the note."""
    notes = [hold_out.note] if hold_out.note else []
    chosen, best = DEFAULT_INVERSE_PENALTY, -1.0
    if hold_out.held.size:
        for candidate in INVERSE_PENALTIES:
            model, converged = _fit(train[hold_out.fit], train_labels[hold_out.fit], candidate)
            top1 = model.score(train[hold_out.held], train_labels[hold_out.held])
            if top1 > best:
                chosen, best = candidate, top1
            if not converged:
                notes.append(f"C={candidate:g} did not converge on the hold-out")
    model, converged = _fit(train[: hold_out.num_refit], train_labels[: hold_out.num_refit], chosen)
    if not converged:
        notes.append(f"C={chosen:g} did not converge in {MAX_ITERATIONS} iterations")
    return model, chosen, "; ".join(notes)


def _class_scores(model: Any, vectors: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """One logit per class, shape (N, C); of two classes scikit-learn gives the difference alone."""
    scores: NDArray[np.floating[Any]] = model.decision_function(vectors)
    return np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores


def _fit(vectors: NDArray[np.float32], labels: NDArray[np.integer[Any]], inverse_penalty: float) -> tuple[Any, bool]:
    """Fit scaling and regression; also tell whether lbfgs converged, instead of warning."""
    if vectors.size * len(np.unique(labels)) >= LARGE:
        return _fit_large(vectors, labels, inverse_penalty)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # With one or two labels a class, scikit-learn wonders whether class numbers are quantities.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        model.fit(vectors, labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:  # not ours to swallow
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return model, converged


class _ScaledModel:
    """What ``make_pipeline`` makes of scaling and regression, as far as it is used here."""

    def __init__(self, scaler: Any, model: LogisticModel) -> None:
        self._scaler = scaler
        self._model = model
        self.classes_ = model.classes

    def decision_function(self, vectors: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """One score per class, shape (N, C)."""
        return self._model.decision_function(self._scaler.transform(vectors))

    def score(self, vectors: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> float:
        """Share of the vectors whose class is predicted."""
        return float((self.classes_[self.decision_function(vectors).argmax(axis=1)] == labels).mean())


def _fit_large(
    vectors: NDArray[np.float32], labels: NDArray[np.integer[Any]], inverse_penalty: float
) -> tuple[_ScaledModel, bool]:
    scaler = StandardScaler()
    news = News(f"linear probe, C={inverse_penalty:g}")
    model = fit_logistic(
        scaler.fit_transform(vectors),
        labels,
        inverse_penalty=inverse_penalty,
        max_iterations=MAX_ITERATIONS,
        progress=lambda iteration, objective: news(
            f"iteration {iteration} of at most {MAX_ITERATIONS}, objective {objective:.5f}"
        ),
    )
    return _ScaledModel(scaler, model), model.converged
