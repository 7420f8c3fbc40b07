"""``scale-video search``: the nearest videos and clips, compared with a slow recomputation from the formulas."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import xarray
import zarr
from click.testing import Result
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import load_aggregator
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.pipelines import gallery, search
from scale_video.pipelines.matched_clips import match_clips
from scale_video.pipelines.search import SearchRequest, run_search
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate
from scale_video.store.read import FeatureStore
from scale_video.store.write import BlockWriter

Cli = Callable[..., Result]


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def slow_search(store: Path, checkpoint: Path | None, query: int, by: str) -> list[tuple[str, float]]:
    """Ids and scores of all other videos, the nearest first; a loop over videos."""
    features = FeatureStore.open(store).read_features("random", "motion3d")
    features = features.take(np.flatnonzero(features.valid.any(axis=1)))
    x = np.array([f[v].astype(np.float64).mean(axis=0) for f, v in zip(features.features, features.valid, strict=True)])
    parts = {"x": x}
    if checkpoint is not None:
        embedded = embed_videos(load_aggregator(checkpoint).model, features, flips=True)
        parts |= {"h": embedded.h, "cls": embedded.cls}
    vectors = np.concatenate([parts[part] for part in by.split("+")], axis=1).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    scores = [
        (video, cosine(vectors[row], vectors[query])) for row, video in enumerate(features.video_ids) if row != query
    ]
    return sorted(scores, key=lambda pair: -pair[1])


def slow_match(query: ClipFeatures, ours: Any, found: ClipFeatures, theirs: Any, centre: Any) -> tuple[float, int, int]:
    """Score, the query's clip and the other's; two loops over clips."""
    best = (-2.0, -1, -1)
    for i in range(query.valid.shape[1]):
        for j in range(found.valid.shape[1]):
            if query.valid[0, i] and found.valid[0, j]:
                score = cosine(*((v - centre).astype(np.float64) for v in (ours[i], theirs[j])))
                best = max(best, (score, i, j), key=lambda candidate: candidate[0])
    return best


@pytest.mark.parametrize("by", ["x", "h", "cls", "x+cls", "x+h+cls"])
def test_the_nearest_are_those_of_the_formula(trained_folder: Any, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "_ROWS_AT_A_TIME", 4)
    checkpoint = trained_folder.run / "last.ckpt"
    result = run_search(SearchRequest(str(trained_folder.store), "a/ü 4.mp4", checkpoint, by=by, top=100))
    wanted = slow_search(trained_folder.store, checkpoint, 2, by)
    assert [hit.id for hit in result.hits] == [video for video, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in result.hits], [score for _, score in wanted], atol=1e-5)
    assert (result.query, result.num_searched, len(result.hits)) == ("a/ü 4.mp4", 9, 8)
    assert [hit.rank for hit in result.hits] == list(range(1, 9))


def test_without_a_checkpoint_x_and_raw_clips_are_compared(trained_folder: Any) -> None:
    result = run_search(SearchRequest(str(trained_folder.store), "2", top=3))
    wanted = slow_search(trained_folder.store, None, 2, "x")
    assert [hit.id for hit in result.hits] == [video for video, _ in wanted[:3]]
    store = FeatureStore.open(trained_folder.store)
    everything = store.read_features("random", "motion3d")
    there = np.flatnonzero(everything.valid.any(axis=1))
    centre = everything.features[there].astype(np.float64).mean(axis=1).mean(axis=0)
    for hit in result.hits:
        query, found = (everything.take(np.array([row])) for row in (2, store.ids.index(hit.id)))
        ours, theirs = (one.features[0].astype(np.float64) for one in (query, found))
        score, i, j = slow_match(query, ours, found, theirs, centre)
        assert (hit.matched.query_clip, hit.matched.clip) == (i, j)
        assert hit.matched.score == pytest.approx(score, abs=1e-4)
    with pytest.raises(ValueError, match="--by cls needs an aggregator; name it by --checkpoint"):
        run_search(SearchRequest(str(trained_folder.store), "2", by="cls"))


def test_the_matching_clips_are_those_of_refined_vectors(trained_folder: Any) -> None:
    checkpoint = trained_folder.run / "last.ckpt"
    result = run_search(SearchRequest(str(trained_folder.store), "2", checkpoint, top=4))
    store, model = FeatureStore.open(trained_folder.store), load_aggregator(checkpoint).model
    everything = store.read_features("random", "motion3d")
    everything = everything.take(np.flatnonzero(everything.valid.any(axis=1)))
    refined = embed_clips(model, everything, flips=True)
    centre = embed_videos(model, everything, flips=True).h.mean(axis=0)
    for hit in result.hits:
        row = everything.video_ids.index(hit.id)
        query, found = (everything.take(np.array([one])) for one in (2, row))
        score, i, j = slow_match(query, refined[2], found, refined[row], centre)
        matched = hit.matched
        assert (matched.query_clip, matched.clip) == (i, j)
        assert matched.score == pytest.approx(score, abs=1e-4)
        for seconds, video, clip, side in (
            (matched.start_seconds, found, j, Coordinate.START),
            (matched.end_seconds, found, j, Coordinate.END),
            (matched.query_start_seconds, query, i, Coordinate.START),
            (matched.query_end_seconds, query, i, Coordinate.END),
        ):
            assert seconds == video.coordinates[0, clip, side]


def test_clips_that_are_not_valid_never_match() -> None:
    rng = np.random.default_rng(0)
    valid = np.array([[True, False, True, True], [False, True, True, False]])
    both = ClipFeatures(
        ("a", "b"), rng.normal(size=(2, 4, 3)).astype(np.float16), rng.random((2, 4, 7), np.float32), valid
    )
    one, other = both.take(np.array([0])), both.take(np.array([1]))
    vectors = rng.normal(size=(2, 4, 3)).astype(np.float32)
    vectors[1, 0] = vectors[0, 2]  # equal, but not there
    centre = rng.normal(size=3).astype(np.float32)
    matched = match_clips(one, vectors[0], other, vectors[1], centre=centre)
    score, i, j = slow_match(one, vectors[0], other, vectors[1], centre)
    assert (matched.query_clip, matched.clip) == (i, j)
    assert matched.score == pytest.approx(score, abs=1e-5)


def test_embeddings_are_used_again_and_others_refused(trained_folder: Any, run_cli: Cli, tmp_path: Path) -> None:
    store, checkpoint = trained_folder.store, trained_folder.run / "last.ckpt"
    run_cli("embed", store, "--checkpoint", checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        fresh = run_search(SearchRequest(str(store), "2", checkpoint))
        patch.setattr(search, "embed_gallery", None)  # nothing of the store is embedded again
        again = run_search(SearchRequest(str(store), "2", checkpoint, embeddings=Path("embeddings.zarr")))
        raw = run_search(SearchRequest(str(store), "2", embeddings=Path("embeddings.zarr")))
    assert [hit.id for hit in again.hits] == [hit.id for hit in fresh.hits]
    assert [hit.matched for hit in again.hits] == [hit.matched for hit in fresh.hits]
    np.testing.assert_allclose([hit.score for hit in again.hits], [hit.score for hit in fresh.hits], atol=1e-6)
    assert [hit.id for hit in raw.hits] == [video for video, _ in slow_search(store, None, 2, "x")]

    def refused(**given: Any) -> str:
        with pytest.raises(ValueError) as error:
            run_search(
                SearchRequest(**{"store": str(store), "query": "2", "embeddings": Path("embeddings.zarr"), **given})
            )
        return str(error.value)

    other_weights = _with_other_weights(checkpoint, tmp_path / "other.ckpt")
    assert "were made by another checkpoint (aggregator_digest: " in refused(checkpoint=other_weights)
    other = shutil.copytree(store, tmp_path / "other.zarr")
    block = FeatureStore.open(other).read_block("random", "motion3d", 0)
    block.features[0] *= 2
    BlockWriter(str(other), view="random", backbone="motion3d").write(block)
    assert "were made of other features than the store's (features_digest: " in refused(store=str(other))
    assert "no embeddings at" in refused(embeddings=tmp_path / "none.zarr")
    assert "no embeddings at" in refused(embeddings=store)
    assert "let `scale-video embed` write a .zarr" in refused(embeddings=Path("embeddings.parquet"))
    zarr.open_group("embeddings.zarr")["id"][3] = "unknown"
    assert "are damaged: the store has no 'unknown'" in refused()
    array = zarr.open_group("embeddings.zarr")["x"]
    array.resize((array.shape[0] - 1, array.shape[1]))
    assert "'embeddings.zarr' is damaged" in refused()


def _with_other_weights(checkpoint: Path, path: Path) -> Path:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["aggregator.norm.weight"] *= 2
    torch.save(content, path)
    return path


def test_a_file_is_searched_by_the_vectors_that_embed_gives_it(
    trained_folder: Any, run_cli: Cli, tmp_path: Path
) -> None:
    """Under a name of its own its clips are others than those of the store; a path beneath the data root is a row."""
    file = tmp_path / "new.mp4"
    shutil.copy(trained_folder.videos / "a" / "ü 4.mp4", file)
    run_cli("embed", file, "--checkpoint", trained_folder.run, "--output", "file.zarr")
    run_cli("embed", trained_folder.store, "--checkpoint", trained_folder.run, "--output", "stored.zarr")
    with xarray.open_zarr("file.zarr") as one, xarray.open_zarr("stored.zarr") as stored:
        query, gallery = (np.concatenate([d.x.values, d.cls.values], axis=1).astype(np.float64) for d in (one, stored))
        ids = stored["id"].values.tolist()
    mean = gallery.mean(axis=0)
    wanted = sorted(
        zip(ids, (cosine(row - mean, query[0] - mean) for row in gallery), strict=True), key=lambda p: -p[1]
    )
    common = ("search", trained_folder.store, "--checkpoint", trained_folder.run, "--json")
    found = json.loads(run_cli(*common, "--query", file, "--top", 9).stdout)
    assert (found["query"], found["by"]) == ("new.mp4", "x+cls")
    assert [(hit["id"], round(hit["score"], 3)) for hit in found["hits"]] == [(v, round(s, 3)) for v, s in wanted]
    by_path = run_cli(*common, "--query", trained_folder.videos / "a" / "ü 4.mp4", "--data", trained_folder.videos)
    assert json.loads(by_path.stdout) == json.loads(run_cli(*common, "--query", "a/ü 4.mp4").stdout)


def test_what_cannot_be_searched_by(trained_folder: Any, run_cli: Cli) -> None:
    common = ("search", trained_folder.store)
    assert "did you mean 'a/ü 4.mp4'" in run_cli(*common, "--query", "ü 4", status=1).stderr
    broken = trained_folder.videos / "b" / "broken.mp4"
    assert "'b/broken.mp4' has no features" in run_cli(*common, "--query", "b/broken.mp4", status=1).stderr
    assert "cannot be searched by: corrupt, " in run_cli(*common, "--query", broken, status=1).stderr
    other = run_cli(*common, "--query", trained_folder.videos / "a" / "ü 4.mp4", "--weights", "motion3d-ssl", status=1)
    assert "name the right weights by --weights FAMILY:SOURCE@motion3d" in other.stderr
    assert "--by 'y' is none of x, h, cls" in run_cli(*common, "--query", "2", "--by", "y", status=1).stderr


def pixels(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_strips_show_both_clips(trained_folder: Any, run_cli: Cli, tmp_path: Path) -> None:
    """As ``show`` does, one above the other; where a file is gone there is a note, and the others are drawn."""
    data = shutil.copytree(trained_folder.videos, tmp_path / "data")
    common = ("search", trained_folder.store, "--query", "a/ü 4.mp4", "--strips", "found", "--top", 3, "--json")
    hits = json.loads(run_cli(*common, "--data", data).stdout)["hits"]
    show = ("show", trained_folder.store, "--data", data, "--output", "one.png")
    for rank, hit in enumerate(hits, start=1):
        assert hit["strip"] == f"found/{rank:02d}-{Path(hit['path']).stem}.png"
        strip = pixels(Path(hit["strip"]))
        size = strip.shape[0] // 2
        run_cli(*show, "--video", "a/ü 4.mp4", "--clip", hit["matched"]["query_clip"])
        np.testing.assert_array_equal(strip[:size], pixels(Path("one.png")))
        run_cli(*show, "--video", hit["id"], "--clip", hit["matched"]["clip"])
        np.testing.assert_array_equal(strip[size:], pixels(Path("one.png")))
    (data / hits[1]["path"]).unlink()
    result = run_cli(*common, "--data", data)
    assert [hit["strip"] is None for hit in json.loads(result.stdout)["hits"]] == [False, True, False]
    assert f"{hits[1]['path']}': missing, " in result.stderr
    assert "1 other pictures in found are not of this search" in result.stderr  # that of the file, from before
    nowhere = run_cli("search", trained_folder.store, "--query", "2", "--strips", "none")
    assert "no strips: the videos of data set 'folder' have no usual place" in nowhere.stderr
    assert "nearest of 9 videos by x of random/motion3d" in nowhere.stdout
    file = run_cli("search", trained_folder.store, "--query", data / "a" / "ü 4.mp4", "--strips", "file", "--top", 1,
                   "--data", trained_folder.videos)  # fmt: skip
    assert "1 strips in file" in file.stderr
