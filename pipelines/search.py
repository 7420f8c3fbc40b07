"""``scale-video search``: the videos of a store that are nearest to one, with the clips that match best.

Every video is compared (exact search): cosine of vectors that are centred by the store's mean, as for our k-NN. Memory
holds one vector a video, and features of a run of blocks.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.backbones.placement import choose
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.pipelines.console import note
from scale_video.pipelines.embedding import RUN_BYTES, Features, load_for_use
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.file_features import name_files, read_files
from scale_video.pipelines.find_video import close_matches, find_in_stores
from scale_video.pipelines.gallery import (
    VectorsOf,
    centred_cosines,
    embed_gallery,
    nearest_first,
    open_embeddings,
    read_gallery,
)
from scale_video.pipelines.matched_clips import MatchedClip, match_clips
from scale_video.pipelines.recorded_backbone import check_recorded, load_recorded
from scale_video.pipelines.strips import StripOrder, write_strips
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.read import FeatureStore
from scale_video.store.union import DatasetUnion, ReadableStore, open_stores

REPRESENTATIONS: Final = ("x", "h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is looked for, and where."""

    store: str
    query: str
    """Id, path or row of a video of the store, or a file."""
    checkpoint: Path | None = None
    by: str | None = None
    """``x+cls`` when None; without a checkpoint ``x``, which needs none."""
    top: int = 10
    embeddings: Path | None = None
    """What ``embed`` wrote of this store by this checkpoint: nothing of the store is embedded again."""
    strips: Path | None = None
    """Folder for pictures of the clips that match."""
    data_root: Path | None = None
    view: str | None = None
    backbone: str | None = None
    weights: str | None = None
    """``family:source``: where the backbone's weights are, if its own source does not lead to them."""
    device: str = "auto"
    limits: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True)
class Hit:
    """A video that was found."""

    rank: int
    """From 1."""
    id: str
    path: str
    score: float
    """Cosine of the centred vectors."""
    matched: MatchedClip
    """The pair of clips, one of each video, that are most alike."""
    strip: Path | None = None
    """Picture of these two; None where none was asked for, or a file is gone."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The videos that were found, the nearest first."""

    query: str
    """Id of the query."""
    by: str
    view: str
    backbone: str
    num_searched: int
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class _Query:
    id: str
    row: int | None
    """Of the store; None for a file."""
    features: ClipFeatures
    """Of one video."""
    order: VideoOrder | None
    """What decodes the clips of a file."""


def run_search(request: SearchRequest) -> SearchResult:
    """Find the nearest videos, the clips of each that match best, and draw these if asked to.

    Raises:
        StoreError: the store, view or features are not there, or not complete.
        ValueError: no such video or file, a query without features, embeddings or a checkpoint of other features.
    """
    by = _representation(request)
    store = open_stores(request.store, several_datasets=True)
    loaded = load_for_use(request.checkpoint) if request.checkpoint is not None else None
    chosen = Features.choose(store, loaded, path=request.checkpoint, view=request.view, backbone=request.backbone)
    vectors = VectorsOf(loaded, by, flips=chosen.flips, device=choose(request.device, "auto")[0])
    embeddings = open_embeddings(request.embeddings, chosen, loaded) if request.embeddings is not None else None
    query = _query(request, chosen)
    gallery = embed_gallery(chosen, vectors) if embeddings is None else read_gallery(embeddings, chosen, vectors)
    scores = centred_cosines(gallery.vectors, vectors.of_videos(query.features)[0])
    others = np.flatnonzero(gallery.rows != (-1 if query.row is None else query.row))
    nearest = nearest_first(scores, others, request.top)
    rows = gallery.rows[nearest]
    matches = _matches(store, chosen, vectors, query, rows, centre=gallery.mean_clip)
    paths = store.column("path")[rows]
    hits = [
        Hit(rank, store.ids[row], str(path), score=float(scores[place]), matched=matched)
        for rank, (row, path, place, matched) in enumerate(zip(rows, paths, nearest, matches, strict=True), start=1)
    ]
    if request.strips is not None:
        hits = _with_strips(request, chosen, query, hits, rows)
    return SearchResult(query.id, by, chosen.view, chosen.backbone, len(gallery.rows), tuple(hits))


def _representation(request: SearchRequest) -> str:
    by = request.by or ("x" if request.checkpoint is None else "x+cls")
    if by not in REPRESENTATIONS:
        raise ValueError(f"--by {by!r} is none of {', '.join(REPRESENTATIONS)}")
    if request.checkpoint is None and by != "x":
        raise ValueError(f"--by {by} needs an aggregator; name it by --checkpoint, or search by x")
    return by


def _query(request: SearchRequest, chosen: Features) -> _Query:
    store, text = chosen.store, request.query
    row = _row(store, text, data_root=request.data_root)
    if row is not None:
        features = store.read_features(chosen.view, chosen.backbone, np.array([row]))
        if not features.valid.any():
            raise ValueError(
                f"{features.video_ids[0]!r} has no features in {chosen.view}/{chosen.backbone}; name another"
            )
        return _Query(features.video_ids[0], row, features, None)
    path = Path(text).expanduser()
    if path.is_file():
        return _of_file(request, chosen, path)
    close = close_matches(store.ids, text)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ValueError(f"{text!r} is neither a file nor a video of store {request.store!r}{hint}")


def _row(store: ReadableStore, text: str, *, data_root: Path | None) -> int | None:
    """The row of the video that a text means; of several data sets also by the id that it has among them."""
    if isinstance(store, DatasetUnion) and text in store.ids:
        return store.ids.index(text)
    stores = (store,) if isinstance(store, FeatureStore) else store.stores
    found = find_in_stores(stores, text, data_root=data_root)
    if found is None:
        return None
    one, row = found
    return row + sum(before.num_videos for before in stores[: stores.index(one)])


def _of_file(request: SearchRequest, chosen: Features, path: Path) -> _Query:
    recipe = FeatureRecipe.of_store(chosen.store, view=chosen.view, backbone=chosen.backbone)
    recipe.drawn_view()
    inside = request.data_root is not None and path.absolute().is_relative_to(request.data_root.expanduser().absolute())
    files = name_files([path], data_root=request.data_root.expanduser() if inside and request.data_root else None)
    given = parse_backbone(request.weights) if request.weights else None
    backbone = load_recorded(recipe.backbone, recipe.attributes, device=request.device, given=given, option="--weights")
    where = f"{chosen.view}/{chosen.backbone} in store {chosen.store.url!r}"
    check_recorded(backbone, recipe.backbone, recipe.attributes, where=where, option="--weights")
    with closing(ClipDecoders(request.limits)) as decoders:
        (read,) = read_files(files, recipe, backbone, decoders)
    outcome = read.outcomes[0]
    if not read.features.valid.any():
        raise ValueError(f"{str(path)!r} cannot be searched by: {outcome.status.name.lower()}, {outcome.error}")
    if outcome.status.is_failure:
        note(f"{path}: {outcome.status.name.lower()}, {outcome.error}; searching by what is there")
    return _Query(files[0].id, None, read.features, read.orders[0])


def _matches(
    store: ReadableStore,
    chosen: Features,
    vectors: VectorsOf,
    query: _Query,
    rows: NDArray[np.int64],
    *,
    centre: NDArray[np.float32],
) -> Iterator[MatchedClip]:
    """The pair of clips of the query and of each row that are most alike."""
    ours = vectors.of_clips(query.features)[0]
    row_bytes = store.num_clips(chosen.view) * store.feature_dim(chosen.view, chosen.backbone) * 2
    at_a_time = max(1, RUN_BYTES // row_bytes)
    for first in range(0, len(rows), at_a_time):
        found = store.read_features(chosen.view, chosen.backbone, rows[first : first + at_a_time])
        for place, theirs in enumerate(vectors.of_clips(found)):
            yield match_clips(query.features, ours, found.take(np.array([place])), theirs, centre=centre)


def _with_strips(
    request: SearchRequest, chosen: Features, query: _Query, hits: list[Hit], rows: NDArray[np.int64]
) -> list[Hit]:
    assert request.strips is not None
    pairs = [
        StripOrder(hit.rank, hit.path, int(row), hit.matched.clip, hit.matched.query_clip)
        for hit, row in zip(hits, rows, strict=True)
    ]
    recipe = FeatureRecipe.of_store(chosen.store, view=chosen.view, backbone=chosen.backbone)
    drawn = write_strips(
        request.strips,
        pairs,
        store=chosen.store,
        recipe=recipe,
        query=query.row if query.order is None else query.order,
        data_root=request.data_root,
        limits=request.limits,
    )
    return [replace(hit, strip=strip) for hit, strip in zip(hits, drawn, strict=True)]
