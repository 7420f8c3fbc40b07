"""The nearest videos of a video, or of one of its clips: what ``scale-video search`` finds, kept ready for pages.

All videos are compared, always. All clips of a large store are where that is asked for: else those of the videos whose
means are most like the clip.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import CheckpointError
from scale_video.evaluate.neighbours import directions
from scale_video.extract.backbones.placement import choose
from scale_video.pipelines.embedding import Features, load_for_use
from scale_video.pipelines.explorer.background import Background, Report, Task
from scale_video.pipelines.explorer.clip_search import best_clips
from scale_video.pipelines.explorer.directions import Directions, DirectionsBuilder, cosines
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.gallery import VectorsOf, embedded_parts, nearest_first, open_embeddings
from scale_video.pipelines.provenance import check_transfer, feature_identity
from scale_video.pipelines.search import REPRESENTATIONS
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.union import ReadableStore

NUM_CANDIDATES: Final = 200
"""Videos whose clips are compared where all clips are too many."""
EVERYTHING_BYTES: Final = 512 << 20
"""Of features: stores with less have all of their clips compared, which takes a moment."""
RAW: Final = ("x",)
LEARNED: Final = ("h", "cls")
_KEPT_BYTES: Final = 512 << 20
"""Of vectors; those of the feature set that was asked for first go when there are more."""
_VIDEOS_AT_A_TIME: Final = 32
"""Candidates whose features are in memory together."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A video that was found."""

    row: int
    score: float
    """Cosine of the centred vectors."""
    clip: int | None = None
    """The clip of it that is most alike, where a clip was looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, among what."""

    neighbours: tuple[Neighbour, ...]
    """The nearest first."""
    num_compared: int
    """Videos."""
    of_all: bool
    """Whether no other videos could have been found; else these are out of those whose means are most like the clip."""
    seconds: float


@dataclass(slots=True)
class VectorIndex:
    """What the videos of one feature set are compared by, as far as it has been computed."""

    chosen: Features
    why_not_learned: str
    """Why there is ``x`` alone; empty where there is more."""
    parts: dict[str, Directions] = field(default_factory=dict)
    tasks: dict[tuple[str, ...], Task] = field(default_factory=dict)
    """What computes them."""
    seconds_to_read: dict[str, float] = field(default_factory=dict)
    """What a look at all clips takes, about, by what is looked at; where it is known."""

    @property
    def choices(self) -> tuple[str, ...]:
        """What videos can be compared by, the usual one first."""
        return RAW if self.why_not_learned else ("x+cls", *(name for name in REPRESENTATIONS if name != "x+cls"))

    @property
    def feature_bytes(self) -> int:
        """Of all features."""
        store, view = self.chosen.store, self.chosen.view
        return store.num_videos * store.num_clips(view) * store.feature_dim(view, self.chosen.backbone) * 2


class Neighbourhoods:
    """The neighbours in each feature set of a store that somebody looks at."""

    def __init__(
        self,
        store: ReadableStore,
        background: Background,
        *,
        checkpoint: Path | None,
        embeddings: Path | None,
        device: str,
    ) -> None:
        """Load the aggregator, if there is one.

        Raises:
            CheckpointError: it cannot be read.
            ValueError: there is no such device.
        """
        self._store = store
        self._background = background
        self._path = checkpoint
        self._loaded = None if checkpoint is None else load_for_use(checkpoint)
        self._embeddings = embeddings
        self._device = choose(device, "auto")[0]
        self._indices: dict[FeatureSet, VectorIndex] = {}
        self._lock = threading.Lock()

    def index(self, features: FeatureSet) -> VectorIndex:
        """That of a feature set, maybe still empty.

        Raises:
            StoreError: features are not there, or not complete.
        """
        with self._lock:
            if features not in self._indices:
                chosen = Features.choose(self._store, None, path=None, view=features.view, backbone=features.backbone)
                self._make_room()
                self._indices[features] = VectorIndex(chosen, self._why_not_learned(chosen))
            return self._indices[features]

    def prepare(self, index: VectorIndex, by: str) -> list[Task]:
        """Have computed what comparing by something needs; the tasks that are not finished, or failed."""
        wanted = [parts for parts in (RAW, LEARNED) if set(parts) & set(by.split("+"))]
        with self._lock:
            for parts in wanted:
                if parts not in index.tasks:
                    index.tasks[parts] = self._begin(index, parts)
        tasks = [index.tasks[parts] for parts in wanted]
        return [task for task in tasks if not task.finished or task.error]

    def of_video(self, index: VectorIndex, row: int, *, by: str, among: NDArray[np.bool_], top: int) -> Found | None:
        """The videos that are nearest to one; None where that one has no features.

        Args:
            index: Of which all is computed that comparing needs.
            row: Of the video.
            by: Such as ``x+cls``.
            among: Which videos may be found, for each row of the store.
            top: How many, at most.
        """
        started = time.perf_counter()
        rows, place = _placed(index, by, row)
        if place is None:
            return None
        scores = cosines(index.parts, by, place)
        others = np.flatnonzero(among[rows] & (rows != row))
        nearest = nearest_first(scores, others, top)
        found = tuple(Neighbour(int(rows[other]), float(scores[other])) for other in nearest)
        return Found(found, len(others), of_all=True, seconds=time.perf_counter() - started)

    def of_clip(
        self,
        index: VectorIndex,
        row: int,
        clip: int,
        *,
        by: str,
        among: NDArray[np.bool_],
        top: int,
        everywhere: bool,
    ) -> Found | None:
        """The other videos with the clips that are nearest to one; None where that one has no feature.

        Args:
            index: Of which all is computed that comparing needs.
            row: Of the video.
            clip: Of the video.
            by: ``x``, raw features, or ``h``, refined ones.
            among: Which videos may be found, for each row of the store.
            top: How many, at most.
            everywhere: Whether all clips of a store of any size are looked at.
        """
        started = time.perf_counter()
        (rows, place), chosen = _placed(index, by, row), index.chosen
        query = self._store.read_features(chosen.view, chosen.backbone, np.array([row]))
        if place is None or not (0 <= clip < query.valid.shape[1] and query.valid[0, clip]):
            return None
        vectors = VectorsOf(self._loaded if by == "h" else None, by, flips=chosen.flips, device=self._device)
        vector, part = vectors.of_clips(query)[0, clip], index.parts[by]
        others = np.flatnonzero(among[rows] & (rows != row))
        of_all = everywhere or index.feature_bytes <= EVERYTHING_BYTES or len(others) <= NUM_CANDIDATES
        if of_all:
            runs = self._among(chosen.runs(), rows[others])
        else:
            means = part.cosines_with(directions(vector[None], part.mean, device="cpu")[0].numpy())
            others = np.sort(nearest_first(means, others, NUM_CANDIDATES))
            runs = self._runs_of(chosen, rows[others])
        best = best_clips(vector, runs, vectors, centre=part.mean)
        found = tuple(
            Neighbour(int(best.rows[one]), float(best.cosines[one]), int(best.clips[one]))
            for one in nearest_first(best.cosines, np.arange(len(best.rows)), top)
        )
        return Found(found, len(others), of_all=of_all, seconds=time.perf_counter() - started)

    def _why_not_learned(self, chosen: Features) -> str:
        if self._loaded is None or self._path is None:
            return "start with --checkpoint to compare by what an aggregator learned: h, cls and x+cls"
        identity = feature_identity(self._store, view=chosen.view, backbone=chosen.backbone)
        try:
            check_transfer(self._path, self._loaded.provenance, identity)
        except CheckpointError as error:
            return str(error)
        return ""

    def _begin(self, index: VectorIndex, parts: tuple[str, ...]) -> Task:
        def work(report: Report) -> None:
            started = time.perf_counter()
            index.parts.update(self._computed(index.chosen, parts, report))
            if self._embeddings is None:
                index.seconds_to_read[parts[0]] = time.perf_counter() - started

        title = f"computing {' and '.join(parts)} of {index.chosen.view}/{index.chosen.backbone}"
        return self._background.begin(title, self._store.num_videos, work)

    def _computed(self, chosen: Features, parts: tuple[str, ...], report: Report) -> Mapping[str, Directions]:
        """Vectors of all videos, from features, or from what ``embed`` made of them."""
        pieces: Iterable[tuple[NDArray[np.int64], Mapping[str, NDArray[np.float32]]]]
        if self._embeddings is not None:
            pieces = embedded_parts(open_embeddings(self._embeddings, chosen, self._loaded), chosen, parts)
        else:
            loaded = self._loaded if parts == LEARNED else None
            pieces = _parts_of(chosen, VectorsOf(loaded, "+".join(parts), flips=chosen.flips, device=self._device))
        builders = {name: DirectionsBuilder(chosen.store.num_videos) for name in parts}
        for rows, found in pieces:
            for name, builder in builders.items():
                builder.add(rows, found[name])
            report(int(rows[-1]) + 1)
        return {name: builder.finish() for name, builder in builders.items()}

    def _make_room(self) -> None:
        while sum(part.codes.nbytes for index in self._indices.values() for part in index.parts.values()) > _KEPT_BYTES:
            del self._indices[next(iter(self._indices))]

    def _runs_of(self, chosen: Features, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], ClipFeatures]]:
        for first in range(0, len(rows), _VIDEOS_AT_A_TIME):
            self._background.check()
            some = rows[first : first + _VIDEOS_AT_A_TIME]
            yield some, self._store.read_features(chosen.view, chosen.backbone, some)

    def _among(
        self, runs: Iterable[tuple[NDArray[np.int64], ClipFeatures]], wanted: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], ClipFeatures]]:
        for rows, features in runs:
            self._background.check()
            kept = np.flatnonzero(np.isin(rows, wanted, assume_unique=True))
            yield rows[kept], features if len(kept) == len(rows) else features.take(kept)


def _placed(index: VectorIndex, by: str, row: int) -> tuple[NDArray[np.int64], int | None]:
    """Rows of the videos that are compared, and the place of one among them.

    Raises:
        ValueError: a job changed the features while parts were computed.
    """
    first, *others = (index.parts[name].rows for name in by.split("+"))
    if not all(np.array_equal(first, rows) for rows in others):
        raise ValueError("features were extracted anew while they were read; start the explorer again")
    place = int(np.searchsorted(first, row))
    return first, place if place < len(first) and first[place] == row else None


def _parts_of(
    chosen: Features, vectors: VectorsOf
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, NDArray[np.float32]]]]:
    """Rows of videos and their representations, a run of blocks at a time."""
    for rows, features in chosen.runs():
        if len(rows):
            yield rows, vectors.by_part(features)
