"""Small features for the tests of pre-training."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformerConfig
from scale_video.store.clip_features import ClipFeatures

MakeFeatures = Callable[..., ClipFeatures]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_features() -> MakeFeatures:
    """Random features; the last videos have as many valid clips as `fewer` says."""

    def make(num_videos: int = 12, num_clips: int = 8, dim: int = 6, fewer: tuple[int, ...] = (), seed: int = 0):
        rng = np.random.default_rng(seed)
        shape = (num_videos, num_clips)
        valid = np.ones(shape, bool)
        for row, count in zip(range(num_videos - len(fewer), num_videos), fewer, strict=True):
            valid[row, rng.permutation(num_clips)[count:]] = False
        low = rng.uniform(0, 0.4, (*shape, 2))
        start = rng.uniform(0, 60, shape)
        coordinates = np.stack(
            [
                rng.integers(0, 2, shape),
                low[..., 0],
                low[..., 1],
                low[..., 0] + rng.uniform(0.2, 0.6, shape),
                low[..., 1] + rng.uniform(0.2, 0.6, shape),
                start,
                start + 2.1,
            ],
            axis=-1,
        ).astype(np.float32)
        features = rng.normal(size=(*shape, dim)).astype(np.float16)
        features[~valid] = 0
        coordinates[~valid] = 0
        return ClipFeatures(tuple(f"video{i}" for i in range(num_videos)), features, coordinates, valid)

    return make


@pytest.fixture
def tiny_config() -> PretrainConfig:
    return PretrainConfig(
        model=SetTransformerConfig(width=16, num_heads=2, position_hidden_dim=8),
        epochs=3,
        batch_size=4,
        clips_per_set=4,
        prediction_hidden_dim=8,
        target_hidden_dim=8,
        set_hidden_dim=8,
        projection_dim=4,
        learning_rate=1e-3,
    )
