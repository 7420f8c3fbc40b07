"""Neighbours on the pages, compared with loops over the formulas."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import load_aggregator
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.pipelines.embedding import EmbedRequest, run_embed
from scale_video.pipelines.explorer import neighbours
from scale_video.pipelines.explorer.background import Background
from scale_video.pipelines.explorer.directions import DirectionsBuilder, cosines
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.explorer.neighbours import Neighbourhoods, VectorIndex
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.errors import IncompleteStoreError
from scale_video.store.union import open_stores

TINY = FeatureSet("random", "tiny")
QUERY = 12


@contextmanager
def finder(store: str, checkpoint: Path | None, embeddings: Path | None = None) -> Iterator[Neighbourhoods]:
    with closing(Background()) as background:
        yield Neighbourhoods(open_stores(store), background, checkpoint=checkpoint, embeddings=embeddings, device="cpu")


def ready(found: Neighbourhoods, by: str) -> VectorIndex:
    index = found.index(TINY)
    while waiting := found.prepare(index, by):
        assert not any(task.error for task in waiting), waiting
        time.sleep(0.01)
    return index


def everything(store: str) -> tuple[NDArray[np.int64], ClipFeatures]:
    """Rows of videos with features, and these."""
    features = open_stores(store).read_features("random", "tiny")
    rows = np.flatnonzero(features.valid.any(axis=1))
    return rows, features.take(rows)


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def slow_videos(store: str, checkpoint: Path, by: str, among: set[int]) -> list[tuple[int, float]]:
    """Rows and scores of other videos, the nearest first: one video at a time."""
    rows, features = everything(store)
    embedded = embed_videos(load_aggregator(checkpoint).model, features, flips=True)
    x = [f[v].astype(np.float64).mean(axis=0) for f, v in zip(features.features, features.valid, strict=True)]
    parts = {"x": np.array(x), "h": embedded.h, "cls": embedded.cls}
    vectors = np.concatenate([parts[part] for part in by.split("+")], axis=1).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    of_row = dict(zip(rows.tolist(), vectors, strict=True))
    scores = [(row, cosine(of_row[QUERY], of_row[row])) for row in of_row if row != QUERY and row in among]
    return sorted(scores, key=lambda pair: -pair[1])


def slow_clips(store: str, checkpoint: Path, by: str, clip: int, among: set[int]) -> list[tuple[int, int, float]]:
    """Rows of other videos, the best clip of each, and its score: one clip at a time."""
    rows, features = everything(store)
    model = load_aggregator(checkpoint).model
    clips = features.features.astype(np.float64) if by == "x" else embed_clips(model, features, flips=True)
    pairs = list(zip(clips, features.valid, strict=True))
    centre = np.mean([video[valid].astype(np.float64).mean(axis=0) for video, valid in pairs], axis=0)
    query = clips[rows.tolist().index(QUERY)][clip] - centre
    found = []
    for row, (video, valid) in zip(rows.tolist(), pairs, strict=True):
        if row != QUERY and row in among:
            scores = [cosine(query, video[one] - centre) if valid[one] else -2 for one in range(len(valid))]
            found.append((row, int(np.argmax(scores)), max(scores)))
    return sorted(found, key=lambda one: -one[2])


@pytest.mark.parametrize("by", ["x", "h", "cls", "x+cls", "x+h+cls"])
@pytest.mark.parametrize("some", [False, True])
def test_the_nearest_videos_are_those_of_the_formula(explored: Any, by: str, some: bool) -> None:
    among = np.ones(60, bool)
    if some:
        among[::3] = False
    with finder(explored.store, explored.checkpoint) as found:
        result = found.of_video(ready(found, by), QUERY, by=by, among=among, top=100)
    wanted = slow_videos(explored.store, explored.checkpoint, by, set(np.flatnonzero(among).tolist()))
    assert result is not None
    assert [one.row for one in result.neighbours] == [row for row, _ in wanted]
    np.testing.assert_allclose([one.score for one in result.neighbours], [score for _, score in wanted], atol=2e-5)
    assert (result.num_compared, result.of_all) == (len(wanted), True)


@pytest.mark.parametrize("by", ["x", "h"])
def test_the_nearest_clips_are_those_of_the_formula(explored: Any, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scale_video.pipelines.explorer.clip_search._CLIPS_AT_A_TIME", 35)  # runs are cut up
    among = np.ones(60, bool)
    among[20:30] = False
    with finder(explored.store, explored.checkpoint) as found:
        result = found.of_clip(ready(found, by), QUERY, 2, by=by, among=among, top=100, everywhere=False)
    wanted = slow_clips(explored.store, explored.checkpoint, by, 2, set(np.flatnonzero(among).tolist()))
    assert result is not None
    assert [(one.row, one.clip) for one in result.neighbours] == [(row, clip) for row, clip, _ in wanted]
    np.testing.assert_allclose([one.score for one in result.neighbours], [score for *_, score in wanted], atol=2e-5)
    assert result.of_all


def test_of_many_videos_the_nearest_are_looked_at_first_and_all_on_demand(
    explored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "EVERYTHING_BYTES", 0)
    monkeypatch.setattr(neighbours, "NUM_CANDIDATES", 9)
    monkeypatch.setattr(neighbours, "_VIDEOS_AT_A_TIME", 4)
    all_of_them = set(range(60))
    rows, features = everything(explored.store)
    pairs = zip(features.features.astype(np.float64), features.valid, strict=True)
    means = np.array([clips[valid].mean(axis=0) for clips, valid in pairs])
    clip = features.features[rows.tolist().index(QUERY), 0] - means.mean(axis=0)
    alike = {row: cosine(clip, mean - means.mean(axis=0)) for row, mean in zip(rows.tolist(), means, strict=True)}
    near = set(sorted(alike.keys() - {QUERY}, key=lambda row: -alike[row])[:9])
    with finder(explored.store, explored.checkpoint) as found:
        index, among = ready(found, "x"), np.ones(60, bool)
        few = found.of_clip(index, QUERY, 0, by="x", among=among, top=5, everywhere=False)
        many = found.of_clip(index, QUERY, 0, by="x", among=among, top=5, everywhere=True)
    assert few is not None
    assert many is not None
    for result, candidates, of_all in ((few, near, False), (many, all_of_them, True)):
        wanted = slow_clips(explored.store, explored.checkpoint, "x", 0, candidates)[:5]
        assert [(one.row, one.clip) for one in result.neighbours] == [(row, clip) for row, clip, _ in wanted]
        assert result.of_all is of_all
    assert (few.num_compared, many.num_compared) == (9, 58)


def test_what_embed_wrote_gives_the_same_neighbours(explored: Any, tmp_path: Path) -> None:
    embeddings = tmp_path / "e.zarr"
    run_embed(EmbedRequest(explored.checkpoint, explored.store, output=embeddings))
    results = []
    for given in (None, embeddings):
        with finder(explored.store, explored.checkpoint, given) as found, pytest.MonkeyPatch.context() as patch:
            if given is not None:
                patch.setattr(neighbours, "_parts_of", None)  # nothing is embedded again
            index = ready(found, "x+cls")
            results.append(found.of_video(index, QUERY, by="x+cls", among=np.ones(60, bool), top=100))
    assert results[0] is not None
    assert results[1] is not None
    assert [one.row for one in results[0].neighbours] == [one.row for one in results[1].neighbours]


def test_videos_and_clips_without_features_have_no_neighbours(explored: Any) -> None:
    with finder(explored.store, None) as found:
        index, among = ready(found, "x"), np.ones(60, bool)
        assert index.choices == ("x",)
        assert "--checkpoint" in index.why_not_learned
        assert found.of_video(index, 7, by="x", among=among, top=3) is None
        assert found.of_clip(index, 9, 3, by="x", among=among, top=3, everywhere=False) is None
        assert found.of_clip(index, 9, 77, by="x", among=among, top=3, everywhere=False) is None
        result = found.of_clip(index, 9, 1, by="x", among=among, top=60, everywhere=False)
    assert result is not None
    assert not {7, 9} & {one.row for one in result.neighbours}


def test_an_aggregator_of_other_features_is_not_used(
    store_maker: Callable[..., str], explored: Any, tmp_path: Path
) -> None:
    store = store_maker(str(tmp_path / "other.zarr"), weights_digest="w1")
    with finder(store, explored.checkpoint) as found:
        index = ready(found, "x")
        assert "weights" in index.why_not_learned
        assert index.choices == ("x",)


def test_features_that_are_not_complete_are_refused(store_maker: Callable[..., str], tmp_path: Path) -> None:
    store = store_maker(str(tmp_path / "half.zarr"), num_committed=3)
    with finder(store, None) as found, pytest.raises(IncompleteStoreError, match="5 of 8 blocks of random/tiny"):
        found.index(TINY)


def test_two_stores_are_searched_as_one(store_maker: Callable[..., str], explored: Any, tmp_path: Path) -> None:
    both = f"{explored.store},{store_maker(str(tmp_path / 'more.zarr'), seed=1, prefix='more/')}"
    with finder(both, None) as found:
        result = found.of_video(ready(found, "x"), QUERY, by="x", among=np.ones(120, bool), top=200)
    assert result is not None
    rows, features = everything(both)
    x = np.array([f[v].astype(np.float64).mean(axis=0) for f, v in zip(features.features, features.valid, strict=True)])
    x -= x.mean(axis=0)
    scores = {row: cosine(x[place], x[rows.tolist().index(QUERY)]) for place, row in enumerate(rows.tolist())}
    assert [one.row for one in result.neighbours] == sorted(scores.keys() - {QUERY}, key=lambda row: -scores[row])


def test_little_is_lost_in_half_the_memory_though_the_mean_is_large() -> None:
    rng = np.random.default_rng(0)
    vectors = (50 + rng.normal(size=(20_000, 24)) * 0.05 + np.repeat(rng.normal(size=(20, 24)), 1000, 0) * 0.1).astype(
        np.float32
    )
    builder = DirectionsBuilder(30_000)
    for first in range(0, 20_000, 3_000):  # the first run has but three of the twenty classes
        some = np.arange(first, min(first + 3_000, 20_000))
        builder.add(2 * some, vectors[some])
    made = builder.finish()
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(made.lengths, lengths, rtol=1e-4)
    found, wanted = cosines({"x": made}, "x", 77), centred @ centred[77] / (lengths * lengths[77])
    assert np.abs(found - wanted).max() < 1e-4
    rounded_first = vectors.astype(np.float16).astype(np.float64)
    rounded_first -= rounded_first.mean(axis=0)
    naive = (
        rounded_first @ rounded_first[77] / (np.linalg.norm(rounded_first, axis=1) * np.linalg.norm(rounded_first[77]))
    )
    assert np.abs(naive - wanted).max() > 0.02  # what centring first is for
    assert made.rows.tolist() == (2 * np.arange(20_000)).tolist()


def test_videos_out_of_order_are_refused() -> None:
    builder = DirectionsBuilder(4)
    with pytest.raises(ValueError, match="no video has features"):
        builder.finish()
    builder.add(np.array([2, 1]), np.eye(2, 3, dtype=np.float32))
    with pytest.raises(ValueError, match="in the order of the store"):
        builder.finish()
