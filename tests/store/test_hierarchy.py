import json
from pathlib import Path
from typing import Any

import pytest
import zarr

from scale_video.store.errors import FormatVersionError, MissingArrayError, StoreError, StoreNotFoundError
from scale_video.store.read import FeatureStore


def change_metadata(node: Path, **changes: Any) -> None:
    """Change or (None) remove entries of a node's metadata; ``attributes`` are merged."""
    metadata = json.loads((node / "zarr.json").read_text())
    for key, value in changes.items():
        if key == "attributes":
            metadata["attributes"] = {k: v for k, v in {**metadata["attributes"], **value}.items() if v is not None}
        elif value is None:
            del metadata[key]
        else:
            metadata[key] = value
    (node / "zarr.json").write_text(json.dumps(metadata))


def test_block_rows(empty_store: Path) -> None:
    store = FeatureStore.open(empty_store)
    assert [store.block_rows(index) for index in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    with pytest.raises(ValueError, match="a backbone has blocks 0 to 2 here, got block 3"):
        store.read_block("random", "motion3d", 3)


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"format": None}, StoreNotFoundError, "is a Zarr group, but no feature store .*; choose another place"),
        ({"format_version": 2}, FormatVersionError, "has format version 2, this release reads version 1; install"),
        ({"format_version": None}, FormatVersionError, "has format version None, this release reads version 1"),
        ({"created": False}, StoreNotFoundError, "was interrupted; run the same `scale-video extract` again"),
        ({"created": None}, StoreNotFoundError, "the creation of store .* was interrupted"),
        (
            {"num_videos": "7"},
            StoreError,
            "attribute 'num_videos' of .* must be a count, got '7'; the store is damaged",
        ),
        ({"block_size": 0}, StoreError, "attribute 'block_size' of .* must be a count, got 0; the store is damaged"),
        ({"block_size": True}, StoreError, "attribute 'block_size' of .* must be a count, got True"),
    ],
)
def test_what_is_no_store_of_ours_is_refused(
    empty_store: Path, attributes: dict[str, Any], error: type[Exception], message: str
) -> None:
    change_metadata(empty_store, attributes=attributes)
    with pytest.raises(error, match=message):
        FeatureStore.open(empty_store)


def test_absent_views_and_backbones_are_named(empty_store: Path) -> None:
    store = FeatureStore.open(empty_store)
    with pytest.raises(MissingArrayError, match=r"store .* has no view 'augmented'; it has: grid, random"):
        store.plan("augmented")
    with pytest.raises(MissingArrayError, match="has no view 'random/motion3d'"):
        store.view_group("random/motion3d")
    with pytest.raises(
        MissingArrayError, match=r"view 'random' of store .* has no features of 'svt'; it has: motion3d"
    ):
        store.backbone_attributes("random", "svt")
    with pytest.raises(MissingArrayError, match="has no features of 'valid'"):
        store.read_features("random", "valid")


def test_a_missing_table_of_videos_is_named(empty_store: Path) -> None:
    (empty_store / "videos/zarr.json").unlink()
    with pytest.raises(MissingArrayError, match=r"store .* has no group 'videos'; it is damaged"):
        _ = FeatureStore.open(empty_store).videos


@pytest.mark.parametrize("name", ["features", "valid", "status", "error", "commit"])
def test_a_missing_array_is_named(empty_store: Path, name: str) -> None:
    (empty_store / f"random/motion3d/{name}/zarr.json").unlink()
    with pytest.raises(
        MissingArrayError, match=f"array '{name}' is missing in .*random/motion3d; the store is damaged"
    ):
        FeatureStore.open(empty_store).committed("random", "motion3d")


@pytest.mark.parametrize(
    ("node", "changes", "message"),
    [
        (
            "motion3d/features",
            {"shape": [7, 3, 5]},
            r"'features' in .* has shape \(7, 3, 5\), the format demands \(7, 3, 4",
        ),
        ("motion3d/features", {"data_type": "float32"}, "has data_type float32, the format demands float16"),
        (
            "motion3d/status",
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [6]}}},
            r"has chunks \(6,\), the format demands \(3,\)",
        ),
        (
            "motion3d/valid",
            {"dimension_names": ["clip", "video"]},
            r"has dimension_names \('clip', 'video'\), the format",
        ),
        (
            "motion3d/status",
            {"dimension_names": None},
            r"array 'status' in .* has dimension_names None, the format demands",
        ),
        ("motion3d/commit", {"shape": [4]}, r"array 'commit' in .* has shape \(4,\), the format demands \(3,\)"),
        (
            "motion3d",
            {"attributes": {"feature_dim": 10**12}},
            r"shape \(7, 3, 4\), the format demands \(7, 3, 1000000000000\)",
        ),
        (".", {"attributes": {"num_clips": 2}}, r"array 'features' in .* the format demands \(7, 2, 4\)"),
        (
            "..",
            {"attributes": {"num_videos": 30}},
            r"has shape \(7, 3, 4\), the format demands \(30, 3, 4\)",
        ),
        (
            "motion3d/features",
            {
                "codecs": [
                    {"name": "bytes", "configuration": {"endian": "little"}},
                    {"name": "gzip", "configuration": {"level": 1}},
                    {"name": "crc32c"},
                ]
            },
            r"array 'features' in .* has codecs .*gzip.*, the format demands .*crc32c",
        ),
        (
            "motion3d/error",
            {"codecs": [{"name": "vlen-utf8"}]},
            r"has codecs \[{'name': 'vlen-utf8'}\], the format dem",
        ),
        (
            "motion3d/valid",
            {"chunk_key_encoding": {"name": "v2"}},
            r"array 'valid' in .* has chunk_key_encoding .*v2.*, the format demands",
        ),
        ("..", {"attributes": {"block_size": 2}}, r"has chunks \(3, 3, 4\), the format demands \(2, 3, 4\)"),
    ],
)
def test_metadata_that_lies_is_found_out(empty_store: Path, node: str, changes: dict[str, Any], message: str) -> None:
    change_metadata(empty_store / "random" / node, **changes)
    with pytest.raises(MissingArrayError, match=message):
        FeatureStore.open(empty_store).read_features("random", "motion3d")


def test_no_more_videos_than_ids(empty_store: Path) -> None:
    change_metadata(empty_store, attributes={"num_videos": 10**12})
    with pytest.raises(StoreError, match=r"claims 1000000000000 videos, but has only \d+ bytes of ids; it is damaged"):
        FeatureStore.open(empty_store)


@pytest.mark.parametrize(
    ("node", "attributes", "message"),
    [
        ("random", {"num_clips": None}, "attribute 'num_clips' of .*random must be a count, got None"),
        ("random/motion3d", {"feature_dim": 4.5}, "attribute 'feature_dim' of .*motion3d must be a count, got 4.5"),
        ("random", {"plan_digest": "xyz"}, "attribute 'plan_digest' of .*random must be a digest, got 'xyz'"),
    ],
)
def test_attributes_that_are_none_are_named(
    empty_store: Path, node: str, attributes: dict[str, Any], message: str
) -> None:
    change_metadata(empty_store / node, attributes=attributes)
    store = FeatureStore.open(empty_store)
    with pytest.raises(StoreError, match=message):
        _ = store.backbone_arrays("random", "motion3d"), store.plan_digest("random")


@pytest.mark.parametrize("node", ["random", "random/motion3d", "random/motion3d/features", "videos", "videos/id"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"zarr_format": 3, "node_type": "array"}'])
def test_metadata_that_cannot_be_read_is_one_line(full_store: Path, node: str, content: str) -> None:
    (full_store / node / "zarr.json").write_text(content)
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(full_store).read_features("random", "motion3d")
    assert len(str(caught.value).splitlines()) == 1


def test_a_consolidation_that_is_stale_hides_nothing(empty_store: Path) -> None:
    zarr.open_group(empty_store, path="random/motion3d", mode="r+", use_consolidated=False).attrs["layer"] = "other"
    assert FeatureStore.open(empty_store).backbone_attributes("random", "motion3d")["layer"] == "other"


def test_a_view_says_what_it_was_drawn_by(empty_store: Path) -> None:
    store = FeatureStore.open(empty_store)
    assert store.plan_parameters("random") == store.plan("random").parameters
    change_metadata(empty_store / "random", attributes={"parameters": None})
    with pytest.raises(MissingArrayError, match=r"view 'random' of store .* does not say what it was drawn by"):
        FeatureStore.open(empty_store).plan_parameters("random")
