from pathlib import Path
from types import ModuleType

import fsspec
import numpy as np
import pytest
import zarr

from scale_video.store import read
from scale_video.store.errors import DamagedBlockError, IncompleteStoreError, MissingArrayError, StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoStatus

VIEW = ("random", "motion3d")


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, full_store: Path) -> str:
    """A store in which block 1 was never written, on a file system of each kind."""
    for chunk in (full_store / "random/motion3d").glob("*/c.1*"):
        chunk.unlink()
    if request.param == "local":
        return str(full_store)
    fsspec.filesystem("memory").put(str(full_store), str(full_store), recursive=True)
    return f"memory://{full_store}"


def expected(small: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    """Features and valid of all rows, block 1 left out."""
    features, valid = np.zeros((7, 3, 4), np.float16), np.zeros((7, 3), np.bool_)
    for index in (0, 2):
        block = small.make_block(index)
        rows = slice(3 * index, 3 * index + len(block.status))
        features[rows], valid[rows] = np.nan_to_num(block.features), block.valid
    return features, valid


def test_uncommitted_blocks_are_invisible(small: ModuleType, url: str) -> None:
    store = FeatureStore.open(url)
    assert store.committed(*VIEW).tolist() == [True, False, True]
    assert store.committed(*VIEW, np.array([2, 1])).tolist() == [True, False]
    with pytest.raises(
        IncompleteStoreError, match=r"3 of 7 videos of random/motion3d in store .* are not extracted yet"
    ):
        store.read_features(*VIEW)
    outcome = store.outcome(*VIEW)
    assert outcome.status.tolist() == [1, 1, 1, 0, 0, 0, VideoStatus.CORRUPT]
    assert outcome.error == ("",) * 6 + ("holds no stream that can be shown",)


@pytest.mark.parametrize(("rows_per_run", "wanted"), [(1, [3, 3, 1]), (6, [6, 1]), (7, [6, 1]), (65_536, [7])])
def test_outcomes_come_in_runs_of_whole_blocks(
    url: str, rows_per_run: int, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "ROWS_PER_RUN", rows_per_run)
    store = FeatureStore.open(url)
    runs = list(store.outcomes(*VIEW))
    assert [rows.stop - rows.start for rows, _, _ in runs] == wanted
    assert np.concatenate([np.arange(rows.start, rows.stop) for rows, _, _ in runs]).tolist() == list(range(7))
    assert np.concatenate([status for _, status, _ in runs]).tolist() == [1, 1, 1, 0, 0, 0, VideoStatus.CORRUPT]
    assert [text for _, _, texts in runs for text in texts] == [""] * 6 + ["holds no stream that can be shown"]


@pytest.mark.parametrize("rows", [None, [0, 1, 2], [6, 0], [2, 2, 6, 1], [], [5, 6, 0, 1, 2, 3, 4]])
def test_rows_come_in_the_order_asked_for(small: ModuleType, url: str, rows: list[int] | None) -> None:
    asked = None if rows is None else np.array(rows, dtype=np.int64)
    clips = FeatureStore.open(url).read_features(*VIEW, asked, allow_incomplete=True)
    wanted = np.arange(7) if asked is None else asked
    features, valid = expected(small)
    np.testing.assert_array_equal(clips.features, features[wanted])
    np.testing.assert_array_equal(clips.valid, valid[wanted])
    plan = small.make_plan()
    coordinates = np.where(valid[:, :, None], plan.coordinates, 0)
    np.testing.assert_array_equal(clips.coordinates, coordinates[wanted])
    assert clips.video_ids == tuple(small.make_videos().ids[row] for row in wanted)


def test_rows_of_committed_blocks_need_no_permission(url: str) -> None:
    assert FeatureStore.open(url).read_features(*VIEW, np.array([6, 1])).num_videos == 2


@pytest.mark.parametrize("rows", [[-1], [7]])
def test_rows_outside_the_table_are_refused(url: str, rows: list[int]) -> None:
    with pytest.raises(ValueError, match=r"rows must be in \[0, 7\), got \[.*\]"):
        FeatureStore.open(url).read_features(*VIEW, np.array(rows))


def test_a_killed_writers_leftovers_are_not_even_looked_at(small: ModuleType, url: str) -> None:
    store = FeatureStore.open(url)
    for array in ("features", "valid", "status"):
        name = {"features": "c.1.0.0", "valid": "c.1.0", "status": "c.1"}[array]
        store.location.file_system.pipe(f"{store.location.root}/random/motion3d/{array}/{name}", b"torn")
    clips = store.read_features(*VIEW, allow_incomplete=True)
    np.testing.assert_array_equal(clips.valid, expected(small)[1])
    assert store.outcome(*VIEW).status.tolist() == [1, 1, 1, 0, 0, 0, 5]


@pytest.mark.parametrize("array", ["features/c.2.0.0", "valid/c.2.0", "status/c.2", "error/c.2"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_marked_block_without_bytes_is_uncommitted(url: str, array: str, how: str) -> None:
    store = FeatureStore.open(url)
    path = f"{store.location.root}/random/motion3d/{array}"
    store.location.file_system.rm(path)
    if how == "empty":
        store.location.file_system.pipe(path, b"")
    assert store.marks(*VIEW)[2] != 0
    assert store.committed(*VIEW).tolist() == [True, False, False]


@pytest.mark.parametrize("content", [b"", b"torn", bytes(8) + b"sum?", bytes(20)])
def test_a_mark_that_cannot_be_read_counts_as_none(url: str, content: bytes) -> None:
    store = FeatureStore.open(url)
    store.location.file_system.pipe(f"{store.location.root}/random/motion3d/commit/c.2", content)
    assert store.committed(*VIEW).tolist() == [True, False, False]


@pytest.mark.parametrize("array", ["features/c.2.0.0", "valid/c.2.0"])
@pytest.mark.parametrize("rows", [None, [6, 0]])
def test_damage_is_named_with_block_and_array(url: str, array: str, rows: list[int] | None) -> None:
    store = FeatureStore.open(url)
    file_system, path = store.location.file_system, f"{store.location.root}/random/motion3d/{array}"
    content = bytearray(file_system.cat(path))
    content[1] ^= 1
    file_system.pipe(path, bytes(content))
    name = array.split("/")[0]
    message = f"block 2 of random/motion3d: array '{name}' cannot be read: .*; delete 'random/motion3d/commit/c.2' in"
    with pytest.raises(DamagedBlockError, match=message):
        store.read_features(*VIEW, None if rows is None else np.array(rows), allow_incomplete=True)
    with pytest.raises(DamagedBlockError, match=message):
        store.read_block(*VIEW, 2)


def test_columns(url: str) -> None:
    store = FeatureStore.open(url)
    assert store.column("path", slice(1, 3)).tolist() == list(store.ids[1:3])
    assert store.column("height").dtype == np.int32
    with pytest.raises(MissingArrayError, match=r"the table of videos has no column '\.\./random/valid'"):
        store.column("../random/valid")
    with pytest.raises(MissingArrayError, match="array 'split_9' is missing in"):
        store.column("split_9")


@pytest.mark.parametrize(
    ("array", "read", "message"),
    [
        ("videos/id/c.0", lambda s: s.videos, "chunk 0 of array 'videos/id' in store .* cannot be read: its checksum"),
        (
            "videos/label/c.0",
            lambda s: s.videos,
            "chunk 0 of array 'videos/label' in store .* cannot be read: its checksum",
        ),
        (
            "videos/height/c.0",
            lambda s: s.probes(),
            "chunk 0 of array 'videos/height' in store .* cannot be read: its checksum",
        ),
        (
            "random/valid/c.0.0",
            lambda s: s.plan("random"),
            "chunk 0 of array 'random/valid' in store .* cannot be read: its checksum",
        ),
        (
            "random/coordinates/c.0.0.0",
            lambda s: s.read_features(*VIEW, allow_incomplete=True),
            "chunk 0 of array 'random/coordinates' in store .* cannot be read: its",
        ),
    ],
)
def test_damaged_tables_are_named(url: str, array: str, read: object, message: str) -> None:
    store = FeatureStore.open(url)
    path = f"{store.location.root}/{array}"
    store.location.file_system.pipe(path, store.location.file_system.cat(path)[:-1] + b"?")
    with pytest.raises(StoreError, match=message):
        read(store)  # type: ignore[operator]


def test_a_table_that_is_none_is_named(empty_store: Path) -> None:
    videos = zarr.open_group(empty_store, path="videos", mode="r+", use_consolidated=False)
    videos["probe_status"][0] = 77
    with pytest.raises(
        StoreError, match=r"what the probe found in store .* cannot be read, the store is damaged: 77 is"
    ):
        FeatureStore.open(empty_store).probes()
    videos["label"][0] = 5
    with pytest.raises(
        StoreError, match=r"the table of videos in store .* cannot be read, the store is damaged: column"
    ):
        _ = FeatureStore.open(empty_store).videos


@pytest.mark.parametrize("names", ["jump", {"jump": 0}, 7, [7, 8], None])
def test_class_names_that_are_none_are_refused(empty_store: Path, names: object) -> None:
    group = zarr.open_group(empty_store, path="videos", mode="r+", use_consolidated=False)
    group.attrs["class_names"] = {"label": names}
    with pytest.raises(StoreError, match=r"the table of videos in store .* cannot be read, the store is damaged: "):
        _ = FeatureStore.open(empty_store).videos


def test_a_block_that_is_rewritten_while_it_is_read_is_not_given_out(
    small: ModuleType, full_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore.open(full_store)
    (view, backbone) = next((view, name) for view in store.views() for name in store.backbones(view))
    rows = FeatureStore._committed_rows
    calls = []

    def rewrite_after_the_first(array: object, *args: object, **options: object) -> object:
        values = rows(array, *args, **options)  # type: ignore[arg-type]
        if not calls:
            (full_store / view / backbone / "commit" / "c.0").unlink()
        calls.append(array)
        return values

    monkeypatch.setattr(FeatureStore, "_committed_rows", staticmethod(rewrite_after_the_first))
    with pytest.raises(IncompleteStoreError, match="were extracted anew while they were read"):
        store.read_features(view, backbone)
