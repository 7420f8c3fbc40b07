import shutil
from pathlib import Path
from types import ModuleType

import fsspec
import numpy as np
import pytest

from scale_video.store.block_stream import BlockStream
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.errors import DamagedBlockError, IncompleteStoreError, PlanMismatchError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, open_stores
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW = ("random", "motion3d")


def write_store(
    url: str | Path, *, prefix: str, num_videos: int, num_clips: int, block_size: int, seed: int, scale: float = 1
) -> str:
    """Random features; every third video lacks clips, and the last one has none."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"{prefix}/{index:03d}.mp4" for index in range(num_videos))
    videos = VideoTable(ids=ids, paths=ids, groups=ids, labels={}, class_names={}, splits={})
    valid = np.ones((num_videos, num_clips), dtype=np.bool_)
    valid[::3, -2:] = False
    valid[-1] = False
    coordinates = rng.random((num_videos, num_clips, 7), dtype=np.float32)
    coordinates[~valid] = np.nan
    plan = ClipPlan(
        view=VIEW[0],
        parameters={"seed": 0, "scale": scale},
        coordinates=coordinates,
        valid=valid,
        planned=valid.any(axis=1),
    )
    probe = VideoProbe(VideoStatus.OK, duration_seconds=5, frames_per_second=10, num_frames=50, height=4, width=4)
    create_store(
        url, videos=videos, probes=[probe] * num_videos, plans=[plan], attributes={"dataset": "demo"},
        block_size=block_size,
    )  # fmt: skip
    add_backbone(url, view=VIEW[0], name=VIEW[1], feature_dim=4, weights_digest="ab12", attributes={})
    writer = BlockWriter(url, view=VIEW[0], backbone=VIEW[1])
    for index in range(-(-num_videos // block_size)):
        writer.write(make_block(index, valid, block_size=block_size, seed=seed))
    return str(url)


def make_block(index: int, valid: np.ndarray, *, block_size: int, seed: int) -> FeatureBlock:
    of_block = valid[index * block_size : (index + 1) * block_size]
    features = np.random.default_rng((seed, index)).normal(size=(*of_block.shape, 4)).astype(np.float16)
    features[~of_block] = np.nan
    status = np.where(of_block.any(axis=1), VideoStatus.OK, VideoStatus.CORRUPT).astype(np.uint8)
    return FeatureBlock(index, features, of_block, status, tuple("" if any(v) else "no frames" for v in of_block))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of other numbers of clips and sizes of blocks; the last blocks are shorter."""
    folder = tmp_path_factory.mktemp("originals")
    write_store(folder / "a.zarr", prefix="a", num_videos=14, num_clips=5, block_size=4, seed=0)
    write_store(folder / "b.zarr", prefix="b", num_videos=9, num_clips=3, block_size=6, seed=1)
    return folder


@pytest.fixture
def two_stores(tmp_path: Path, originals: Path) -> str:
    """Copies, the second of them where files are not local."""
    shutil.copytree(originals / "a.zarr", tmp_path / "a.zarr")
    url = f"memory://{tmp_path.name}/b.zarr"
    fsspec.filesystem("memory").put(f"{originals}/b.zarr/", url, recursive=True)
    return f"{tmp_path}/a.zarr,{url}"


def read_by_blocks(store: ReadableStore, rows: np.ndarray) -> tuple[BlockStream, np.ndarray]:
    """All rows, from blocks that are read in reverse order; 0 where nothing is valid."""
    stream = BlockStream(store, *VIEW, rows)
    features = np.zeros((*stream.valid.shape, stream.feature_dim), dtype=np.float16)
    for block in reversed(range(stream.num_blocks)):
        out = np.full((stream.block_rows, stream.num_clips, stream.feature_dim), 7, dtype=np.float16)
        stream.read(block, out)
        own = stream.block_of == block
        features[own] = out[stream.place_of[own]]
    features[~stream.valid] = 0
    return stream, features


@pytest.mark.parametrize("part", [slice(None), slice(3, 20, 2), slice(15, 20), slice(22, None, -1), slice(5, 6)])
def test_blocks_hold_what_read_features_gives(two_stores: str, part: slice) -> None:
    store = open_stores(two_stores)
    rows = np.arange(store.num_videos)[part]
    expected = store.read_features(*VIEW, rows)
    stream, features = read_by_blocks(store, rows)
    np.testing.assert_array_equal(features, expected.features)
    np.testing.assert_array_equal(stream.valid, expected.valid)
    np.testing.assert_array_equal(stream.coordinates(), expected.coordinates)


def test_only_the_blocks_of_the_rows_are_there(two_stores: str) -> None:
    stream = BlockStream(open_stores(two_stores), *VIEW, np.array([0, 1, 9, 14, 22]))
    assert (stream.num_blocks, stream.block_rows, stream.num_clips) == (4, 6, 5)
    assert stream.block_of.tolist() == [0, 0, 1, 2, 3]
    assert stream.place_of.tolist() == [0, 1, 1, 0, 2]
    assert not stream.is_local
    assert BlockStream(open_stores(two_stores), *VIEW, np.array([3])).is_local


def test_a_block_that_was_written_anew_is_refused(two_stores: str) -> None:
    url = two_stores.split(",")[0]
    stream = BlockStream(FeatureStore.open(url), *VIEW, np.arange(14))
    out = np.empty((stream.block_rows, stream.num_clips, stream.feature_dim), dtype=np.float16)
    BlockWriter(url, view=VIEW[0], backbone=VIEW[1]).write(make_block(2, stream.valid, block_size=4, seed=9))
    stream.read(3, out)
    with pytest.raises(
        IncompleteStoreError, match=r"4 videos of random/motion3d in store .*a.zarr' were extracted anew"
    ):
        stream.read(2, out)


def test_blocks_that_are_not_there_are_refused_at_once(two_stores: str) -> None:
    url = two_stores.split(",")[0]
    (Path(url) / "random/motion3d/commit/c.3").unlink()
    with pytest.raises(IncompleteStoreError, match=r"2 of 14 videos of random/motion3d .* are not extracted yet"):
        BlockStream(FeatureStore.open(url), *VIEW, np.arange(14))
    assert BlockStream(FeatureStore.open(url), *VIEW, np.arange(12)).num_blocks == 3


def test_damage_is_found(small: ModuleType, two_stores: str) -> None:
    url = two_stores.split(",")[0]
    store = FeatureStore.open(url)
    stream = BlockStream(store, *VIEW, np.arange(14))
    out = np.empty((stream.block_rows, stream.num_clips, stream.feature_dim), dtype=np.float16)
    chunk = Path(url) / "random/motion3d/features/c.1.0.0"
    small.flip_byte(chunk, place=20)
    with pytest.raises(DamagedBlockError, match=r"block 1 of random/motion3d: array 'features' .*checksum"):
        stream.read(1, out)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DamagedBlockError, match=r"block 1 of .* bytes instead of"):
        BlockStream(store, *VIEW, np.arange(14))
    chunk.unlink()
    with pytest.raises(DamagedBlockError, match=r"block 1 of .*it is missing"):
        stream.read(1, out)


def test_stores_that_do_not_go_together(tmp_path: Path) -> None:
    sizes = {"num_videos": 4, "num_clips": 3, "block_size": 2}
    urls = [write_store(tmp_path / f"{name}.zarr", prefix=name, seed=0, scale=ord(name), **sizes) for name in "ab"]
    with pytest.raises(PlanMismatchError, match=r"drew view 'random' with other values of scale \(97 and 98\)"):
        BlockStream(open_stores(",".join(urls)), *VIEW, np.arange(8))
