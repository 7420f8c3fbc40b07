"""k-NN of single clips: how much one clip's vector tells of its video's class.

The clips of all training videos vote, each with its video's class. It is how SCALE's claim that refinement makes clips
more discriminative is looked at: raw clip features against refined ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.options import DEFAULT_K, DEFAULT_TEMPERATURE


def clip_knn_scores(
    train: NDArray[np.floating[Any]],
    train_valid: NDArray[np.bool_],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.floating[Any]],
    test_valid: NDArray[np.bool_],
    test_labels: NDArray[np.integer[Any]],
    *,
    num_classes: int,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Classify every clip by its k nearest training clips.

    Args:
        train: Vectors of the clips of N training videos, shape (N, K, D).
        train_valid: Which of them are there, shape (N, K).
        train_labels: Classes of the videos, shape (N,).
        test: Vectors of the clips of the test videos, shape (M, K', D).
        test_valid: Shape (M, K'); at least one clip a video.
        test_labels: Shape (M,).
        num_classes: Classes of the data set.
        k: Clips that vote.
        temperature: Of the votes, see ``knn.py``.
        device: Torch device that computes.

    Returns:
        For each test video the share of its clips whose class is the predicted one, shape (M,).
    """
    video_of_train, video_of_test = (np.nonzero(valid)[0] for valid in (train_valid, test_valid))
    prediction = knn_predict(
        train[train_valid].astype(np.float32),
        train_labels[video_of_train],
        test[test_valid].astype(np.float32),
        num_classes=num_classes,
        k=k,
        temperature=temperature,
        device=device,
    )
    hits = prediction.classes == test_labels[video_of_test]
    shares: NDArray[np.float64] = np.bincount(video_of_test, weights=hits, minlength=len(test)) / test_valid.sum(axis=1)
    return shares
