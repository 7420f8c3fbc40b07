"""What the probes compare: the raw features, baselines, and what each pre-trained aggregator makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, Whitening, concatenate, time_bins
from scale_video.pipelines.probe_side import ProbeSide
from scale_video.store.clip_features import VideoRepresentations

LEARNED = ("h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls")
"""Representations that a checkpoint gives."""
DEFAULT_REPRESENTATIONS = (*RAW_REPRESENTATIONS, "init", "h", "cls", "x+cls", "x+h+cls")
"""What is probed when nothing is named."""


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
    pretrain_videos: str = ""
    """``train`` or ``all``, where it was trained on videos of this store."""
    pretrained_on: str = ""
    """Of an aggregator from elsewhere: what it was trained on."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One representation of both sides, ready to be probed."""

    name: str
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    clips: Mapping[str, float]
    """Of the test side's draw of clips, if it is one."""
    seed: int | None = None
    """As are the next four, of the aggregator; see ``SeedRun``."""
    checkpoint: Path | None = None
    seen: bool = False
    pretrain_videos: str = ""
    pretrained_on: str = ""


def baselines(train: ProbeSide, tests: Sequence[ProbeSide], *, wanted: Sequence[str]) -> Iterator[Candidate]:
    """What needs no aggregator: the raw mean, the mean per time bin, the whitened mean; of these, those wanted."""
    for name, num_bins in (("x", 1), ("x-bins2", 2), ("x-bins4", 4)):
        if name in wanted:
            of_train = time_bins(train.features, num_bins)
            for test in tests:
                yield Candidate(name, of_train, time_bins(test.features, num_bins), test.clips)
    if "x-whitened" in wanted:
        x_train = time_bins(train.features, 1)
        whitening = Whitening.fit(x_train)
        of_train = whitening.apply(x_train)
        for test in tests:
            yield Candidate("x-whitened", of_train, whitening.apply(time_bins(test.features, 1)), test.clips)


def available(run: SeedRun, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted representations that ``candidates_of_seed`` yields, in its order."""
    return [name for name in ("init", *(LEARNED if run.model is not None else ())) if name in wanted]


def candidates_of_seed(
    run: SeedRun, train: ProbeSide, tests: Sequence[ProbeSide], *, wanted: Sequence[str], device: str
) -> Iterator[Candidate]:
    """The untrained aggregator of a seed, and what its pre-training made of it; of these, those wanted.

    Both have the same sizes, initial weights and clip positions, so that training is all that they differ in.

    Args:
        run: The seed.
        train: Training videos.
        tests: Test videos, perhaps several times, with other clips each time.
        wanted: Names of representations.
        device: Torch device that embeds.
    """
    names = available(run, wanted)
    shuffle_seed = run.seed if run.config.shuffle_positions else None

    def embed(model: SetTransformer, side: ProbeSide) -> VideoRepresentations:
        return embed_videos(model, side.features, flips=side.flips, shuffle_positions_seed=shuffle_seed)

    if "init" in names:
        untrained = initial_aggregator(run.config, feature_dim=train.features.feature_dim, seed=run.seed).to(device)
        of_train = concatenate(embed(untrained, train), "x+cls")
        for test in tests:
            of_test = concatenate(embed(untrained, test), "x+cls")
            yield Candidate("init", of_train, of_test, test.clips, seed=run.seed)
        names.remove("init")
    if run.model is None or not names:
        return
    model = run.model.to(device)
    embedded_train = embed(model, train)
    for test in tests:
        embedded_test = embed(model, test)
        for name in names:
            yield Candidate(
                name,
                concatenate(embedded_train, name),
                concatenate(embedded_test, name),
                test.clips,
                seed=run.seed,
                checkpoint=run.checkpoint,
                seen=run.seen,
                pretrain_videos=run.pretrain_videos,
                pretrained_on=run.pretrained_on,
            )
