"""What the probes compare: the raw features, baselines, and what each pre-trained aggregator makes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, Whitening, concatenate, time_bins
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations

LEARNED = ("h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls")
"""Representations that a checkpoint gives."""
DEFAULT_REPRESENTATIONS = (*RAW_REPRESENTATIONS, "init", "h", "cls", "x+cls", "x+h+cls")
"""What is probed when nothing is named."""


@dataclass(frozen=True, slots=True)
class ProbeSide:
    """One side of a probe: the training or the test videos of a split that have features."""

    features: ClipFeatures
    labels: NDArray[np.int32]
    groups: NDArray[np.str_]
    flips: bool
    """Whether the view mirrors clips."""
    num_left_out: int
    """Videos of that part of the split that have no features."""


@dataclass(frozen=True, slots=True)
class SeedRun:
    """What there is of one pre-training seed."""

    seed: int
    config: PretrainConfig
    """The checkpoint's own; without a checkpoint, what pre-training would follow."""
    model: SetTransformer | None
    """As trained; None when there is no checkpoint."""
    checkpoint: Path | None
    seen: bool
    """Whether it was trained on test videos."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One representation of both sides, ready to be probed."""

    name: str
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    seed: int | None
    checkpoint: Path | None
    seen: bool
    """Whether the checkpoint was trained on test videos."""


def baselines(train: ProbeSide, test: ProbeSide, *, wanted: Sequence[str]) -> Iterator[Candidate]:
    """What needs no aggregator: the raw mean, the mean per time bin, the whitened mean; of these, those wanted."""

    def candidate(name: str, of_train: NDArray[np.float32], of_test: NDArray[np.float32]) -> Candidate:
        return Candidate(name, of_train, of_test, seed=None, checkpoint=None, seen=False)

    for name, num_bins in (("x", 1), ("x-bins2", 2), ("x-bins4", 4)):
        if name in wanted:
            yield candidate(name, time_bins(train.features, num_bins), time_bins(test.features, num_bins))
    if "x-whitened" in wanted:
        x_train, x_test = time_bins(train.features, 1), time_bins(test.features, 1)
        whitening = Whitening.fit(x_train)
        yield candidate("x-whitened", whitening.apply(x_train), whitening.apply(x_test))


def available(run: SeedRun, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted representations that ``candidates_of_seed`` yields, in its order."""
    return [name for name in ("init", *(LEARNED if run.model is not None else ())) if name in wanted]


def candidates_of_seed(
    run: SeedRun, train: ProbeSide, test: ProbeSide, *, wanted: Sequence[str], device: str
) -> Iterator[Candidate]:
    """The untrained aggregator of a seed, and what its pre-training made of it; of these, those wanted.

    Both have the same sizes, initial weights and clip positions, so that training is all that they differ in.

    Args:
        run: The seed.
        train: Training videos.
        test: Test videos.
        wanted: Names of representations.
        device: Torch device that embeds.
    """
    names = available(run, wanted)
    shuffle_seed = run.seed if run.config.shuffle_positions else None
    if "init" in names:
        untrained = initial_aggregator(run.config, feature_dim=train.features.feature_dim, seed=run.seed)
        pair = _embed_both(untrained.to(device), train, test, shuffle_seed=shuffle_seed)
        yield _candidate("init", pair, "x+cls", seed=run.seed)
        names.remove("init")
    if run.model is None or not names:
        return
    pair = _embed_both(run.model.to(device), train, test, shuffle_seed=shuffle_seed)
    for name in names:
        yield _candidate(name, pair, name, seed=run.seed, checkpoint=run.checkpoint, seen=run.seen)


def _candidate(
    name: str,
    pair: tuple[VideoRepresentations, VideoRepresentations],
    concatenation: str,
    *,
    seed: int,
    checkpoint: Path | None = None,
    seen: bool = False,
) -> Candidate:
    train, test = (concatenate(side, concatenation) for side in pair)
    return Candidate(name, train, test, seed=seed, checkpoint=checkpoint, seen=seen)


def _embed_both(
    model: SetTransformer, train: ProbeSide, test: ProbeSide, *, shuffle_seed: int | None
) -> tuple[VideoRepresentations, VideoRepresentations]:
    of_train, of_test = (
        embed_videos(model, side.features, flips=side.flips, shuffle_positions_seed=shuffle_seed)
        for side in (train, test)
    )
    return of_train, of_test
