"""Votes of single clips against a loop over clips."""

import numpy as np

from scale_video.evaluate.clip_knn import clip_knn_scores


def test_scores_equal_a_loop_over_clips() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=30)
    clips = (np.eye(3)[labels][:, None] + rng.normal(size=(30, 5, 3))).astype(np.float16)
    valid = rng.random((30, 5)) < 0.7
    valid[:, 0] = True
    train, test = slice(0, 20), slice(20, 30)
    found = clip_knn_scores(
        clips[train], valid[train], labels[train], clips[test], valid[test], labels[test], num_classes=3, k=7
    )

    gallery = [(clips[v, c].astype(np.float64), labels[v]) for v in range(20) for c in range(5) if valid[v, c]]
    mean = np.mean([vector for vector, _ in gallery], axis=0)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        one, other = one - mean, other - mean
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    expected = []
    for video in range(20, 30):
        right = []
        for clip in range(5):
            if not valid[video, clip]:
                continue
            similar = sorted(((cosine(clips[video, clip].astype(float), v), y) for v, y in gallery), reverse=True)[:7]
            votes = [sum(np.exp(s / 0.07) for s, y in similar if y == c) for c in range(3)]
            right.append(np.argmax(votes) == labels[video])
        expected.append(np.mean(right))
    np.testing.assert_allclose(found, expected)
    assert 0 < found.mean() < 1
