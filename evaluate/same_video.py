"""Do two disjoint sets of a video's clips get vectors that find each other? Invariance to which clips were drawn.

SCALE (ICCV 2023) trains its global token to tell a video by any set of its clips; this measures whether it does, on
videos that it never saw: each video's first set searches the second sets of all videos, and the other way round.
"""

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.neighbours import directions, nearest_rows
from scale_video.store.clip_features import ClipFeatures


def disjoint_halves(features: ClipFeatures) -> tuple[ClipFeatures, ClipFeatures]:
    """Every other valid clip of each video, and those between; of an odd number the last one is left out.

    Random clips lie in the order in which they were drawn, so the halves are two random sets.

    Raises:
        ValueError: a video has fewer than two valid clips.
    """
    num_valid = features.valid.sum(axis=1)
    if (num_valid < 2).any():
        raise ValueError(f"{int((num_valid < 2).sum())} videos have fewer than two clips; leave them out")
    order = np.argsort(~features.valid, axis=1, kind="stable")  # valid clips first
    place = np.arange(order.shape[1])
    used = place < (num_valid // 2 * 2)[:, None]
    first, second = (_clips(features, order[:, half::2], used[:, half::2]) for half in (0, 1))
    return first, second


def same_video_recall(
    first: NDArray[np.float32], second: NDArray[np.float32], *, mean: NDArray[np.float32], depth: int = 1
) -> NDArray[np.float64]:
    """How often a video's other set is among the ``depth`` most similar ones.

    Args:
        first: Vectors of one set of each of N videos, shape (N, D).
        second: Of the other set, in the same order.
        mean: What both are centred by, as in k-NN the mean of training videos, shape (D,).
        depth: Sets to look at, in [1, N].

    Returns:
        For each video the mean of both directions: 0, .5 or 1, shape (N,).

    Raises:
        ValueError: shapes that disagree, or a depth out of its range.
    """
    if first.shape != second.shape or not 1 <= depth <= len(first):
        raise ValueError(
            f"recall needs two sets of each video and a depth in [1, {len(first)}], got vectors of shapes "
            f"{first.shape} and {second.shape} and depth {depth}"
        )
    one, other = (directions(vectors, mean, device="cpu") for vectors in (first, second))
    own = np.arange(len(first))[:, None]
    found = [  # (2, N)
        (nearest_rows(gallery, queries, depth)[1].numpy() == own).any(axis=1)
        for queries, gallery in ((one, other), (other, one))
    ]
    recall: NDArray[np.float64] = np.mean(found, axis=0, dtype=np.float64)
    return recall


def _clips(features: ClipFeatures, clips: NDArray[np.int64], used: NDArray[np.bool_]) -> ClipFeatures:
    return ClipFeatures(
        video_ids=features.video_ids,
        features=np.take_along_axis(features.features, clips[:, :, None], axis=1),
        coordinates=np.take_along_axis(features.coordinates, clips[:, :, None], axis=1),
        valid=used,
    )
