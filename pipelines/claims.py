"""Claims of the SCALE paper that no table of accuracies shows, looked at on a store and its checkpoints.

- Refinement makes clips more discriminative: k-NN of single clips, raw (x) against refined (h).
- The global token is invariant to which clips were drawn: two disjoint sets of a video's clips find each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.evaluate.bootstrap import Estimate, estimate
from scale_video.evaluate.clip_knn import clip_knn_scores
from scale_video.evaluate.neighbours import training_mean
from scale_video.evaluate.representations import time_bins
from scale_video.evaluate.same_video import disjoint_halves, same_video_recall
from scale_video.pipelines.candidates import SeedRun
from scale_video.pipelines.probe_side import ProbeSide
from scale_video.store.clip_features import ClipFeatures


@dataclass(frozen=True, slots=True)
class Finding:
    """One number on one claim."""

    claim: str
    """``clips`` (k-NN top-1 of single clips) or ``sets`` (recall@1 of the same video's other set)."""
    representation: str
    """``x``, ``init h``, ``h``, ``cls``, …; ``init``: of the aggregator before training."""
    seed: int | None
    """Of the pre-training; None for the raw features."""
    estimate: Estimate


def check_claims(
    runs: list[SeedRun], train: ProbeSide, test: ProbeSide, *, num_classes: int, device: str = "cpu"
) -> Iterator[Finding]:
    """Look at both claims.

    Args:
        runs: Aggregators, trained on these features.
        train: Labelled training videos; they vote, and give the mean that vectors are centred by.
        test: Labelled test videos, each with at least two clips.
        num_classes: Classes of the data set.
        device: Torch device that computes.
    """
    first, second = disjoint_halves(test.features)

    def clips(of_train: NDArray[np.floating[Any]], of_test: NDArray[np.floating[Any]]) -> Estimate:
        scores = clip_knn_scores(
            of_train, train.features.valid, train.labels, of_test, test.features.valid, test.labels,
            num_classes=num_classes, device=device,
        )  # fmt: skip
        return estimate(scores, test.groups)

    def sets(vectors: Callable[[ClipFeatures, bool], NDArray[np.float32]]) -> Estimate:
        mean = training_mean(vectors(train.features, train.flips))
        one, other = (vectors(half, test.flips) for half in (first, second))
        return estimate(same_video_recall(one, other, mean=mean), test.groups)

    yield Finding("clips", "x", None, clips(train.features.features, test.features.features))
    yield Finding("sets", "x", None, sets(lambda features, flips: time_bins(features, 1)))
    for run in runs:
        untrained = initial_aggregator(run.config, feature_dim=train.features.feature_dim, seed=run.seed)
        for prefix, model in (("init ", untrained), ("", run.model)):
            if model is None:
                continue
            model.to(device)
            refined = [embed_clips(model, side.features, flips=side.flips) for side in (train, test)]
            yield Finding("clips", f"{prefix}h", run.seed, clips(*refined))
            for name in ("h", "cls"):
                yield Finding("sets", prefix + name, run.seed, sets(_embedder(model, name)))


def _embedder(model: SetTransformer, name: str) -> Callable[[ClipFeatures, bool], NDArray[np.float32]]:
    def embed(features: ClipFeatures, flips: bool) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = getattr(embed_videos(model, features, flips=flips), name)
        return vectors

    return embed
