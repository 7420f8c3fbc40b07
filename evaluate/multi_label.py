"""One logistic regression per class on video vectors: the linear probe of videos that have any number of classes.

Each class against the rest, by scikit-learn, on features standardised by the training statistics as in ``linear.py``.
All classes share the strength of the penalty, which is chosen on a hold-out by the mean of their average precisions.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.linear import DEFAULT_INVERSE_PENALTY, INVERSE_PENALTIES, MAX_ITERATIONS
from scale_video.evaluate.news import News
from scale_video.evaluate.prediction import Outputs
from scale_video.evaluate.targets import ClassSet


def one_vs_rest_probe(
    train: NDArray[np.float32], train_targets: NDArray[np.integer[Any]], test: NDArray[np.float32], *, hold_out: HoldOut
) -> Outputs:
    """Choose C on a hold-out, fit on all training videos, and score the test videos. Nothing is random.

    The C with the highest held-out mean average precision wins, of equal ones the smallest.

    Args:
        train: Vectors of N training videos, shape (N, D), finite.
        train_targets: 1 for each class that a video has, else 0, shape (N, C).
        test: Vectors of the test videos, shape (N_test, D), finite.
        hold_out: Which of the training videos C is chosen on.

    Returns:
        Log-odds of each class, shape (N_test, C), or where nothing can be fitted one finite number for all videos:
        below every log-odds for a class that no training video has, above every one for a class that all have. The
        hyper-parameter ``C``; a note where there was no hold-out or a fit did not converge.
    """
    task = ClassSet(train_targets.shape[1])
    notes = [hold_out.note] if hold_out.note else []
    chosen, best = DEFAULT_INVERSE_PENALTY, -1.0
    if hold_out.held.size:
        for candidate in INVERSE_PENALTIES:
            scores, num_unfinished = _fit_and_score(
                train[hold_out.fit], train_targets[hold_out.fit], train[hold_out.held], candidate
            )
            precision = task.score(scores, train_targets[hold_out.held])
            if precision > best:
                chosen, best = candidate, precision
            if num_unfinished:
                notes.append(f"C={candidate:g} did not converge on the hold-out for {num_unfinished} classes")
    scores, num_unfinished = _fit_and_score(
        train[: hold_out.num_refit], train_targets[: hold_out.num_refit], test, chosen
    )
    if num_unfinished:
        notes.append(f"C={chosen:g} did not converge in {MAX_ITERATIONS} iterations for {num_unfinished} classes")
    return Outputs(scores, {"C": chosen}, "; ".join(notes))


def _fit_and_score(
    vectors: NDArray[np.float32],
    targets: NDArray[np.integer[Any]],
    others: NDArray[np.float32],
    inverse_penalty: float,
) -> tuple[NDArray[np.float64], int]:
    """Fit every class and score other videos; also tell how many fits did not converge, instead of warning."""
    scaler = StandardScaler().fit(vectors)
    scaled, scaled_others = scaler.transform(vectors), scaler.transform(others)
    scores = np.zeros((len(others), targets.shape[1]))
    occurs, is_missed = (targets == 1).any(axis=0), (targets == 0).any(axis=0)
    num_unfinished = 0
    news = News(f"linear probe, C={inverse_penalty:g}")
    for column in np.flatnonzero(occurs & is_missed):
        model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, targets[:, column])
        num_unfinished += int(model.n_iter_.max() >= MAX_ITERATIONS)
        scores[:, column] = model.decision_function(scaled_others)
        news(f"class {column + 1} of {targets.shape[1]}")
    least, most = scores.min(initial=0), scores.max(initial=0)
    scores[:, ~occurs], scores[:, ~is_missed] = least - 1, most + 1  # at 0 a class nobody has would outrank rare ones
    return scores, num_unfinished
