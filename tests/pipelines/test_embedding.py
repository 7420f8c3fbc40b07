"""``scale-video embed STORE``: the vectors are the aggregator's; the file is anybody's, there whole or not at all."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array
import numpy as np
import pyarrow.parquet
import pytest
import xarray
from click.testing import Result
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import CheckpointError, load_aggregator
from scale_video.aggregate.embed import embed_videos
from scale_video.pipelines import embedding, embedding_files
from scale_video.pipelines.embedding import EmbedRequest, run_embed
from scale_video.pipelines.export import run_export
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations
from scale_video.store.errors import IncompleteStoreError
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores
from scale_video.store.write import BlockWriter

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]
Cli = Callable[..., Result]
FAILED = (3, 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_store: MakeStore, small_training: tuple[str, ...]) -> Any:
    """A store of random features, two of whose videos have none, and an aggregator trained on it."""
    root = tmp_path_factory.mktemp("embedding")
    store = make_store(root / "a.zarr", failed=FAILED)
    request = ExperimentRequest(
        dataset="folder", store=store, preset="honest", overrides=small_training[1::2], runs=root / "runs"
    )
    (checkpoint,) = run_pretraining(request)
    return SimpleNamespace(store=store, checkpoint=checkpoint, request=request)


def expected(store: str, checkpoint: Path, *, view: str = "random") -> VideoRepresentations:
    """All videos that have features, at once."""
    features = open_stores(store).read_features(view, "tiny")
    features = features.take(np.flatnonzero(features.valid.any(axis=1)))
    return embed_videos(load_aggregator(checkpoint).model, features, flips=view == "random")


def same(one: NDArray[Any], other: NDArray[Any]) -> None:
    assert (one.dtype, one.shape) == (np.float32, other.shape)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("view", ["random", "grid"])
def test_a_group_that_xarray_and_dask_read(made: Any, tmp_path: Path, view: str) -> None:
    result = run_embed(EmbedRequest(made.checkpoint, made.store, output=tmp_path / "o.zarr", view=view))
    assert (result.num_videos, result.num_left_out) == (38, 2)
    wanted = expected(made.store, made.checkpoint, view=view)
    with xarray.open_zarr(tmp_path / "o.zarr") as found:
        assert found.x.dims == ("video", "feature")
        assert found.h.dims == found.cls.dims == ("video", "channel")
        assert tuple(found["id"].values) == tuple(found["video"].values) == wanted.video_ids
        assert tuple(found["path"].values) == wanted.video_ids
        assert (found["num_clips"].values == 16).all()
        for name in ("x", "h", "cls"):
            same(found[name].values, getattr(wanted, name))
        same(found.cls.sel(video="a/04.mp4").values, wanted.cls[wanted.video_ids.index("a/04.mp4")])
        assert found.attrs["view"] == view
        assert found.attrs["num_left_out"] == 2
        assert str(tmp_path) not in json.dumps(found.attrs)
    same(dask.array.from_zarr(str(tmp_path / "o.zarr"), component="h").compute(), wanted.h)


def test_parquet(made: Any, tmp_path: Path) -> None:
    run_embed(EmbedRequest(made.checkpoint, made.store, output=tmp_path / "o.parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "o.parquet")
    wanted = expected(made.store, made.checkpoint)
    assert table.column_names == ["id", "path", "num_clips", "x", "h", "cls"]
    assert tuple(table["id"].to_pylist()) == wanted.video_ids
    assert str(table.schema.field("cls").type) == "fixed_size_list<element: float>[32]"
    for name in ("x", "h", "cls"):
        same(np.array(table[name].to_pylist(), dtype=np.float32), getattr(wanted, name))
    metadata = pyarrow.parquet.read_metadata(tmp_path / "o.parquet").metadata
    attributes = json.loads(metadata[b"scale_video"])
    assert attributes["format"] == "scale-video-embeddings"
    assert attributes["features_digest"] == embedding.features_digest(
        FeatureStore.open(made.store), view="random", backbone="tiny"
    )


def test_equal_runs_make_equal_bytes_and_an_export_the_same_as_its_checkpoint(made: Any, tmp_path: Path) -> None:
    export = run_export(made.checkpoint, tmp_path / "x.safetensors").output
    for name, checkpoint in (("one", made.checkpoint), ("two", export)):
        run_embed(EmbedRequest(checkpoint, made.store, output=tmp_path / f"{name}.zarr"))
    one, two = (
        {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        for root in (tmp_path / "one.zarr", tmp_path / "two.zarr")
    )
    assert one == two
    assert len(one) > 8


def test_features_that_change_meanwhile_are_not_called_those_of_before(
    made: Any, tmp_path: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "a.zarr")
    runs = embedding.Features.runs

    def extracted_anew(self: embedding.Features) -> Iterator[Any]:
        yield from runs(self)
        block = FeatureStore.open(store).read_block("random", "tiny", 0)
        block.features[:] *= 2
        BlockWriter(store, view="random", backbone="tiny").write(block)

    monkeypatch.setattr(embedding.Features, "runs", extracted_anew)
    with pytest.raises(IncompleteStoreError, match=r"random/tiny .* were extracted anew while they were embedded"):
        run_embed(EmbedRequest(made.checkpoint, store, output=tmp_path / "o.zarr"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr"}


def test_small_runs_and_chunks_change_nothing_and_bound_what_is_read(
    made: Any, tmp_path: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A union of stores in blocks of 20; runs of one block; chunks of 7 rows across them."""
    names = [make_store(tmp_path / f"{name}.zarr", failed=failed, prefix=name, num_videos=20)
             for name, failed in (("p", (0,)), ("q", range(20)), ("r", (5, 19)))]  # fmt: skip
    union = ",".join(names)
    monkeypatch.setattr(embedding, "RUN_BYTES", 1)
    monkeypatch.setattr(embedding_files, "ROWS_PER_CHUNK", 7)
    num_rows = []
    read = FeatureStore.read_features

    def counting(self: FeatureStore, view: str, backbone: str, rows: Any = None, **given: Any) -> ClipFeatures:
        num_rows.append(len(rows))
        return read(self, view, backbone, rows, **given)

    monkeypatch.setattr(FeatureStore, "read_features", counting)
    result = run_embed(EmbedRequest(made.checkpoint, union, output=tmp_path / "o.zarr"))
    assert max(num_rows) == 20
    monkeypatch.undo()
    wanted = expected(union, made.checkpoint)
    assert (result.num_videos, result.num_left_out) == (37, 23)
    with xarray.open_zarr(tmp_path / "o.zarr") as found:
        assert tuple(found["id"].values) == wanted.video_ids
        assert found.x.data.chunks[0] == (7, 7, 7, 7, 7, 2)
        for name in ("x", "h", "cls"):
            same(found[name].values, getattr(wanted, name))


@pytest.mark.parametrize("suffix", ["zarr", "parquet"])
def test_nothing_is_left_of_what_fails_midway(
    made: Any, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any, **given: Any) -> Iterator[Any]:
        yield from list(real(*args, **given))
        raise OSError("the disk is gone")

    real = embedding.Features.runs
    monkeypatch.setattr(embedding.Features, "runs", failing)
    monkeypatch.setattr(embedding_files, "ROWS_PER_CHUNK", 7)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="the disk is gone"):
        run_embed(EmbedRequest(made.checkpoint, made.store, output=tmp_path / "out" / f"o.{suffix}"))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_refused_before_anything_is_read(
    made: Any, tmp_path: Path, make_store: MakeStore, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object) -> str:
        return run_cli("embed", *args, "--checkpoint", made.checkpoint, status=1).stderr

    other = make_store(tmp_path / "other.zarr", weights_digest="w1")
    assert "reads features of other weights than these (weights_digest: 'w0' != 'w1')" in refused(other)
    renamed = make_store(tmp_path / "renamed.zarr", backbone="called-otherwise")
    assert "embeddings.zarr: 40 videos (" in run_cli("embed", renamed, "--checkpoint", made.checkpoint).stdout
    assert "'embeddings.zarr' is there already; delete it" in refused(made.store)
    assert "has no features of 'big'; it has: tiny" in refused(made.store, "--backbone", "big", "--output", "b.zarr")
    assert "has no view 'wide'; it has: grid, random" in refused(made.store, "--view", "wide", "--output", "b.zarr")
    assert "--output must end in .zarr or .parquet, got 'o.npy'" in refused(made.store, "--output", "o.npy")
    assert "must be a local path, got 's3:/bucket/o.zarr'" in refused(made.store, "--output", "s3://bucket/o.zarr")
    assert "name one (or A.zarr,B.zarr), or files, but not both" in refused(made.store, "a.mp4")
    assert "--store and --data are of files" in refused(made.store, "--data", ".", "--output", "b.zarr")
    empty = make_store(tmp_path / "empty.zarr", failed=range(40))
    assert "has features of 'tiny': nothing is written" in refused(empty, "--output", "b.zarr")
    (tmp_path / "new").mkdir()
    for given in ((tmp_path / "new",), (tmp_path / "new", "a.mp4")):
        assert "new' is a folder and no store; name its files" in refused(*given, "--output", "b.zarr")
    assert "there is no feature store at" in refused("none.zarr", "--output", "b.zarr")
    assert sorted(path.name for path in tmp_path.glob("*b.zarr*")) == []


def test_features_that_are_missing_and_aggregators_of_an_ablation_are_refused(
    made: Any, tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "part.zarr")
    next((Path(store) / "random" / "tiny" / "features").glob("c*")).unlink()
    with pytest.raises(IncompleteStoreError, match=r"1 of 1 blocks of random/tiny in store .* are not extracted yet"):
        run_embed(EmbedRequest(made.checkpoint, store, output=tmp_path / "o.zarr"))
    shuffled = request_for(made.store, "pretrain.shuffle_positions=true")
    (checkpoint,) = run_pretraining(shuffled)
    with pytest.raises(CheckpointError, match="was trained with shuffled positions, an ablation"):
        run_embed(EmbedRequest(checkpoint, made.store, output=tmp_path / "o.zarr"))


def test_the_command(made: Any, run_cli: Cli) -> None:
    said = json.loads(
        run_cli("embed", made.store, "--checkpoint", made.checkpoint.parent, "--output", "o.parquet", "--json").stdout
    )
    assert {"output": "o.parquet", "num_videos": 38, "num_left_out": 2, "feature_dim": 4, "channel_dim": 32,
            "failures": []}.items() <= said.items()  # fmt: skip
    printed = run_cli("embed", made.store, "--checkpoint", made.checkpoint).stdout
    assert printed.startswith("embeddings.zarr: 38 videos, 2 without features left out (")
