"""Make ``v1/golden.zarr``, a store of format version 1 that every later release must read.

Run once, by the release that introduced the version; the store is then never made again. A test compares its chunks
with what ``make_store`` writes today, so a change of bytes within version 1 cannot pass unseen.
"""

from pathlib import Path

import numpy as np

from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, add_view, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

NUM_VIDEOS, NUM_CLIPS, FEATURE_DIM, BLOCK_SIZE = 5, 2, 3, 2


def make_store(url: str | Path) -> None:
    """Write the store; every number in it follows from its place alone."""
    ids = tuple(f"class/vidéo {row}.mp4" for row in range(NUM_VIDEOS))
    videos = VideoTable(
        ids=ids,
        paths=ids,
        groups=("a", "a", "b", "c", "d"),
        labels={"label": np.array([0, 1, 0, 1, -1], np.int32), "label_scene": np.array([0, 0, 0, 0, 0], np.int32)},
        class_names={"label": ("jump", "run"), "label_scene": ("indoors",)},
        splits={"1": np.array([1, 1, 2, 3, 0], np.uint8)},
    )
    good = VideoProbe(VideoStatus.OK, "", 6.5, 25.0, 162, 240, 320, 90, True, 2**64 - 1)
    probes = [good] * (NUM_VIDEOS - 1) + [VideoProbe(VideoStatus.CORRUPT, "holds no stream that can be shown")]
    create_store(
        url,
        videos=videos,
        probes=probes,
        plans=[_plan("random", seed=0)],
        block_size=BLOCK_SIZE,
        attributes={"seed": 0},
    )
    add_view(url, _plan("grid", seed=None))
    add_backbone(
        url,
        view="random",
        name="motion3d",
        feature_dim=FEATURE_DIM,
        weights_digest="0123456789abcdef",
        attributes={"layer": "pool", "batch_size": 4},
    )
    writer = BlockWriter(url, view="random", backbone="motion3d")
    for index in (2, 0, 1):
        writer.write(_block(index))


def _plan(view: str, *, seed: int | None) -> ClipPlan:
    shape = (NUM_VIDEOS, NUM_CLIPS, 7)
    coordinates = (np.arange(np.prod(shape), dtype=np.float32) / 128).reshape(shape)
    valid = np.array([[True, True], [True, False], [True, True], [True, True], [False, False]])
    coordinates[~valid] = np.nan
    parameters = {"kind": view, "seed": seed, "span_seconds": 64 / 30, "size": 224.0, "tiny": 1e-5, "ü": ["\n", True]}
    return ClipPlan(view, parameters, coordinates, valid, planned=valid.any(axis=1))


def _block(index: int) -> FeatureBlock:
    rows = np.arange(index * BLOCK_SIZE, min((index + 1) * BLOCK_SIZE, NUM_VIDEOS))
    features = (rows[:, None, None] + np.arange(NUM_CLIPS * FEATURE_DIM).reshape(NUM_CLIPS, FEATURE_DIM) / 8).astype(
        "<f2"
    )
    valid = _plan("random", seed=0).valid[rows]
    valid[rows == 3, 1] = False
    features[~valid] = np.nan
    status = np.select([rows == 2, rows == 3, rows == 4], [2, 3, 5], 1).astype(np.uint8)
    errors = {3: "1 of 2 clips cannot be decoded: Störung", 4: "holds no stream that can be shown"}
    return FeatureBlock(index, features, valid, status, tuple(errors.get(int(row), "") for row in rows))


if __name__ == "__main__":
    make_store(Path(__file__).parent / "v1/golden.zarr")
