"""What every probe gives back."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """A probe's classes for the test videos, and how it came by them."""

    classes: NDArray[np.int64]
    """Predicted class of each test row, shape (N_test,)."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given."""
    note: str = ""
    """What a reader of the result must know, in one line; empty when all went as documented."""
