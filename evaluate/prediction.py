"""What every probe gives back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_RANKED = 5
"""Classes that a probe names for a video, best first: what top-5 looks at."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a probe that knows several kinds of targets gives for the test videos, and how it came by it."""

    values: NDArray[np.floating[Any]]
    """One score per class, shape (N_test, C), higher for what is likelier; of a number the number itself, (N_test,
    1)."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given."""
    note: str = ""
    """As in ``Prediction``."""

    def ranked(self) -> "Prediction":
        """The classes with the highest scores, best first."""
        return Prediction(rank_classes(self.values), self.hyperparameters, self.note)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A probe's classes for the test videos, one of which each video has, and how it came by them."""

    ranked: NDArray[np.int64]
    """Classes of each test row, best first, shape (N_test, R), 1 <= R <= ``NUM_RANKED``; -1 where the probe has no
    further class to name (k-NN: nobody voted for one), never in the first column."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given."""
    note: str = ""
    """What a reader of the result must know, in one line; empty when all went as documented."""

    @property
    def classes(self) -> NDArray[np.int64]:
        """Predicted class of each test row, shape (N_test,)."""
        first: NDArray[np.int64] = self.ranked[:, 0]
        return first

    def hits(self, labels: NDArray[np.integer[Any]], *, top: int) -> NDArray[np.bool_]:
        """Whether the label of each test row is among its first ``top`` classes; -1 never is."""
        found: NDArray[np.bool_] = ((self.ranked[:, :top] == labels[:, None]) & (labels[:, None] >= 0)).any(axis=1)
        return found


def rank_classes(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The ``NUM_RANKED`` classes with the highest scores, best first; of equal ones the lower class.

    Args:
        scores: Shape (N, C).

    Returns:
        Shape (N, min(NUM_RANKED, C)).
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :NUM_RANKED]
