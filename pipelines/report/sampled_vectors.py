"""Vectors of some test and training videos, raw and aggregated: what maps and galleries of a report are made of.

They are made anew, since an evaluation keeps no vectors. Of a large data set a part is drawn, so that it takes seconds.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.aggregate.embed import embed_videos
from scale_video.evaluate.embedding_map import sample_rows
from scale_video.evaluate.neighbours import directions, nearest_rows, training_mean
from scale_video.evaluate.representations import concatenate, time_bins
from scale_video.pipelines.candidates import SeedRun
from scale_video.pipelines.chosen_rows import AGGREGATED, RAW, side_title
from scale_video.pipelines.paths import checkpoint_path
from scale_video.pipelines.report.section import Missing, NotThereError
from scale_video.pipelines.seed_runs import own_runs
from scale_video.store.clip_features import ClipFeatures

if TYPE_CHECKING:
    from scale_video.pipelines.report.sources import ReportSources

MAX_SEARCHED: Final = 4000
"""Training videos among which neighbours are looked for."""


@dataclass(frozen=True, slots=True)
class SampledVideos:
    """Some of the videos of one part of a split."""

    rows: NDArray[np.int64]
    """Of the store, rising, shape (N,)."""
    labels: NDArray[np.integer[Any]]
    """Classes, shape (N,); -1 where a video has none."""
    view: str
    """Whose clips their vectors are made of."""
    num_there: int
    """Videos of that part that there are."""

    @property
    def described(self) -> str:
        """``200 of 19,796``, or ``all 480``."""
        num_videos = len(self.rows)
        return f"all {num_videos:,}" if num_videos == self.num_there else f"{num_videos:,} of {self.num_there:,}"


@dataclass(frozen=True, slots=True)
class ComparedVectors:
    """What one representation makes of the sampled videos."""

    title: str
    tested: NDArray[np.float32]
    """Shape (N, D)."""
    searched: NDArray[np.float32]
    """Shape (M, D)."""

    def nearest(self, queries: NDArray[np.int64], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The searched videos that are most similar to some tested ones, as k-NN and retrieval compare them.

        Args:
            queries: Places among the tested videos, shape (n,).
            k: In [1, M].

        Returns:
            Cosines of the vectors, centred by the mean of the searched ones, falling; and places among these, both of
            shape (n, k).
        """
        mean = training_mean(self.searched)
        searched, asked = (directions(vectors, mean, device="cpu") for vectors in (self.searched, self.tested[queries]))
        cosines, places = nearest_rows(searched, asked, k)
        return cosines.numpy(), places.numpy()


@dataclass(frozen=True, slots=True)
class SampledVectors:
    """Raw vectors and, where there is an aggregator, aggregated ones of the same videos."""

    tested: SampledVideos
    searched: SampledVideos
    is_split: bool
    """Whether they are parts of a split; else both are of all videos, and a video is no neighbour of its own."""
    sides: tuple[ComparedVectors, ...]
    """The raw features first."""
    missing: Missing | None
    """Why there is no second side."""


def sample_vectors(sources: "ReportSources") -> SampledVectors:
    """Read features of some videos and embed them.

    Raises:
        NotThereError: the store is not there, or no video of a part of the split has features.
        StoreError: the features cannot be read.
    """
    videos, preset = sources.store.videos, sources.preset
    is_split = sources.experiment.split in videos.splits
    limits = {"test": sources.request.num_videos, "train": MAX_SEARCHED}
    read = []
    for part, view in (("test", preset.test_view), ("train", preset.train_view)):
        rows = videos.in_split(sources.experiment.split, part) if is_split else np.arange(sources.store.num_videos)
        read.append(_read(sources, rows, view=view, at_most=limits[part]))
    (tested, test_features), (searched, train_features) = read
    run, missing = _aggregator(sources)
    both = (test_features, train_features)
    sides = [ComparedVectors(side_title(RAW, None), *(time_bins(features, 1) for features in both))]
    if run is not None:
        name = AGGREGATED[0]
        embedded = (
            _embed(sources, run, features, name=name, view=some.view)
            for features, some in zip(both, (tested, searched), strict=True)
        )
        sides.append(ComparedVectors(side_title(name, run.seed), *embedded))
    return SampledVectors(tested, searched, is_split, tuple(sides), missing)


def _read(
    sources: "ReportSources", rows: NDArray[np.int64], *, view: str, at_most: int
) -> tuple[SampledVideos, ClipFeatures]:
    """Features of some rows: of what is extracted, as many as allowed."""
    chosen = rows[sample_rows(len(rows), at_most=at_most)]
    features = sources.store.read_features(view, sources.backbone, chosen, allow_incomplete=True)
    there = np.flatnonzero(features.valid.any(axis=1))
    if not len(there):
        raise NotThereError(
            f"None of {len(chosen)} videos has features of {sources.backbone!r} in view {view!r}.",
            sources.command("extract"),
        )
    return SampledVideos(chosen[there], sources.labels[chosen[there]], view, len(rows)), features.take(there)


def _aggregator(sources: "ReportSources") -> tuple[SeedRun | None, Missing | None]:
    """The trained aggregator of the lowest seed, or why there is none."""
    seeds = [seed for seed, folder in sources.run_folders().items() if checkpoint_path(folder).exists()]
    if not seeds:
        return None, Missing("No aggregator was pre-trained yet.", sources.command("pretrain"))
    experiment = replace(sources.experiment, num_seeds=seeds[0] + 1)
    try:
        *_, run = own_runs(experiment, sources.store, sources.preset, backbone=sources.backbone)
    except ValueError as error:  # it is damaged, or was trained on other features
        return None, Missing(str(error))
    return run, None


def _embed(
    sources: "ReportSources", run: SeedRun, features: ClipFeatures, *, name: str, view: str
) -> NDArray[np.float32]:
    assert run.model is not None
    found = embed_videos(
        run.model.to("cuda" if torch.cuda.is_available() else "cpu"),
        features,
        flips=sources.store.plan_parameters(view).get("flip_probability", 0) > 0,
        shuffle_positions_seed=run.seed if run.config.shuffle_positions else None,
    )
    return concatenate(found, name)
