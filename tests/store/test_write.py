import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scale_video.store.errors import MissingArrayError, StoreLostError, StoreNotFoundError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.location import StoreLocation
from scale_video.store.lock import StoreLock
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store
from scale_video.store.video_probe import VideoStatus
from scale_video.store.write import BlockWriter


def writer_of(url: str | Path) -> BlockWriter:
    return BlockWriter(url, view="random", backbone="motion3d")


def assert_same_block(found: FeatureBlock, wanted: FeatureBlock) -> None:
    assert found.features.tobytes() == wanted.features.tobytes()
    assert found.valid.tobytes() == wanted.valid.tobytes()
    assert found.status.tobytes() == wanted.status.tobytes()
    assert found.error == wanted.error


any_float16 = st.integers(0, 2**16 - 1).map(lambda bits: bits if bits & 0x7C00 != 0x7C00 else bits & 0x83FF)
any_error = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda s: len(s.splitlines()) < 2)


@st.composite
def blocks(draw: st.DrawFn, small: ModuleType) -> FeatureBlock:
    index = draw(st.integers(0, 2))
    planned = small.make_plan().valid[index * 3 : index * 3 + 3]
    valid = planned & draw(hnp.arrays(np.bool_, planned.shape))
    bits = draw(hnp.arrays(np.uint16, (*planned.shape, 4), elements=any_float16))
    features = bits.view(np.float16).copy()
    features[~valid] = np.nan
    failed = draw(hnp.arrays(np.uint8, len(planned), elements=st.integers(4, max(VideoStatus))))
    good = draw(hnp.arrays(np.uint8, len(planned), elements=st.integers(1, 3)))
    error = draw(st.lists(any_error, min_size=len(planned), max_size=len(planned)))
    return FeatureBlock(index, features, valid, np.where(valid.any(axis=1), good, failed), tuple(error))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_block_comes_back(small: ModuleType, empty_store: Path, data: st.DataObject) -> None:
    block = data.draw(blocks(small))
    writer_of(empty_store).write(block)
    store = FeatureStore.open(empty_store)
    assert store.committed("random", "motion3d")[block.index]
    assert_same_block(store.read_block("random", "motion3d", block.index), block)
    rows = np.arange(3 * block.index, 3 * block.index + len(block.status))
    clips = store.read_features("random", "motion3d", rows)
    np.testing.assert_array_equal(clips.features[block.valid], block.features[block.valid])
    assert not clips.features[~block.valid].any()
    assert verify_store(empty_store).damaged == ()


@pytest.mark.parametrize("url", ["{tmp_path}/a.zarr", "file://{tmp_path}/a.zarr", "memory://{tmp_path}/a.zarr"])
def test_blocks_on_any_file_system(small: ModuleType, tmp_path: Path, url: str) -> None:
    url = url.format(tmp_path=tmp_path)
    small.make_full_store(url)
    store = FeatureStore.open(url)
    for index in range(3):
        assert_same_block(store.read_block("random", "motion3d", index), small.make_block(index))
    report = verify_store(url)
    assert (report.num_blocks, report.num_committed, report.damaged) == (3, 3, ())


def test_bytes_do_not_depend_on_the_order_of_writing(small: ModuleType, tmp_path: Path) -> None:
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        small.make_empty_store(tmp_path / name)
        for index in order:
            writer_of(tmp_path / name).write(small.make_block(index))
    assert small.files_of(tmp_path / "a") == small.files_of(tmp_path / "b")


def test_a_block_of_nothing_but_fill_values_has_all_its_chunks(small: ModuleType, empty_store: Path) -> None:
    block = FeatureBlock(
        index=0,
        features=np.full((3, 3, 4), np.nan, np.float16),
        valid=np.zeros((3, 3), np.bool_),
        status=np.full(3, VideoStatus.MISSING, np.uint8),
        error=("",) * 3,
    )
    writer_of(empty_store).write(block)
    assert FeatureStore.open(empty_store).committed("random", "motion3d").tolist() == [True, False, False]
    assert_same_block(FeatureStore.open(empty_store).read_block("random", "motion3d", 0), block)


@pytest.mark.parametrize("array", ["features", "valid", "status", "error", "commit"])
@pytest.mark.parametrize("index", [0, 2])
def test_a_damaged_block_can_be_written_again(small: ModuleType, full_store: Path, array: str, index: int) -> None:
    wanted = small.files_of(full_store)
    small.flip_byte(next((full_store / "random/motion3d" / array).glob(f"c.{index}*")))
    writer_of(full_store).write(small.make_block(index))
    assert small.files_of(full_store) == wanted


def test_data_reaches_the_disk_before_the_mark(
    small: ModuleType, full_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, group = writer_of(full_store), full_store / "random/motion3d"
    seen: list[tuple[str, ...]] = []

    def flush(location: StoreLocation, *paths: str) -> None:
        mark = (group / "commit/c.1").read_bytes()[:8]
        seen.append((*(path.split("/")[2] for path in paths), "unmarked" if mark == bytes(8) else "marked"))

    monkeypatch.setattr(StoreLocation, "flush", flush)
    writer.write(small.make_block(1))
    assert seen == [("commit", "unmarked"), ("features", "valid", "status", "error", "unmarked"), ("commit", "marked")]


def test_a_disk_that_fails_leaves_no_block(
    small: ModuleType, full_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, fsync = writer_of(full_store), os.fsync
    for calls_before in range(12):
        left = [calls_before]

        def fail_later(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fail_later)
        with pytest.raises(OSError, match="No space left on device"):
            writer.write(small.make_block(1, seed=1))
        # 2 calls clear the mark, 8 flush four chunks and their folders; then the mark is there, flushed or not.
        assert FeatureStore.open(full_store).committed("random", "motion3d")[1] == (calls_before >= 10)
    assert verify_store(full_store).damaged == ()


def test_what_does_not_fit_is_refused(small: ModuleType, full_store: Path) -> None:
    writer, before, block = writer_of(full_store), small.files_of(full_store), small.make_block(0)
    with pytest.raises(ValueError, match="a backbone has blocks 0 to 2 here, got block 3"):
        writer.write(replace(block, index=3))
    with pytest.raises(ValueError, match="a backbone has blocks 0 to 2 here, got block -1"):
        writer.write(replace(block, index=-1))
    message = r"block 2 of random/motion3d must have features of shape \(1, 3, 4\), got \(3, 3, 4\)"
    with pytest.raises(ValueError, match=message):
        writer.write(replace(block, index=2))
    every = replace(block, features=np.zeros((3, 3, 4), np.float16), valid=np.ones((3, 3), np.bool_))
    message = "block 0 of random/motion3d has a feature for clip 2 of row 1, which the view does not plan"
    with pytest.raises(ValueError, match=message):
        writer.write(every)
    assert small.files_of(full_store) == before


def test_there_must_be_something_to_write_to(empty_store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no feature store at"):
        BlockWriter(tmp_path / "nothing", view="random", backbone="motion3d")
    with pytest.raises(
        MissingArrayError, match=r"view 'random' of store .* has no features of 'svt'; it has: motion3d"
    ):
        BlockWriter(empty_store, view="random", backbone="svt")
    with pytest.raises(MissingArrayError, match=r"view 'grid' of store .* has no features of 'svt'; it has: none"):
        BlockWriter(empty_store, view="grid", backbone="svt")


def test_a_store_that_vanishes_is_not_written_beneath_its_mount_point(small: ModuleType, empty_store: Path) -> None:
    with StoreLock.acquire(empty_store, purpose="extract") as lock:
        writer = BlockWriter(empty_store, view="random", backbone="motion3d", lock_token=lock.token)
        writer.write(small.make_block(0))
        away = empty_store.rename(empty_store.with_name("away.zarr"))
        empty_store.mkdir()
        with pytest.raises(StoreLostError, match="is gone: it was unmounted, moved or deleted"):
            writer.write(small.make_block(1))
        assert list(empty_store.iterdir()) == []
        empty_store.rmdir()
        with pytest.raises(StoreLostError, match="is gone"):
            writer.write(small.make_block(1))
        assert not empty_store.exists()
        away.rename(empty_store)
        writer.write(small.make_block(1))
    assert FeatureStore.open(empty_store).committed("random", "motion3d").tolist() == [True, True, False]


def test_a_block_is_not_committed_by_who_lost_the_lock_meanwhile(
    small: ModuleType, full_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = StoreLock.acquire(full_store, purpose="extract")
    writer = BlockWriter(full_store, view="random", backbone="motion3d", lock_token=lock.token)
    flush = StoreLocation.flush

    def lose_the_lock(location: StoreLocation, *paths: str) -> None:
        flush(location, *paths)
        if any("features" in path for path in paths):
            StoreLock.acquire(full_store, purpose="other", break_lock=True).release()

    monkeypatch.setattr(StoreLocation, "flush", lose_the_lock)
    with pytest.raises(StoreLostError, match="is gone"):
        writer.write(small.make_block(1, seed=1))
    assert FeatureStore.open(full_store).committed("random", "motion3d").tolist() == [True, False, True]
    lock.release()
