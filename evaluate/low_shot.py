"""Few labels: the part of the training videos whose labels a low-shot probe may see.

Stratified and seeded, as in the low-shot evaluations of self-supervised models (1 %, 10 %): every class keeps the same
share of its videos, at least one. A smaller share under the same seed is a part of the larger one, so that the two
differ in number and not in luck.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def draw_share(labels: NDArray[np.integer[Any]], share: float, *, seed: int) -> NDArray[np.int64]:
    """Draw a share of the videos of each class.

    Args:
        labels: Class of each labelled training row, shape (N,).
        share: In (0, 1]; of a class of n videos ``share * n`` are kept, rounded to the nearest (halves up), at least 1.
        seed: Seeds the draw.

    Returns:
        Rows, ascending.

    Raises:
        ValueError: ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of training labels must be in (0, 1], got {share}")
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    kept = []
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        kept.append(rows[: max(1, math.floor(share * len(rows) + 0.5))])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)
