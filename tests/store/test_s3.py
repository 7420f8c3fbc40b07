"""Stores on S3, against a server that runs here: the same bytes, the same guarantees."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import s3fs
import zarr

from scale_video.store import lock as lock_module
from scale_video.store.create import add_view
from scale_video.store.errors import (
    DamagedBlockError,
    StoreError,
    StoreLockedError,
    StoreLostError,
    StoreNotFoundError,
)
from scale_video.store.location import StoreLocation
from scale_video.store.lock import StoreLock, check_lock
from scale_video.store.lock_file import LockOwner
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores
from scale_video.store.verify import verify_store
from scale_video.store.write import BlockWriter

VIEW = ("random", "motion3d")
WRITER = """
import runpy, sys
from scale_video.store.write import BlockWriter
small, url, token, *blocks = sys.argv[1:]
make_block = runpy.run_path(small)["make_block"]
writer = BlockWriter(url, view="random", backbone="motion3d", lock_token=token)
for block in blocks:
    writer.write(make_block(int(block)))
"""


@pytest.fixture
def url(s3_bucket: str) -> str:
    return f"{s3_bucket}/folder/demo.zarr"


def another_client() -> Any:
    """A client that shares no cache with the one of the code under test, like that of another machine."""
    return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


def objects_of(url: str) -> dict[str, bytes]:
    files, root = another_client(), url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def upload(folder: Path, url: str) -> None:
    """Copy a store, which takes a tenth of the time of making it."""
    another_client().put(str(folder), url, recursive=True)


def put(url: str, content: bytes) -> None:
    another_client().pipe_file(url, content)


def elsewhere() -> LockOwner:
    return replace(LockOwner.of_this_process("extract"), host="node7", process_table="another boot")


def test_the_same_bytes_as_on_a_disk(small: ModuleType, full_store: Path, url: str) -> None:
    with pytest.raises(StoreNotFoundError, match=r"there is no feature store at 's3://.*demo.zarr'"):
        FeatureStore.open(url)
    with StoreLock.acquire(url, purpose="extract") as lock:
        small.make_empty_store(url)
        writer = BlockWriter(url, view="random", backbone="motion3d", lock_token=lock.token)
        for index in (2, 0, 1):
            writer.write(small.make_block(index))
    assert objects_of(url) == small.files_of(full_store)
    store, local = FeatureStore.open(url), FeatureStore.open(full_store)
    assert store.views() == ("grid", "random")
    assert store.videos.ids == local.videos.ids
    for rows in (None, np.array([6, 1, 1, 4])):
        found, wanted = store.read_features(*VIEW, rows), local.read_features(*VIEW, rows)
        np.testing.assert_array_equal(found.features, wanted.features)
        np.testing.assert_array_equal(found.coordinates, wanted.coordinates)
        np.testing.assert_array_equal(found.valid, wanted.valid)
    assert store.outcome(*VIEW).error == local.outcome(*VIEW).error
    assert verify_store(url) == verify_store(full_store)
    with pytest.raises(StoreError, match="already holds a finished store"):
        small.make_empty_store(url)
    add_view(url, small.make_plan("later", seed=2))
    assert FeatureStore.open(url).views() == ("grid", "later", "random")


def test_writers_in_several_processes(small: ModuleType, templates: Path, url: str) -> None:
    upload(templates / "empty.zarr", url)
    watching = FeatureStore.open(url)
    assert not watching.committed(*VIEW).any()
    with StoreLock.acquire(url, purpose="extract") as lock:
        arguments = [sys.executable, "-c", WRITER, small.__file__, url, lock.token]
        writers = [subprocess.Popen([*arguments, str(index)]) for index in range(3)]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
        assert watching.committed(*VIEW).all()  # whatever this client had listed before
    assert objects_of(url) == small.files_of(templates / "full.zarr")
    assert verify_store(url).damaged == ()


def test_a_writer_without_the_lock_writes_nothing(small: ModuleType, empty_store: Path, url: str) -> None:
    upload(empty_store, url)
    lock = StoreLock.acquire(url, purpose="extract")
    writer = BlockWriter(url, view="random", backbone="motion3d", lock_token=lock.token)
    writer.write(small.make_block(0))
    another = StoreLock.acquire(url, purpose="plan", break_lock=True)
    before = objects_of(url)
    with pytest.raises(StoreLostError, match="was taken by `plan`"):
        writer.write(small.make_block(1))
    another_client().rm_file(f"{url}/lock.json")
    with pytest.raises(StoreLostError, match="is gone"):
        writer.write(small.make_block(1))
    del before["lock.json"]
    assert objects_of(url) == before
    for held in (lock, another):
        held.release()


def test_a_block_whose_mark_is_deleted_is_redone(small: ModuleType, full_store: Path, url: str) -> None:
    upload(full_store, url)
    store = FeatureStore.open(url)
    assert store.committed(*VIEW).all()
    another_client().rm_file(f"{url}/random/motion3d/commit/c.1")
    assert store.committed(*VIEW).tolist() == [True, False, True]
    assert store.committed(*VIEW, np.array([1])).tolist() == [False]
    BlockWriter(url, view="random", backbone="motion3d").write(small.make_block(1))
    assert store.committed(*VIEW).all()


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_marked_block_without_bytes_does_not_exist(full_store: Path, url: str, how: str) -> None:
    upload(full_store, url)
    store = FeatureStore.open(url)
    assert store.committed(*VIEW).all()
    chunk = f"{url}/random/motion3d/status/c.1"
    another_client().rm_file(chunk) if how == "absent" else put(chunk, b"")
    assert store.committed(*VIEW).tolist() == [True, False, True]
    put(f"{url}/random/motion3d/commit/c.0", b"")  # a mark that cannot be read counts as none
    assert store.committed(*VIEW).tolist() == [False, False, True]
    assert "block 1 of random/motion3d: array 'status' has no bytes" in " ".join(verify_store(url).damaged)


def test_damage_is_named(full_store: Path, url: str) -> None:
    upload(full_store, url)
    put(f"{url}/random/motion3d/features/c.1.0.0", b"x" * 76)
    with pytest.raises(DamagedBlockError, match=r"block 1 of random/motion3d: array 'features' .* its checksum is not"):
        FeatureStore.open(url).read_features(*VIEW)
    put(f"{url}/random/motion3d/features/c.1.0.0", b"x" * 10**6)
    with pytest.raises(DamagedBlockError, match="it has 1000000 bytes instead of 76"):
        FeatureStore.open(url).read_features(*VIEW)
    with pytest.raises(DamagedBlockError, match="it has 77 bytes instead of 76"):  # no more were asked for
        FeatureStore.open(url).read_block(*VIEW, 1)


def test_of_many_that_try_at_once_one_gets_the_lock(url: str) -> None:
    def attempt(number: int) -> StoreLock | None:
        try:
            return StoreLock.acquire(url, purpose=f"attempt {number}")
        except StoreLockedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        (lock,) = (lock for lock in pool.map(attempt, range(8)) if lock is not None)
    lock.check()
    with pytest.raises(StoreLockedError, match=r"store 's3://.*' is in use by `attempt \d`"):
        StoreLock.acquire(url, purpose="extract")
    lock.release()
    assert objects_of(url) == {}


def test_a_stale_lock_is_taken_over_by_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{url}/lock.json", elsewhere().to_bytes())
    with pytest.raises(StoreLockedError, match=r"on node7 .*, last heard of \d s ago; wait for it"):
        StoreLock.acquire(url, purpose="extract")
    assert list(objects_of(url)) == ["lock.json"]
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 0.0)

    def attempt(number: int) -> StoreLock | None:
        try:
            return StoreLock.acquire(url, purpose="extract")
        except StoreLockedError:
            return None

    with ThreadPoolExecutor(4) as pool:
        (lock,) = (lock for lock in pool.map(attempt, range(4)) if lock is not None)
    check_lock(StoreLocation.of(url), lock.token)
    lock.release()
    assert objects_of(url) == {}


def test_a_heartbeat_renews_the_object(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.2)
    with StoreLock.acquire(url, purpose="extract") as lock:
        files = another_client()
        first = files.modified(f"{url}/lock.json")
        for _ in range(100):
            if files.modified(f"{url}/lock.json", refresh=True) > first:
                break
            lock_module.Event().wait(0.1)
        else:
            pytest.fail("the lock was not renewed in ten seconds")
        lock.check()


def test_a_store_on_s3_and_one_on_a_disk(full_store: Path, url: str) -> None:
    upload(full_store, url)
    with pytest.raises(StoreError, match=r"stores '/.*' and 's3://.*' do not go together: both hold the video"):
        open_stores(f"{full_store},{url}")
    group = zarr.open_group(url, mode="r+", path="videos", use_consolidated=False)
    group["id"][:] = [f"new/{row}" for row in range(7)]
    union = open_stores(f"{full_store},{url}")
    clips = union.read_features(*VIEW, np.array([9, 2]))
    np.testing.assert_array_equal(clips.features[0], clips.features[1])
    assert clips.video_ids == ("new/2", "klasse ß/2 视频.mp4")


def test_a_bucket_that_is_not_there(s3_server: str) -> None:
    with pytest.raises(StoreNotFoundError, match=r"there is no feature store at 's3://nowhere-at-all/a.zarr'"):
        FeatureStore.open("s3://nowhere-at-all/a.zarr")
    with pytest.raises(StoreError, match=r"store 's3://nowhere-at-all/a.zarr' cannot be locked: .*bucket"):
        StoreLock.acquire("s3://nowhere-at-all/a.zarr", purpose="extract")
