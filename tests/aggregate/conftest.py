"""Small features for the tests of pre-training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformerConfig
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

MakeFeatures = Callable[..., ClipFeatures]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def write_store() -> Callable[..., FeatureStore]:
    """Features as a store of one view, ``random``, or of several, under the backbone ``tiny``."""

    def write(url: str | Path, *views: ClipFeatures, block_size: int, dataset: str = "demo") -> FeatureStore:
        ids, num_videos = views[0].video_ids, views[0].num_videos
        videos = VideoTable(ids=ids, paths=ids, groups=ids, labels={}, class_names={}, splits={})
        probe = VideoProbe(VideoStatus.OK, duration_seconds=5, frames_per_second=10, num_frames=50, height=4, width=4)
        named = dict(zip(("random", "augmented"), views, strict=False))
        plans = [
            ClipPlan(
                view=name,
                parameters={"seed": 0},
                coordinates=view.coordinates,
                valid=np.ones_like(view.valid),
                planned=np.ones(num_videos, np.bool_),
            )
            for name, view in named.items()
        ]
        create_store(
            url, videos=videos, probes=[probe] * num_videos, plans=plans, attributes={"dataset": dataset},
            block_size=block_size,
        )  # fmt: skip
        for name, view in named.items():
            add_backbone(url, view=name, name="tiny", feature_dim=view.feature_dim, weights_digest="w0", attributes={})
            writer = BlockWriter(url, view=name, backbone="tiny")
            features = np.where(view.valid[..., None], view.features, np.float16(np.nan))
            there = view.valid.any(axis=1)
            missing = np.where(there, VideoStatus.PARTIAL, VideoStatus.CORRUPT)
            status = np.where(view.valid.all(axis=1), VideoStatus.OK, missing).astype(np.uint8)
            error = tuple("" if ok else "no frames" for ok in view.valid.all(axis=1))
            for index in range(-(-num_videos // block_size)):
                rows = slice(index * block_size, (index + 1) * block_size)
                writer.write(FeatureBlock(index, features[rows], view.valid[rows], status[rows], error[rows]))
        return FeatureStore.open(url)

    return write


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
