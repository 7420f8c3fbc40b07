"""Halves of a video's clips, and whether they find each other."""

import numpy as np
import pytest

from scale_video.evaluate.same_video import disjoint_halves, same_video_recall
from scale_video.store.clip_features import ClipFeatures


def test_halves_are_disjoint_and_equally_large() -> None:
    valid = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1]], dtype=np.bool_)
    names = np.arange(18).reshape(3, 6)
    features = ClipFeatures(
        video_ids=("a", "b", "c"),
        features=names[:, :, None].astype(np.float16),
        coordinates=np.repeat(names[:, :, None], 7, axis=2).astype(np.float32),
        valid=valid,
    )
    first, second = disjoint_halves(features)
    found = [
        [set(half.features[video, half.valid[video], 0].tolist()) for half in (first, second)] for video in range(3)
    ]
    assert found == [[{0, 2, 4}, {1, 3, 5}], [{6}, {8}], [{13}, {17}]]  # of three clips the last is left out
    np.testing.assert_array_equal(first.coordinates[:, :, 0][first.valid], first.features[:, :, 0][first.valid])


def test_one_clip_makes_no_two_halves() -> None:
    valid = np.array([[True, True], [True, False]])
    features = ClipFeatures(("a", "b"), np.zeros((2, 2, 1), np.float16), np.zeros((2, 2, 7), np.float32), valid)
    with pytest.raises(ValueError, match="1 videos have fewer than two clips"):
        disjoint_halves(features)


@pytest.mark.parametrize("depth", [1, 5])
def test_recall_equals_a_slow_search(depth: int) -> None:
    rng = np.random.default_rng(0)
    video = rng.normal(size=(40, 6))
    first, second = ((video + rng.normal(size=video.shape)).astype(np.float32) for _ in range(2))
    mean = first.mean(axis=0)

    def unit(vector: np.ndarray) -> np.ndarray:
        return (vector - mean) / np.linalg.norm(vector - mean)

    expected = []
    for one in range(40):
        hits = 0
        for queries, gallery in ((first, second), (second, first)):
            similarity = [unit(queries[one]) @ unit(gallery[other]) for other in range(40)]
            hits += one in sorted(range(40), key=lambda other: -similarity[other])[:depth]
        expected.append(hits / 2)
    found = same_video_recall(first, second, mean=mean, depth=depth)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.mean() < 1


def test_equal_sets_find_each_other() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    assert same_video_recall(vectors, vectors, mean=vectors.mean(axis=0)).tolist() == [1.0] * 9


def test_bad_arguments() -> None:
    vectors = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"a depth in \[1, 3\], got vectors of shapes \(3, 2\) and \(2, 2\)"):
        same_video_recall(vectors, vectors[:2], mean=vectors[0])
    with pytest.raises(ValueError, match="depth 4"):
        same_video_recall(vectors, vectors, mean=vectors[0], depth=4)
