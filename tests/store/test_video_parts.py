"""What a table of videos may hold beside single labels of whole files, on its way into a store and out of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray
import zarr

from scale_video.store import schema
from scale_video.store.create import create_store
from scale_video.store.digests import videos_digest
from scale_video.store.errors import PlanMismatchError, StoreError
from scale_video.store.merge_tables import merge_tables
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores
from scale_video.store.verify import verify_store
from scale_video.store.video_parts import part_suffix
from scale_video.store.video_table import VideoTable


def assert_same(one: VideoTable, other: VideoTable) -> None:
    assert (one.ids, one.paths, one.groups, one.class_names) == (
        other.ids,
        other.paths,
        other.groups,
        other.class_names,
    )
    for name in ("labels", "splits", "label_sets", "targets"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        for column in mine:
            np.testing.assert_array_equal(mine[column], theirs[column], strict=True)
    for name in ("start_seconds", "end_seconds"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs, strict=True)


def test_a_store_gives_back_the_table(small: ModuleType, rich_store: Path) -> None:
    videos, store = small.make_rich_videos(), FeatureStore.open(rich_store)
    assert_same(store.videos, videos)
    assert verify_store(rich_store).damaged == ()
    assert store.file_names() == videos.ids
    assert store.file_names(slice(2, 4)) == videos.ids[2:4]
    assert store.parts(slice(1, 3)).end_seconds.tolist() == [2, 3.5]
    np.testing.assert_array_equal(store.column("labels", slice(3, 5)), [[1, 1], [0, 1]])


def test_stores_of_whole_files_say_nothing_of_parts(full_store: Path) -> None:
    store = FeatureStore.open(full_store)
    assert not (full_store / "videos/start_seconds").exists()
    assert store.videos.start_seconds is None
    assert not store.parts().any
    assert store.file_names() == store.videos.paths


def test_xarray_reads_label_sets_and_targets_by_name(rich_store: Path) -> None:
    videos = xarray.open_zarr(rich_store, group="videos")
    assert videos.labels.dims == ("video", "class")
    assert videos.labels_tag.dims == ("video", "class_tag")
    named = videos.labels.assign_coords({"class": videos.attrs["class_names"]["labels"]})
    assert named.sel({"class": "Katze"}).values.tolist() == [0, 0, -1, 1, 1, 1, 0]
    assert videos.target.isnull().values.tolist() == [False, True, *[False] * 5]
    assert videos.start_seconds.attrs["units"] == "s"


def test_every_column_is_part_of_the_digest(small: ModuleType) -> None:
    videos = small.make_rich_videos()
    changed = [
        replace(videos, targets={**videos.targets, "target": np.zeros(7, np.float32)}),
        replace(videos, targets={"target_views": videos.targets["target_views"]}),
        replace(videos, label_sets={**videos.label_sets, "labels": 0 * videos.label_sets["labels"]}),
        replace(videos, class_names={**videos.class_names, "labels": ("Hund", "Kuh")}),
        replace(videos, start_seconds=None),
        replace(videos, end_seconds=np.where(np.arange(7) == 6, 61, videos.end_seconds)),
        replace(videos, start_seconds=videos.end_seconds, end_seconds=None),
    ]
    assert len({videos_digest(table) for table in [videos, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("column", ["labels", "labels_tag", "target", "start_seconds", "end_seconds"])
def test_a_changed_value_is_found_out(rich_store: Path, column: str) -> None:
    array = zarr.open_array(rich_store, path=f"videos/{column}", mode="r+")
    array[6] = 1 - array[6]
    found = verify_store(rich_store).damaged
    assert found
    assert all("the table of videos" in line or "the parts of files" in line for line in found), found


def test_lies_about_parts_and_classes_are_refused(rich_store: Path, tmp_path: Path) -> None:
    backwards = shutil.copytree(rich_store, tmp_path / "backwards.zarr")
    zarr.open_array(backwards, path="videos/end_seconds", mode="r+")[6] = 0.5
    with pytest.raises(StoreError, match=r"a part must end after it begins, got 1 to 0\.5 seconds"):
        FeatureStore.open(backwards).parts()
    classes = zarr.open_group(rich_store, path="videos", mode="r+")
    classes.attrs["class_names"] = {**classes.attrs["class_names"], "labels": ["one"]}
    with pytest.raises(StoreError, match=r"'labels' .* has shape \(7, 2\), the format demands \(7, 1\)"):
        FeatureStore.open(rich_store).column("labels")
    classes.attrs["class_names"] = {"label": ["a", "b"]}
    with pytest.raises(StoreError, match=r"the class names of 'labels' in store .* cannot be read"):
        FeatureStore.open(rich_store).column("labels")


def test_chunks_of_too_many_classes_are_refused(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MAX_CHUNK_BYTES", 20)
    with pytest.raises(ValueError, match=r"column 'labels_tag' would have chunks of .* GiB, the format allows"):
        create_store(
            tmp_path / "x.zarr", videos=small.make_rich_videos(), probes=small.make_probes(), plans=[], attributes={}
        )
    assert not (tmp_path / "x.zarr").exists()


def test_tables_are_merged_by_the_names_of_classes(small: ModuleType) -> None:
    one = small.make_rich_videos()
    other = replace(
        one,
        ids=tuple(f"b{index}" for index in range(7)),
        paths=tuple("b" * 7),
        class_names={**one.class_names, "labels": ("Kuh", "Katze")},
        start_seconds=None,
        end_seconds=None,
    )
    merged = merge_tables({"one": one, "other": other})
    assert merged.videos.class_names["labels"] == ("Hund", "Katze", "Kuh")
    labels = merged.videos.label_sets["labels"].tolist()
    assert labels[:4] == [[1, 0, 0], [0, 0, 0], [-1, -1, -1], [1, 1, 0]]
    # Of Kuh and Katze: [1, 0], [0, 0], [-1, -1], [1, 1], [0, 1], [-1, 1], [0, 0]; nobody thought of Hund.
    assert labels[7:] == [[0, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 1], [0, 1, 0], [0, 1, -1], [0, 0, 0]]
    relabelled = merged.relabel("labels", "other", other.label_sets["labels"])
    assert relabelled.tolist() == labels[7:]
    np.testing.assert_array_equal(merged.videos.targets["target"], np.tile(one.targets["target"], 2))
    np.testing.assert_array_equal(merged.videos.start_seconds, [*one.start_seconds, *[np.nan] * 7])
    with pytest.raises(PlanMismatchError, match="their targets are target, target_views and target_views"):
        merge_tables({"one": one, "two": replace(other, targets={"target_views": other.targets["target_views"]})})
    with pytest.raises(PlanMismatchError, match="their label sets are labels, labels_tag and none"):
        merge_tables({"one": one, "two": replace(other, label_sets={}, class_names={"label": ("a", "b")})})


def test_stores_of_parts_and_of_whole_files_are_read_as_one(
    small: ModuleType, rich_store: Path, tmp_path: Path
) -> None:
    whole = replace(
        small.make_rich_videos(), ids=tuple("abcdefg"), paths=tuple("abcdefg"), start_seconds=None, end_seconds=None
    )
    small.make_full_store(tmp_path / "whole.zarr", videos=whole)
    union = open_stores(f"{rich_store},{tmp_path / 'whole.zarr'}")
    assert union.videos.parts.end_seconds.tolist() == [np.inf, 2, 3.5, np.inf, np.inf, 0.25, 60, *[np.inf] * 7]
    assert union.column("labels", slice(6, 8)).tolist() == [[0, 0], [1, 0]]
    assert union.read_features("random", "motion3d").valid.shape == (14, 3)


def test_names_of_parts() -> None:
    assert part_suffix(1e-7, 0.1 + 0.2) == "#1e-07-0.30000000000000004"
    assert float(part_suffix(0, 1 / 3)[2:]) == 1 / 3
