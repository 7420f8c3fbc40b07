import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

from scale_video.store.create import add_backbone, add_view, create_store, default_block_size
from scale_video.store.errors import MissingArrayError, PlanMismatchError, StoreError
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

BACKBONE: dict[str, Any] = {
    "view": "random",
    "name": "motion3d",
    "feature_dim": 4,
    "weights_digest": "ab12",
    "attributes": {"layer": "mean", "preprocessing": {"mean": (0.45, 0.45, 0.45)}},
}


def create(small: ModuleType, url: str | Path, **changes: Any) -> None:
    given = {"videos": small.make_videos(), "probes": small.make_probes(), "plans": [small.make_plan()]}
    create_store(url, **{**given, "attributes": {}, **changes})


@pytest.mark.parametrize(("num_videos", "size"), [(1, 1), (31, 1), (32, 1), (320, 10), (2048, 64), (240_000, 64)])
def test_default_block_size(num_videos: int, size: int) -> None:
    assert default_block_size(num_videos) == size


@pytest.mark.parametrize("url", ["{tmp_path}/a.zarr", "file://{tmp_path}/a.zarr", "memory://{tmp_path}/a.zarr"])
def test_what_was_created_is_read(small: ModuleType, tmp_path: Path, url: str) -> None:
    url = url.format(tmp_path=tmp_path)
    small.make_empty_store(url)
    store = FeatureStore.open(url)
    assert (store.num_videos, store.block_size, store.num_blocks) == (7, 3, 3)
    assert store.attributes["dataset"] == "demo"
    assert store.views() == ("grid", "random")
    assert store.backbones("random") == ("motion3d",)
    assert store.backbone_attributes("random", "motion3d")["preprocessing"] == {"mean": [0.45, 0.45, 0.45]}
    assert list(store.probes()) == small.make_probes()
    assert list(store.probes(slice(2, 4))) == small.make_probes()[2:4]
    videos, made = store.videos, small.make_videos()
    assert (videos.ids, videos.paths, videos.groups) == (made.ids, made.paths, made.groups)
    assert videos.class_names == made.class_names
    np.testing.assert_array_equal(videos.labels["label"], made.labels["label"])
    np.testing.assert_array_equal(videos.splits["1"], made.splits["1"])
    for plan in (small.make_plan(), small.make_plan("grid", seed=1)):
        found = store.plan(plan.view)
        assert found.parameters == plan.parameters
        np.testing.assert_array_equal(found.coordinates, plan.coordinates)
        np.testing.assert_array_equal(found.valid, plan.valid)
        np.testing.assert_array_equal(found.planned, plan.planned)
    assert not store.committed("random", "motion3d").any()
    assert verify_store(url).damaged == ()


def test_two_creations_make_the_same_bytes(small: ModuleType, tmp_path: Path) -> None:
    small.make_empty_store(tmp_path / "a.zarr")
    small.make_empty_store(tmp_path / "b.zarr")
    assert small.files_of(tmp_path / "a.zarr") == small.files_of(tmp_path / "b.zarr")


def test_every_array_is_as_the_format_demands(full_store: Path) -> None:
    arrays = [path.parent for path in full_store.rglob("zarr.json") if "codecs" in json.loads(path.read_text())]
    assert len(arrays) > 30
    for array in arrays:
        metadata = json.loads((array / "zarr.json").read_text())
        assert metadata["codecs"][-1] == {"name": "crc32c"}
        assert metadata["chunk_key_encoding"]["configuration"] == {"separator": "."}
        assert len(metadata["dimension_names"]) == len(metadata["shape"])
        assert list(array.glob("c.*")) or array.parent.name == "motion3d"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
        ({"probes": []}, "0 probes for 7 videos"),
        ({"attributes": {"created": True}}, "attributes cannot hold created: the format uses these names"),
        ({"attributes": {"root": Path("/")}}, "attributes must be JSON values: "),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    small: ModuleType, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        create(small, tmp_path / "a.zarr", **changes)
    assert not (tmp_path / "a.zarr").exists()


def test_plans_must_fit_the_videos(small: ModuleType, empty_store: Path, tmp_path: Path) -> None:
    plan = small.make_plan("other")
    short = replace(plan, coordinates=plan.coordinates[:5], valid=plan.valid[:5], planned=plan.planned[:5])
    with pytest.raises(ValueError, match="view 'other' plans 5 videos, the store has 7"):
        create(small, tmp_path / "a.zarr", plans=[short])
    with pytest.raises(ValueError, match="view 'other' plans 5 videos, the store has 7"):
        add_view(empty_store, short)
    with pytest.raises(ValueError, match="two plans are of view 'other'; a store holds one of each"):
        create(small, tmp_path / "a.zarr", plans=[plan, plan])


def test_a_finished_store_is_left_alone(small: ModuleType, full_store: Path) -> None:
    before = small.files_of(full_store)
    with pytest.raises(StoreError, match="already holds a finished store; choose another place, or delete it"):
        create(small, full_store)
    assert small.files_of(full_store) == before


@pytest.mark.parametrize("version", [2, None])
def test_a_store_of_another_version_is_left_alone(small: ModuleType, tmp_path: Path, version: int | None) -> None:
    attributes = {"format": "scale-video-features", "format_version": version, "created": False}
    zarr.create_group(tmp_path, attributes=attributes)
    with pytest.raises(StoreError, match=f"holds a store of format version {version}; choose another place"):
        create(small, tmp_path)


def test_a_store_without_the_mark_of_an_unfinished_one_is_left_alone(small: ModuleType, full_store: Path) -> None:
    metadata = json.loads((full_store / "zarr.json").read_text())
    del metadata["attributes"]["created"]
    (full_store / "zarr.json").write_text(json.dumps(metadata))
    before = small.files_of(full_store)
    with pytest.raises(StoreError, match="already holds a finished store"):
        create(small, full_store)
    assert small.files_of(full_store) == before


@pytest.mark.parametrize("place", ["file", "folder", "zarr group", "zarr 2 group", "zarr array", "damaged group"])
def test_what_is_a_strangers_is_left_alone(small: ModuleType, tmp_path: Path, place: str) -> None:
    root = tmp_path / "a.zarr"
    if place == "file":
        root.write_text("precious")
    elif place == "folder":
        (root / "photos").mkdir(parents=True)
        (root / "photos/cat.partial").write_text("precious")
    elif place == "zarr array":
        zarr.create_array(root, shape=(1,), dtype="f4")[:] = 1
    elif place == "damaged group":
        root.mkdir()
        (root / "zarr.json").write_text('{"format": "scale-video-features"')
    else:
        zarr.create_group(root, zarr_format=2 if place == "zarr 2 group" else 3, attributes={"created": False})
    before = root.read_text() if place == "file" else small.files_of(root)
    message = "holds a Zarr group that is no feature store" if place == "zarr group" else "holds no feature store"
    with pytest.raises(StoreError, match=f"{message}; choose another place"):
        create(small, root)
    assert before == (root.read_text() if place == "file" else small.files_of(root))


def test_an_empty_folder_is_used(small: ModuleType, tmp_path: Path) -> None:
    create(small, tmp_path)
    assert FeatureStore.open(tmp_path).views() == ("random",)


@pytest.mark.parametrize("url", ["{tmp_path}", "memory://interrupted/{tmp_path}"])
def test_an_interrupted_creation_is_made_anew(small: ModuleType, tmp_path: Path, url: str) -> None:
    url = url.format(tmp_path=tmp_path / "a.zarr")
    create(small, url, attributes={"seed": 1})
    zarr.open_group(url, mode="r+", use_consolidated=False).attrs["created"] = False
    create(small, url, attributes={"seed": 2})
    assert FeatureStore.open(url).attributes["seed"] == 2


def test_a_view_is_added_beside_what_is_there(small: ModuleType, full_store: Path) -> None:
    before = small.files_of(full_store)
    add_view(full_store, small.make_plan("augmented", seed=2))
    after = small.files_of(full_store)
    assert {name for name in before if after[name] != before[name]} == {"zarr.json"}  # consolidated anew
    assert FeatureStore.open(full_store).views() == ("augmented", "grid", "random")
    assert verify_store(full_store).damaged == ()


def test_the_same_view_again_is_no_error_another_one_is(small: ModuleType, full_store: Path) -> None:
    before = small.files_of(full_store)
    add_view(full_store, small.make_plan())
    assert small.files_of(full_store) == before
    with pytest.raises(PlanMismatchError, match="already has a view 'random' with other parameters or another seed"):
        add_view(full_store, small.make_plan(seed=1))
    assert small.files_of(full_store) == before


def test_an_interrupted_view_or_backbone_is_invisible_and_made_anew(small: ModuleType, full_store: Path) -> None:
    wanted = small.files_of(full_store)
    for group in ("random/motion3d", "grid"):
        zarr.open_group(full_store, path=group, mode="r+", use_consolidated=False).attrs["created"] = False
    store = FeatureStore.open(full_store)
    assert (store.views(), store.backbones("random")) == (("random",), ())
    assert verify_store(full_store).num_blocks == 0
    add_view(full_store, small.make_plan("grid", seed=1))
    add_backbone(full_store, **BACKBONE)
    chunks = {name for name in wanted if name.startswith("random/motion3d") and "/c." in name and "/video/" not in name}
    assert len(chunks) == 15
    assert small.files_of(full_store) == {name: content for name, content in wanted.items() if name not in chunks}


def test_the_same_backbone_again_is_no_error(small: ModuleType, full_store: Path) -> None:
    before = small.files_of(full_store)
    add_backbone(full_store, **BACKBONE)
    assert small.files_of(full_store) == before


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"feature_dim": 5}, "feature_dim"),
        ({"weights_digest": "cd"}, "weights_digest"),
        ({"attributes": {"layer": "mean", "preprocessing": {"mean": (0.5, 0.45, 0.45)}}}, "preprocessing"),
        ({"attributes": {"layer": "cls", "batch_size": 2}, "feature_dim": 5}, "batch_size, feature_dim, layer"),
    ],
)
def test_another_backbone_of_the_name_is_refused(empty_store: Path, changes: dict[str, Any], differing: str) -> None:
    message = f"already has features random/'motion3d' that differ in {differing}; give this backbone another name"
    with pytest.raises(PlanMismatchError, match=message):
        add_backbone(empty_store, **{**BACKBONE, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"view": "front"}, MissingArrayError, "has no view 'front'; it has: grid, random"),
        ({"view": "videos"}, MissingArrayError, "has no view 'videos'; it has: grid, random"),
        ({"view": "../demo.zarr/random"}, MissingArrayError, "has no view "),
        ({"name": "a/b"}, ValueError, "backbone 'a/b' must consist of"),
        ({"name": ".."}, ValueError, r"backbone '\.\.' must consist of"),
        ({"name": "valid"}, ValueError, "backbone cannot be called 'valid', the format uses this name"),
        ({"feature_dim": 0}, ValueError, "feature_dim must be at least 1, got 0"),
        ({"attributes": {"feature_dim": 4}}, ValueError, "attributes cannot hold feature_dim: the format uses"),
        ({"attributes": {"scale": float("inf")}}, ValueError, "attributes must be JSON values: "),
    ],
)
def test_bad_backbones_are_refused(
    small: ModuleType, empty_store: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = small.files_of(empty_store)
    with pytest.raises(error, match=message):
        add_backbone(empty_store, **{**BACKBONE, **changes})
    assert small.files_of(empty_store) == before


def test_a_creator_killed_before_it_consolidates_leaves_nothing_hidden(small: ModuleType, empty_store: Path) -> None:
    wanted = (empty_store / "zarr.json").read_bytes()
    stale = json.loads(wanted)
    for name in [name for name in stale["consolidated_metadata"]["metadata"] if name.startswith("random/motion3d")]:
        del stale["consolidated_metadata"]["metadata"][name]
    (empty_store / "zarr.json").write_text(json.dumps(stale))
    assert FeatureStore.open(empty_store).backbones("random") == ("motion3d",)
    add_backbone(empty_store, **BACKBONE)
    assert (empty_store / "zarr.json").read_bytes() == wanted


def test_everything_is_on_disk_before_it_counts_as_created(
    small: ModuleType, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []

    def flush(location: StoreLocation, path: str) -> None:
        attributes = json.loads((Path(location.root) / path / "zarr.json").read_text())["attributes"]
        flushed.append((path, attributes["created"]))

    monkeypatch.setattr(StoreLocation, "flush_tree", flush)
    monkeypatch.setattr(
        StoreLocation,
        "flush",
        lambda location, *paths: [flush(location, path.removesuffix("zarr.json")) for path in paths],
    )
    add_view(empty_store, small.make_plan("other"))
    add_backbone(empty_store, **{**BACKBONE, "view": "other"})
    view, backbone, root = ("other", "other/"), ("other/motion3d", "other/motion3d/"), ("", True)
    assert flushed == [(view[0], False), (view[1], True), root, (backbone[0], False), (backbone[1], True), root]


def test_a_stray_file_is_nobodys_business(small: ModuleType, empty_store: Path) -> None:
    for name in (".DS_Store", "lock", "random/lock"):
        (empty_store / name).write_text("x")
    (empty_store / "empty").mkdir()
    add_view(empty_store, small.make_plan("other"))
    assert FeatureStore.open(empty_store).views() == ("grid", "other", "random")
    assert verify_store(empty_store).damaged == ()


def test_chunks_that_no_reader_would_take_memory_for_are_not_planned(small: ModuleType, empty_store: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^the features of 'wide' in view 'random' would have chunks of 18.0 GiB, the format allows 2; ",
    ):
        add_backbone(empty_store, view="random", name="wide", feature_dim=2**30, weights_digest="", attributes={})
    with pytest.raises(
        ValueError, match=r"the coordinates of view 'random' would have chunks of 2.6 GiB, .*; make blocks"
    ):
        create(small, empty_store.parent / "other.zarr", block_size=2**25)
    assert not (empty_store.parent / "other.zarr").exists()
    assert FeatureStore.open(empty_store).backbones("random") == ("motion3d",)
