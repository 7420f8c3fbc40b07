"""Small stores for the tests: seven videos in three blocks, two views, one backbone."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

NUM_VIDEOS, NUM_CLIPS, FEATURE_DIM, BLOCK_SIZE = 7, 3, 4, 3
"""Three blocks, the last one of a single video."""


def make_videos() -> VideoTable:
    ids = tuple(f"klasse ß/{index} 视频.mp4" for index in range(NUM_VIDEOS))
    return VideoTable(
        ids=ids,
        paths=ids,
        groups=tuple(f"g{index // 2}" for index in range(NUM_VIDEOS)),
        labels={"label": np.array([0, 1, 0, 1, -1, 0, 1], dtype=np.int32)},
        class_names={"label": ("jump", "Läufe")},
        splits={"1": np.array([1, 1, 1, 3, 3, 3, 0], dtype=np.uint8)},
    )


def make_rich_videos() -> VideoTable:
    """The same with all that a table may have: label sets, targets, and parts of two files."""
    videos = make_videos()
    paths = tuple(f"klasse ß/{index // 4} 视频.mp4" for index in range(NUM_VIDEOS))
    bounds = ("", "#-2", "#2-3.5", "#3.5-", "", "#0.125-0.25", "#1-60")
    return replace(
        videos,
        ids=tuple(path + part for path, part in zip(paths, bounds, strict=True)),
        paths=paths,
        class_names={**videos.class_names, "labels": ("Hund", "Katze"), "labels_tag": ("day", "rain", "fog")},
        label_sets={
            "labels": np.array([[1, 0], [0, 0], [-1, -1], [1, 1], [0, 1], [-1, 1], [0, 0]], dtype=np.int8),
            "labels_tag": np.tile(np.array([0, 1, -1], dtype=np.int8), (NUM_VIDEOS, 1)),
        },
        targets={
            "target": np.array([1.5, np.nan, -2, 0, 1e30, 3, 4], dtype=np.float32),
            "target_views": np.arange(NUM_VIDEOS, dtype=np.float32) / 3,
        },
        start_seconds=np.array([np.nan, np.nan, 2, 3.5, np.nan, 0.125, 1]),
        end_seconds=np.array([np.nan, 2, 3.5, np.nan, np.nan, 0.25, 60]),
    )


def make_probes() -> list[VideoProbe]:
    good = [
        VideoProbe(
            status=VideoStatus.OK,
            duration_seconds=4.0 + index,
            frames_per_second=30000 / 1001,
            num_frames=120 + index,
            height=240,
            width=320,
            rotation_degrees=90,
            variable_frame_rate=index == 2,
            content_digest=2**63 + index,
        )
        for index in range(NUM_VIDEOS - 1)
    ]
    return [*good, VideoProbe(status=VideoStatus.CORRUPT, error="holds no stream that can be shown")]


def make_plan(view: str = "random", *, seed: int = 0) -> ClipPlan:
    """Row 1 has fewer clips than the others, and the last row, which is corrupt, none."""
    valid = np.ones((NUM_VIDEOS, NUM_CLIPS), dtype=np.bool_)
    valid[1, 2] = False
    valid[-1] = False
    coordinates = np.random.default_rng(seed).random((NUM_VIDEOS, NUM_CLIPS, 7), dtype=np.float32)
    coordinates[~valid] = np.nan
    return ClipPlan(
        view=view,
        parameters={"seed": seed, "span_seconds": 64 / 30, "nominal_size": 224, "crop": {"kind": "short_side"}},
        coordinates=coordinates,
        valid=valid,
        planned=np.arange(NUM_VIDEOS) < NUM_VIDEOS - 1,
    )


def make_block(index: int, *, seed: int = 0) -> FeatureBlock:
    """A block in which row 4 has lost its second clip."""
    rows = np.arange(index * BLOCK_SIZE, min((index + 1) * BLOCK_SIZE, NUM_VIDEOS))
    valid = make_plan().valid[rows]
    valid[rows == 4, 1] = False
    features = np.random.default_rng((seed, index)).standard_normal((len(rows), NUM_CLIPS, FEATURE_DIM))
    features[~valid] = np.nan
    status = np.full(len(rows), VideoStatus.OK, dtype=np.uint8)
    status[rows == 4] = VideoStatus.PARTIAL
    status[rows == 6] = VideoStatus.CORRUPT
    errors = {4: "1 of 3 clips cannot be decoded: ünerwartet", 6: "holds no stream that can be shown"}
    return FeatureBlock(
        index=index,
        features=features.astype(np.float16),
        valid=valid,
        status=status,
        error=tuple(errors.get(int(row), "") for row in rows),
    )


def make_empty_store(url: str | Path, *, videos: VideoTable | None = None) -> None:
    """A store with two views and a backbone, and no block."""
    create_store(
        url,
        videos=make_videos() if videos is None else videos,
        probes=make_probes(),
        plans=[make_plan(), make_plan("grid", seed=1)],
        block_size=BLOCK_SIZE,
        attributes={"dataset": "demo", "seed": 0},
    )
    add_backbone(
        url,
        view="random",
        name="motion3d",
        feature_dim=FEATURE_DIM,
        weights_digest="ab12",
        attributes={"layer": "mean", "preprocessing": {"mean": (0.45, 0.45, 0.45)}},
    )


def make_full_store(url: str | Path, *, videos: VideoTable | None = None) -> None:
    make_empty_store(url, videos=videos)
    writer = BlockWriter(url, view="random", backbone="motion3d")
    for index in range(3):
        writer.write(make_block(index))


def files_of(root: Path) -> dict[str, bytes]:
    """Every file beneath a folder, by its relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def flip_byte(path: Path, *, place: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
