import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.errors import IncompleteStoreError, MissingArrayError, PlanMismatchError, StoreNotFoundError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.union import StoreUnion, open_stores, store_urls
from scale_video.store.video_probe import VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW = ("random", "motion3d")
BACKBONE: dict[str, Any] = {
    "layer": "mean",
    "preprocessing": {"mean": [0.45, 0.45, 0.45]},
    "num_frames": 16,
    "frame_size": 224,
    "precision": "float32",
    "library_versions": {"torch": "2.13"},
}


def renamed(videos: VideoTable) -> VideoTable:
    """Other videos, two of the same classes in another order, and one class that the others lack."""
    ids = tuple(f"new/{index}.mp4" for index in range(videos.num_videos))
    return replace(
        videos,
        ids=ids,
        paths=ids,
        labels={"label": np.array([2, 0, 1, -1, 2, 0, 1], dtype=np.int32)},
        class_names={"label": ("Läufe", "swim", "jump")},
    )


def widened(plan: ClipPlan) -> ClipPlan:
    """One clip more, for every video."""
    return replace(
        plan,
        coordinates=np.pad(plan.coordinates, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan),
        valid=np.pad(plan.valid, ((0, 0), (0, 1))),
    )


def make_second(
    small: ModuleType,
    url: Path,
    *,
    videos: Callable[[VideoTable], VideoTable] = renamed,
    plan: Callable[[ClipPlan], ClipPlan] = widened,
    blocks: tuple[int, ...] = (0, 2),
    dataset: str = "demo",
    feature_dim: int = 4,
    weights_digest: str = "ab12",
    **attributes: Any,
) -> None:
    """A store that goes together with ``first``, with another block size, unless something is changed."""
    drawn = plan(small.make_plan())
    create_store(
        url,
        videos=videos(small.make_videos()),
        probes=small.make_probes(),
        plans=[drawn],
        block_size=3,
        attributes={"dataset": dataset, "seed": 0},
    )
    given = {**BACKBONE, **attributes}
    kind = {"feature_dim": feature_dim, "weights_digest": weights_digest}
    add_backbone(url, view="random", name="motion3d", **kind, attributes=given)
    writer = BlockWriter(url, view="random", backbone="motion3d")
    for index in blocks:
        block = small.make_block(index, seed=1)
        extra = drawn.num_clips - block.valid.shape[1]
        writer.write(
            FeatureBlock(
                index=index,
                features=np.pad(block.features, ((0, 0), (0, extra), (0, feature_dim - 4)), constant_values=np.nan),
                valid=np.pad(block.valid, ((0, 0), (0, extra))),
                status=block.status,
                error=block.error,
            )
        )


@pytest.fixture
def first(small: ModuleType, full_store: Path) -> Path:
    group = zarr.open_group(full_store, path="random/motion3d", mode="r+", use_consolidated=False)
    group.attrs.update(BACKBONE)
    return full_store


@pytest.fixture
def union(small: ModuleType, first: Path, tmp_path: Path) -> StoreUnion:
    make_second(small, tmp_path / "b.zarr")
    opened = open_stores(f"{first},{tmp_path}/b.zarr")
    assert isinstance(opened, StoreUnion)
    return opened


def test_one_store_is_itself(first: Path) -> None:
    assert isinstance(open_stores(first), FeatureStore)
    assert open_stores(str(first)).url == str(first)


def test_rows_of_the_second_follow_those_of_the_first(small: ModuleType, union: StoreUnion, tmp_path: Path) -> None:
    assert union.url == f"{tmp_path}/demo.zarr,{tmp_path}/b.zarr"
    assert (union.num_videos, union.num_blocks, union.num_clips("random")) == (14, 6, 4)
    assert union.feature_dim(*VIEW) == 4
    assert union.attributes["dataset"] == "demo"
    assert union.attributes["num_videos"] == 14
    assert "videos_digest" not in union.attributes
    assert union.views() == ("random",)  # the second has no grid
    assert union.backbones("random") == ("motion3d",)
    assert union.plan_parameters("random") == small.make_plan().parameters
    first, second = union.stores
    assert union.ids == first.ids + second.ids
    assert union.videos.paths == first.videos.paths + second.videos.paths
    assert union.videos.groups == first.videos.groups + second.videos.groups
    assert union.videos.splits["1"].tolist() == first.videos.splits["1"].tolist() * 2
    assert union.probes() == first.probes() + second.probes()
    assert union.probes(slice(6, 8)) == (first.probes()[6], second.probes()[0])
    assert union.committed(*VIEW).tolist() == [True, True, True, True, False, True]


def test_classes_are_merged_by_name(union: StoreUnion) -> None:
    assert union.videos.class_names == {"label": ("jump", "Läufe", "swim")}
    assert union.videos.labels["label"].tolist() == [0, 1, 0, 1, -1, 0, 1, 0, 1, 2, -1, 0, 1, 2]
    assert union.column("label").tolist() == union.videos.labels["label"].tolist()
    first, second = union.stores
    for row, store, inner in [(1, first, 1), (8, second, 1), (9, second, 2)]:
        name = store.videos.class_names["label"][store.videos.labels["label"][inner]]
        assert union.videos.class_names["label"][union.videos.labels["label"][row]] == name


@pytest.mark.parametrize(
    "rows", [slice(None), slice(5, 9), slice(0, 7), slice(7, 14), slice(8, 8), slice(3, 4), slice(-2, None)]
)
def test_columns(union: StoreUnion, rows: slice) -> None:
    assert union.column("path", rows).tolist() == list(union.videos.paths)[rows]
    durations = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0] * 2
    assert union.column("duration_seconds", rows).tolist() == durations[rows]


def test_columns_have_consecutive_rows(union: StoreUnion) -> None:
    with pytest.raises(ValueError, match="rows must be consecutive"):
        union.column("path", slice(0, 4, 2))
    with pytest.raises(MissingArrayError, match="has no column 'nothing'"):
        union.column("nothing")


def test_outcomes(union: StoreUnion) -> None:
    runs = list(union.outcomes(*VIEW))
    assert [rows for rows, _, _ in runs] == [slice(0, 7), slice(7, 14)]
    outcome = union.outcome(*VIEW)
    statuses = [1, 1, 1, 1, 3, 1, VideoStatus.CORRUPT, 1, 1, 1, 0, 0, 0, VideoStatus.CORRUPT]
    assert outcome.status.tolist() == statuses == [code for _, status, _ in runs for code in status.tolist()]
    assert outcome.error[4].startswith("1 of 3 clips")
    assert outcome.error[13] == "holds no stream that can be shown"
    assert outcome.error == tuple(text for _, _, error in runs for text in error)


@pytest.mark.parametrize("rows", [None, [], [0], [13, 0, 6, 7, 7], [8, 9], list(range(13, -1, -1))])
def test_features(union: StoreUnion, rows: list[int] | None) -> None:
    asked = None if rows is None else np.array(rows, dtype=np.int64)
    clips = union.read_features(*VIEW, asked, allow_incomplete=True)
    wanted = range(14) if rows is None else rows
    assert clips.features.shape == (len(wanted), 4, 4)
    parts = [store.read_features(*VIEW, allow_incomplete=True) for store in union.stores]
    for place, row in enumerate(wanted):
        part, inner = (parts[0], row) if row < 7 else (parts[1], row - 7)
        clip_count = part.valid.shape[1]
        assert clips.video_ids[place] == part.video_ids[inner] == union.ids[row]
        np.testing.assert_array_equal(clips.features[place, :clip_count], part.features[inner])
        np.testing.assert_array_equal(clips.coordinates[place, :clip_count], part.coordinates[inner])
        np.testing.assert_array_equal(clips.valid[place, :clip_count], part.valid[inner])
        assert not clips.valid[place, clip_count:].any()
        assert not clips.features[place, clip_count:].any()
    if len(wanted) == 14:
        assert clips.valid.any(axis=1).sum() == 6 + 3


def test_what_is_not_extracted_is_refused(union: StoreUnion) -> None:
    with pytest.raises(IncompleteStoreError, match=r"3 of 7 videos of random/motion3d in store .*b.zarr'"):
        union.read_features(*VIEW)
    assert union.read_features(*VIEW, np.array([0, 7])).num_videos == 2
    with pytest.raises(ValueError, match=r"rows must be in \[0, 14\), got \[0, 14\]"):
        union.read_features(*VIEW, np.array([0, 14]))


def test_a_plan_digest_tells_stores_and_their_order(union: StoreUnion) -> None:
    first, second = union.stores
    digest = union.plan_digest("random")
    assert len(digest) == 32
    assert digest not in (first.plan_digest("random"), second.plan_digest("random"))
    assert StoreUnion([second, first]).plan_digest("random") != digest
    assert StoreUnion([first, second]).plan_digest("random") == digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": "ucf101"},
            r"stores .*demo.zarr' and .*b.zarr' do not go together: they hold the data sets 'demo' ",
        ),
        ({"videos": lambda videos: videos}, "do not go together: both hold the video 'klasse ß/0 视频.mp4'"),
        ({"videos": lambda v: replace(renamed(v), splits={})}, "do not go together: their splits are 1 and none"),
        (
            {"videos": lambda v: replace(renamed(v), splits={"1": v.splits["1"], "2": v.splits["1"]})},
            "their splits are 1 and 1, 2",
        ),
        (
            {"videos": lambda v: replace(renamed(v), labels={}, class_names={})},
            "their label columns are label and none",
        ),
        (
            {"videos": lambda v: replace(renamed(v), class_names={"label": ("a", "b", "a")})},
            r"store .*b.zarr' cannot be used with others: 'label' has two classes called 'a', and classes are",
        ),
    ],
)
def test_videos_that_do_not_go_together(
    small: ModuleType, first: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    make_second(small, tmp_path / "b.zarr", **changes)
    with pytest.raises(PlanMismatchError, match=message):
        open_stores(f"{first},{tmp_path}/b.zarr")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"plan": lambda plan: replace(plan, parameters={**plan.parameters, "seed": 5})},
            r"other values of seed \(0 and 5",
        ),
        (
            {"plan": lambda plan: replace(plan, parameters={"seed": 0})},
            r"drew view 'random' with other .*crop \(.* and No",
        ),
        ({"feature_dim": 5}, r"have features random/motion3d that differ in feature_dim \(4 and 5\)"),
        ({"weights_digest": "cd34"}, r"differ in weights_digest \(ab12 and cd34\)"),
        ({"preprocessing": {"mean": 0}}, r"differ in preprocessing \(.*0.45.* and {'mean': 0}\)"),
        ({"layer": "cls"}, r"differ in layer \(mean and cls\)"),
        ({"num_frames": 8}, r"differ in num_frames \(16 and 8\)"),
        ({"frame_size": 256}, r"differ in frame_size \(224 and 256\)"),
        ({"precision": "bfloat16"}, r"differ in precision \(float32 and bfloat16\)"),
        (
            {"precision": "float16", "layer": "cls"},
            r"differ in layer \(mean and cls\); precision \(float32 and float16\)",
        ),
    ],
)
def test_features_that_do_not_go_together(
    small: ModuleType, first: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    make_second(small, tmp_path / "b.zarr", blocks=(), **changes)
    union = open_stores(f"{first},{tmp_path}/b.zarr")
    for use in (
        lambda: union.read_features(*VIEW, np.array([0])),
        lambda: (union.plan_digest("random"), union.backbone_attributes(*VIEW)),
    ):
        with pytest.raises(PlanMismatchError, match=rf"stores .*demo.zarr' and .*b.zarr' do not go .*{message}"):
            use()


def test_what_differs_without_harm_is_said_once(
    small: ModuleType, first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_second(small, tmp_path / "b.zarr", library_versions={"torch": "2.14"}, source="elsewhere")
    union = open_stores(f"{first},{tmp_path}/b.zarr")
    with caplog.at_level(logging.WARNING):
        attributes = union.backbone_attributes(*VIEW)
        union.backbone_attributes(*VIEW)
    assert attributes["weights_digest"] == "ab12"
    assert "library_versions" not in attributes
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "have features random/motion3d that were made with other values of "
        "library_versions ({'torch': '2.13'} and {'torch': '2.14'}); source (None and elsewhere)"
    )


def test_what_one_store_lacks_is_named(union: StoreUnion) -> None:
    with pytest.raises(MissingArrayError, match=r"store .*b.zarr' has no view 'grid'"):
        union.plan_parameters("grid")
    with pytest.raises(MissingArrayError, match="has no features of 'svt'"):
        union.read_features("random", "svt")


@pytest.mark.parametrize("urls", ["a.zarr,", ",a.zarr", "a.zarr,,b.zarr", "", " , "])
def test_commas_stand_between_stores(urls: str) -> None:
    with pytest.raises(ValueError, match="must name stores, separated by single commas"):
        store_urls(urls)


def test_a_store_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"store 'a\.zarr' is named twice"):
        store_urls(f"a.zarr,{tmp_path}/a.zarr")
    assert store_urls("a.zarr, s3://bucket/a.zarr") == ("a.zarr", "s3://bucket/a.zarr")


def test_a_comma_in_a_path(first: Path, tmp_path: Path) -> None:
    first.rename(tmp_path / "a,b.zarr")
    with pytest.raises(
        StoreNotFoundError, match=r"a comma separates stores, so '.*a,b.zarr' cannot be the path of one"
    ):
        open_stores(f"{tmp_path}/a,b.zarr")
    with pytest.raises(StoreNotFoundError, match="there is no feature store at"):
        open_stores(f"{tmp_path}/a,c.zarr")
