from types import ModuleType

import numpy as np
import pytest

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.read import FeatureStore


def test_take(small: ModuleType, full_store: str) -> None:
    clips = FeatureStore.open(full_store).read_features("random", "motion3d")
    taken = clips.take(np.array([4, 0]))
    assert (taken.num_videos, taken.feature_dim) == (2, 4)
    assert taken.video_ids == (clips.video_ids[4], clips.video_ids[0])
    np.testing.assert_array_equal(taken.features, clips.features[[4, 0]])
    np.testing.assert_array_equal(taken.coordinates, clips.coordinates[[4, 0]])
    np.testing.assert_array_equal(taken.valid, clips.valid[[4, 0]])


def test_shapes_must_agree() -> None:
    features, valid = np.zeros((2, 3, 4), np.float16), np.zeros((2, 3), np.bool_)
    with pytest.raises(ValueError, match=r"1 ids, features \(2, 3, 4\), valid \(2, 3\)"):
        ClipFeatures(("a",), features, np.zeros((2, 3, 7), np.float32), valid)
    with pytest.raises(ValueError, match=r"coordinates must be \(2, 3, 7\), got \(2, 3, 6\)"):
        ClipFeatures(("a", "b"), features, np.zeros((2, 3, 6), np.float32), valid)
