"""Ridge regression on video vectors: the linear probe of a target that is a number.

Features are standardised by the training statistics, as in ``linear.py``, and the strength of the penalty is chosen on
a hold-out. scikit-learn fits it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.prediction import Outputs

PENALTIES = tuple(10.0**exponent for exponent in range(6, -2, -1))
"""Candidates for alpha, the weight of the squared norm beside the sum of squared errors; strongest first."""

DEFAULT_PENALTY = 1.0
"""Alpha when there is no hold-out to choose it on."""


def ridge_probe(
    train: NDArray[np.float32],
    train_targets: NDArray[np.floating[Any]],
    test: NDArray[np.float32],
    *,
    hold_out: HoldOut,
) -> Outputs:
    """Choose alpha on a hold-out, fit on all training videos, and predict the test videos. Nothing is random.

    The alpha with the smallest held-out squared error wins, of equal ones the largest.

    Args:
        train: Vectors of N training videos, shape (N, D), finite.
        train_targets: Numbers, finite, shape (N,).
        test: Vectors of the test videos, shape (N_test, D), finite.
        hold_out: Which of the training videos alpha is chosen on.

    Returns:
        Numbers, shape (N_test, 1); the hyper-parameter ``alpha``; a note where there was no hold-out.
    """
    targets = train_targets.astype(np.float64)
    chosen, least = DEFAULT_PENALTY, np.inf
    if hold_out.held.size:
        for candidate in PENALTIES:
            model = _fit(train[hold_out.fit], targets[hold_out.fit], candidate)
            error = float(((model.predict(train[hold_out.held]) - targets[hold_out.held]) ** 2).mean())
            if error < least:
                chosen, least = candidate, error
    model = _fit(train[: hold_out.num_refit], targets[: hold_out.num_refit], chosen)
    return Outputs(model.predict(test)[:, None], {"alpha": chosen}, hold_out.note)


def _fit(vectors: NDArray[np.float32], targets: NDArray[np.float64], penalty: float) -> Any:
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(vectors.astype(np.float64), targets)
