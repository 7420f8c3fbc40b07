"""Multinomial logistic regression at any size: scikit-learn's objective and optimiser, with progress and in blocks.

scikit-learn hands its objective to SciPy's L-BFGS-B and says nothing until it is done, which on 240 000 videos of 400
classes takes long. Here the same objective goes to the same optimiser, computed by torch in blocks of bounded memory,
and every iteration is told. So the optimum is scikit-learn's, up to the rounding of the vectors' precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch.nn import functional as F

_BLOCK_VALUES = 2**24  # logits at a time: 64 MiB
_LINE_SEARCH_STEPS = 50  # as scikit-learn's

Progress = Callable[[int, float], None]
"""Called after each iteration with its number, from 1 on, and the objective."""


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A fitted linear classifier."""

    weights: NDArray[np.float64]
    """Shape (C, D)."""
    bias: NDArray[np.float64]
    """Shape (C,)."""
    classes: NDArray[np.int64]
    """The classes that occurred, rising, shape (C,)."""
    num_iterations: int
    converged: bool

    def decision_function(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """One score per class, shape (N, C)."""
        scores: NDArray[np.floating[Any]] = vectors @ self.weights.T.astype(vectors.dtype)
        return scores + self.bias.astype(vectors.dtype)


def fit_logistic(
    vectors: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    *,
    inverse_penalty: float,
    max_iterations: int,
    tolerance: float = 1e-4,
    progress: Progress | None = None,
) -> LogisticModel:
    """Minimise mean cross-entropy + |weights|² / (2 C N); the bias is not penalised.

    Of two classes scikit-learn keeps one weight vector, the difference of the two here. For its penalty to be the same,
    that of two opposite vectors of half the length is doubled.

    Args:
        vectors: Shape (N, D), float32 or float64, finite, best standardised; their precision is that of the products.
        labels: Classes, at least two different ones, shape (N,).
        inverse_penalty: C > 0.
        max_iterations: Of L-BFGS.
        tolerance: On the largest entry of the gradient, as scikit-learn's ``tol``.
        progress: Is told of every iteration.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    objective = _Objective(
        torch.from_numpy(vectors), torch.from_numpy(targets), num_classes=len(classes), inverse_penalty=inverse_penalty
    )
    num_done = 0

    def tell(intermediate_result: Any) -> None:  # SciPy passes the result only to a parameter of this name
        nonlocal num_done
        num_done += 1
        if progress is not None:
            progress(num_done, float(intermediate_result.fun))

    found = minimize(
        objective,
        np.zeros(len(classes) * (vectors.shape[1] + 1)),
        jac=True,
        method="L-BFGS-B",
        callback=tell,
        options={
            "maxiter": max_iterations,
            "maxfun": 10 * max_iterations,
            "maxls": _LINE_SEARCH_STEPS,
            "gtol": tolerance,
            "ftol": 64 * np.finfo(np.float64).eps,
        },
    )
    parameters = found.x.reshape(len(classes), -1)
    return LogisticModel(
        weights=parameters[:, :-1],
        bias=parameters[:, -1],
        classes=classes.astype(np.int64),
        num_iterations=int(found.nit),
        converged=bool(found.success),
    )


class _Objective:
    """Value and gradient at flat parameters: per class its weights, then its bias."""

    def __init__(
        self, vectors: torch.Tensor, targets: torch.Tensor, *, num_classes: int, inverse_penalty: float
    ) -> None:
        self._vectors = vectors
        self._targets = targets
        self._num_classes = num_classes
        self._penalty = (2 if num_classes == 2 else 1) / (inverse_penalty * len(vectors))

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(self._num_classes, -1)
        weights, bias = (
            torch.from_numpy(part).to(self._vectors.dtype) for part in (parameters[:, :-1], parameters[:, -1])
        )
        num_videos = len(self._vectors)
        loss = 0.0
        gradient = np.zeros_like(parameters)
        block = max(1, _BLOCK_VALUES // self._num_classes)
        for rows, targets in zip(torch.split(self._vectors, block), torch.split(self._targets, block), strict=True):
            log_probabilities = F.log_softmax(torch.addmm(bias, rows, weights.T), dim=1)  # (n, C)
            loss -= float(log_probabilities.gather(1, targets[:, None]).sum(dtype=torch.float64))
            error = log_probabilities.exp_()
            error[torch.arange(len(rows)), targets] -= 1
            gradient[:, :-1] += (error.T @ rows).numpy()
            gradient[:, -1] += error.sum(dim=0, dtype=torch.float64).numpy()
        gradient /= num_videos
        gradient[:, :-1] += self._penalty * parameters[:, :-1]
        value = loss / num_videos + self._penalty / 2 * float((parameters[:, :-1] ** 2).sum())
        return value, gradient.ravel()
