"""What a search looks through: a vector for each video of a store, made anew or read from what ``embed`` wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import LoadedAggregator
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.evaluate.neighbours import directions
from scale_video.evaluate.representations import concatenate, time_bins
from scale_video.pipelines.console import ticking
from scale_video.pipelines.embedding import Features
from scale_video.pipelines.embedding_files import EmbeddingGroup
from scale_video.pipelines.provenance import aggregator_digest
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations

_ROWS_AT_A_TIME: Final = 8192


@dataclass(frozen=True, slots=True)
class Gallery:
    """The videos of a store that have features."""

    rows: NDArray[np.int64]
    """Of the N videos that have features, ascending."""
    vectors: NDArray[np.float32]
    """Shape (N, D)."""
    mean_clip: NDArray[np.float32]
    """Mean over videos of the mean of their clips' vectors, by which clips are centred."""


class VectorsOf:
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
        return concatenate(self._representations(features), self._by)

    def by_part(self, features: ClipFeatures) -> dict[str, NDArray[np.float32]]:
        """By the name of each part, shape (N, its dimension)."""
        found = self._representations(features)
        return {name: getattr(found, name) for name in self.parts}

    def both(self, features: ClipFeatures) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What videos are compared by, and the mean over their clips."""
        found = self._representations(features)
        mean: NDArray[np.float32] = getattr(found, self.of_clip)
        return concatenate(found, self._by), mean

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


def embed_gallery(chosen: Features, vectors: VectorsOf) -> Gallery:
    """Embed a store's videos, a run of blocks at a time.

    Raises:
        StoreError: features cannot be read.
        ValueError: there are none.
    """
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
    return Gallery(rows[:filled], kept[:filled], np.asarray(clip_sum / filled, np.float32))


def read_gallery(embeddings: EmbeddingGroup, chosen: Features, vectors: VectorsOf) -> Gallery:
    """Read what ``embed`` wrote.

    Raises:
        ValueError: it holds videos that the store has not.
    """
    width = sum(embeddings.arrays[part].shape[1] for part in vectors.parts)
    kept = np.empty((embeddings.num_videos, width), np.float32)
    rows, filled, clip_sum = np.empty(len(kept), np.int64), 0, np.zeros(embeddings.arrays[vectors.of_clip].shape[1])
    for some, found in embedded_parts(embeddings, chosen, (vectors.of_clip, *vectors.parts)):
        piece = slice(filled, filled + len(some))
        rows[piece] = some
        np.concatenate([found[name] for name in vectors.parts], axis=1, out=kept[piece])
        clip_sum += found[vectors.of_clip].sum(axis=0, dtype=np.float64)
        filled += len(some)
    return Gallery(rows, kept, (clip_sum / max(1, filled)).astype(np.float32))


def embedded_parts(
    embeddings: EmbeddingGroup, chosen: Features, names: Sequence[str]
) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]]:
    """Rows of a store's videos, and what ``embed`` wrote of them by name, a chunk at a time.

    Raises:
        ValueError: it wrote of videos that the store has not.
    """
    row_of = {video_id: row for row, video_id in enumerate(chosen.store.ids)}
    for ids, *parts in embeddings.chunks("id", *names):
        if unknown := [video_id for video_id in ids.tolist() if video_id not in row_of]:
            raise ValueError(
                f"embeddings {str(embeddings.path)!r} are damaged: the store has no {unknown[0]!r}; delete them, and "
                "`scale-video embed` makes them anew"
            )
        yield np.array([row_of[video_id] for video_id in ids.tolist()]), dict(zip(names, parts, strict=True))


def open_embeddings(path: Path, chosen: Features, loaded: LoadedAggregator | None) -> EmbeddingGroup:
    """Embeddings of these features by this aggregator, or by any where ``x`` alone is wanted.

    Raises:
        ValueError: they are of others; the message says in what they differ.
    """
    embeddings = EmbeddingGroup.open(path)
    wanted = {key: value for key, value in chosen.describe().items() if key not in ("dataset", "backbone")}
    if loaded is not None:
        wanted["aggregator_digest"] = aggregator_digest(loaded)
    for key, value in wanted.items():
        if (found := embeddings.attributes.get(key)) != value:
            whose = "by another checkpoint" if key == "aggregator_digest" else "of other features than the store's"
            raise ValueError(
                f"embeddings {str(path)!r} were made {whose} ({key}: {found!r} != {value!r}); leave "
                "--embeddings out, or make them anew by `scale-video embed`"
            )
    return embeddings


def nearest_first(scores: NDArray[np.float32], places: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """Of some ascending places those with the largest scores, the largest first; of equal ones the first."""
    nearest: NDArray[np.int64] = places[np.argsort(-scores[places], kind="stable")[:top]]
    return nearest


def centred_cosines(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each row with the query, all centred by the mean of the rows, shape (N,)."""
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    direction = directions(query[None], mean, device="cpu")[0]
    scores = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        scores[rows] = (directions(vectors[rows], mean, device="cpu") @ direction).numpy()
    return scores
