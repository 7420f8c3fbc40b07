"""``scale-video search``: the videos of a store that are nearest to one, with the clips that match best.

Every video is compared (exact search): cosine of vectors that are centred by the store's mean, as for our k-NN. Memory
holds one vector a video, and features of a run of blocks.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import LoadedAggregator
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.evaluate.neighbours import directions
from scale_video.evaluate.representations import concatenate, time_bins
from scale_video.extract.backbones.placement import choose
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.embedding import Features, load_for_use
from scale_video.pipelines.embedding_files import EmbeddingGroup
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.file_features import name_files, read_files
from scale_video.pipelines.find_video import close_matches, find_in_stores
from scale_video.pipelines.matched_clips import MatchedClip, match_clips
from scale_video.pipelines.provenance import aggregator_digest
from scale_video.pipelines.recorded_backbone import check_recorded, load_recorded
from scale_video.pipelines.strips import StripOrder, write_strips
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, open_stores

REPRESENTATIONS: Final = ("x", "h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls")
_ROWS_AT_A_TIME: Final = 8192


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


@dataclass(frozen=True, slots=True)
class _Gallery:
    rows: NDArray[np.int64]
    """Of the N videos that have features, ascending."""
    vectors: NDArray[np.float32]
    """Shape (N, D)."""
    mean_clip: NDArray[np.float32]
    """Mean over videos of the mean of their clips' vectors, by which clips are centred."""


def run_search(request: SearchRequest) -> SearchResult:
    """Find the nearest videos, the clips of each that match best, and draw these if asked to.

    Raises:
        StoreError: the store, view or features are not there, or not complete.
        ValueError: no such video or file, a query without features, embeddings or a checkpoint of other features.
    """
    by = _representation(request)
    store = open_stores(request.store)
    loaded = load_for_use(request.checkpoint) if request.checkpoint is not None else None
    chosen = Features.choose(store, loaded, path=request.checkpoint, view=request.view, backbone=request.backbone)
    vectors = _Vectors(loaded, by, flips=chosen.flips, device=choose(request.device, "auto")[0])
    embeddings = _open_embeddings(request, chosen, loaded) if request.embeddings is not None else None
    query = _query(request, chosen)
    gallery = _of_embeddings(embeddings, store, vectors) if embeddings is not None else _of_store(chosen, vectors)
    scores = _scores(gallery.vectors, vectors.of_videos(query.features)[0])
    scores[gallery.rows == query.row] = -np.inf
    top = min(request.top, int((scores > -np.inf).sum()))
    nearest = np.argsort(-scores, kind="stable")[:top]
    rows = gallery.rows[nearest]
    matches = _matches(store, chosen, vectors, query, rows, centre=gallery.mean_clip)
    hits = [
        Hit(rank, *_names(store, int(row)), score=float(scores[place]), matched=matched)
        for rank, (row, place, matched) in enumerate(zip(rows, nearest, matches, strict=True), start=1)
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


class _Vectors:
    """What videos and clips are compared by."""

    def __init__(self, loaded: LoadedAggregator | None, by: str, *, flips: bool, device: str) -> None:
        self._model = None if loaded is None else loaded.model.to(device)
        self._by = by
        self._flips = flips

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is put side by side."""
        return tuple(self._by.split("+"))

    @property
    def of_clip(self) -> str:
        """Name of the mean over a video's clips."""
        return "x" if self._model is None else "h"

    def of_videos(self, features: ClipFeatures) -> NDArray[np.float32]:
        """Shape (N, D)."""
        return self._joined(self._representations(features))

    def both(self, features: ClipFeatures) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What videos are compared by, and the mean over their clips."""
        found = self._representations(features)
        mean: NDArray[np.float32] = getattr(found, self.of_clip)
        return self._joined(found), mean

    def of_clips(self, features: ClipFeatures) -> NDArray[np.float32]:
        """Refined clips, or the raw ones where there is no aggregator; shape (N, K, E)."""
        if self._model is None:
            return features.features.astype(np.float32)
        return embed_clips(self._model, features, flips=self._flips)

    def _representations(self, features: ClipFeatures) -> VideoRepresentations:
        if self._model is not None:
            return embed_videos(self._model, features, flips=self._flips)
        x = time_bins(features, 1)
        return VideoRepresentations(features.video_ids, x=x, h=x[:, :0], cls=x[:, :0])

    def _joined(self, found: VideoRepresentations) -> NDArray[np.float32]:
        return concatenate(found, self._by)


def _open_embeddings(request: SearchRequest, chosen: Features, loaded: LoadedAggregator | None) -> EmbeddingGroup:
    """Embeddings of these features by this aggregator.

    Raises:
        ValueError: they are of others; the message says in what they differ.
    """
    assert request.embeddings is not None
    embeddings = EmbeddingGroup.open(request.embeddings)
    wanted = {key: value for key, value in chosen.describe().items() if key not in ("dataset", "backbone")}
    if loaded is not None:
        wanted["aggregator_digest"] = aggregator_digest(loaded)
    for key, value in wanted.items():
        if (found := embeddings.attributes.get(key)) != value:
            whose = "by another checkpoint" if key == "aggregator_digest" else "of other features than the store's"
            raise ValueError(
                f"embeddings {str(request.embeddings)!r} were made {whose} ({key}: {found!r} != {value!r}); leave "
                "--embeddings out, or make them anew by `scale-video embed`"
            )
    return embeddings


def _query(request: SearchRequest, chosen: Features) -> _Query:
    store, text = chosen.store, request.query
    stores = (store,) if isinstance(store, FeatureStore) else store.stores
    found = find_in_stores(stores, text, data_root=request.data_root)
    if found is not None:
        one, row = found
        row += sum(before.num_videos for before in stores[: stores.index(one)])
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


def _of_file(request: SearchRequest, chosen: Features, path: Path) -> _Query:
    recipe = FeatureRecipe.of_store(chosen.store, view=chosen.view, backbone=chosen.backbone)
    recipe.drawn_view()
    inside = request.data_root is not None and path.absolute().is_relative_to(request.data_root.expanduser().absolute())
    files = name_files([path], data_root=request.data_root.expanduser() if inside and request.data_root else None)
    given = parse_backbone(request.weights) if request.weights else None
    backbone = load_recorded(recipe.backbone, recipe.attributes, device=request.device, given=given)
    where = f"{chosen.view}/{chosen.backbone} in store {chosen.store.url!r}"
    check_recorded(backbone, recipe.backbone, recipe.attributes, where=where)
    with closing(ClipDecoders(request.limits)) as decoders:
        (read,) = read_files(files, recipe, backbone, decoders)
    outcome = read.outcomes[0]
    if not read.features.valid.any():
        raise ValueError(f"{str(path)!r} cannot be searched by: {outcome.status.name.lower()}, {outcome.error}")
    if outcome.status.is_failure:
        note(f"{path}: {outcome.status.name.lower()}, {outcome.error}; searching by what is there")
    return _Query(files[0].id, None, read.features, read.orders[0])


def _of_store(chosen: Features, vectors: _Vectors) -> _Gallery:
    """Embed the store's videos."""
    num_videos = chosen.store.num_videos
    rows, filled = np.empty(num_videos, np.int64), 0
    kept: NDArray[np.float32] | None = None
    clip_sum: NDArray[np.float64] | float = 0.0
    with ticking("embedding videos", num_videos) as ticker:
        for some, features in chosen.runs():
            if not len(some):
                continue
            found, mean_clips = vectors.both(features)
            if kept is None:
                kept = np.empty((num_videos, found.shape[1]), np.float32)
            rows[filled : filled + len(some)], kept[filled : filled + len(some)] = some, found
            clip_sum = clip_sum + mean_clips.sum(axis=0, dtype=np.float64)
            filled += len(some)
            ticker.update(int(some[-1]) + 1)
    if kept is None:
        raise ValueError(f"no video of store {chosen.store.url!r} has features of {chosen.backbone!r}")
    return _Gallery(rows[:filled], kept[:filled], np.asarray(clip_sum / filled, np.float32))


def _of_embeddings(embeddings: EmbeddingGroup, store: ReadableStore, vectors: _Vectors) -> _Gallery:
    """Read what ``embed`` wrote."""
    row_of = {video_id: row for row, video_id in enumerate(store.ids)}
    width = sum(embeddings.arrays[part].shape[1] for part in vectors.parts)
    kept = np.empty((embeddings.num_videos, width), np.float32)
    rows, filled, clip_sum = np.empty(len(kept), np.int64), 0, np.zeros(embeddings.arrays[vectors.of_clip].shape[1])
    for ids, mean_clips, *parts in embeddings.chunks("id", vectors.of_clip, *vectors.parts):
        some = slice(filled, filled + len(ids))
        rows[some] = [row_of[str(video_id)] for video_id in ids]
        np.concatenate(parts, axis=1, out=kept[some])
        clip_sum += mean_clips.sum(axis=0, dtype=np.float64)
        filled += len(ids)
    return _Gallery(rows, kept, (clip_sum / max(1, filled)).astype(np.float32))


def _scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each row with the query, all centred by the mean of the rows, shape (N,)."""
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    direction = directions(query[None], mean, device="cpu")[0]
    scores = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        scores[rows] = (directions(vectors[rows], mean, device="cpu") @ direction).numpy()
    return scores


def _matches(
    store: ReadableStore,
    chosen: Features,
    vectors: _Vectors,
    query: _Query,
    rows: NDArray[np.int64],
    *,
    centre: NDArray[np.float32],
) -> Iterator[MatchedClip]:
    """The pair of clips of the query and of each row that are most alike."""
    ours = vectors.of_clips(query.features)[0]
    for row in rows.tolist():  # one at a time: their number of clips has no bound
        theirs = store.read_features(chosen.view, chosen.backbone, np.array([row]))
        yield match_clips(query.features, ours, theirs, vectors.of_clips(theirs)[0], centre=centre)


def _names(store: ReadableStore, row: int) -> tuple[str, str]:
    one = slice(row, row + 1)
    return str(store.column("id", one)[0]), str(store.column("path", one)[0])


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
    return [
        Hit(hit.rank, hit.id, hit.path, hit.score, hit.matched, strip) for hit, strip in zip(hits, drawn, strict=True)
    ]
