"""A map of video vectors: t-SNE of what k-NN compares, the centred and L2-normalised vectors.

Source: van der Maaten and Hinton, JMLR 2008, as scikit-learn has it. Distances within a cluster and neighbourhoods mean
something on such a map; distances between clusters, their sizes and the axes do not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 3000
"""More are slow to lay out and too many to see."""
MIN_POINTS = 8
_PERPLEXITY = 30.0
_NUM_PRINCIPAL = 50


def sample_rows(num_rows: int, *, at_most: int = MAX_POINTS, seed: int = 0) -> NDArray[np.int64]:
    """Which rows are shown: all, or as many as allowed, drawn without replacement; rising."""
    if num_rows <= at_most:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, size=at_most, replace=False))


def embedding_map(vectors: NDArray[np.floating[Any]], *, seed: int = 0) -> NDArray[np.float64]:
    """Lay vectors out on a plane.

    Args:
        vectors: Shape (N, D), N >= ``MIN_POINTS``.
        seed: Of t-SNE; the layout starts from the first two principal components.

    Returns:
        Coordinates, shape (N, 2). The same vectors and seed give the same map on one machine.

    Raises:
        ValueError: too few vectors.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < MIN_POINTS:
        raise ValueError(f"a map needs at least {MIN_POINTS} videos, got {len(vectors)}")
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.where(lengths > 0, lengths, 1)
    num_principal = min(_NUM_PRINCIPAL, *directions.shape)
    reduced = PCA(num_principal, svd_solver="full").fit_transform(directions)
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    layout = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(reduced)
    return np.asarray(layout, dtype=np.float64)
