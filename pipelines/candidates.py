"""What the probes compare: the raw features, baselines, and what each pre-trained aggregator makes of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.embed import embed_videos, model_coordinates
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.normalise_coordinates import Positions
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, Whitening, concatenate, time_bins
from scale_video.pipelines.probe_side import ProbeSide, ProbeSides
from scale_video.store.clip_features import VideoRepresentations

LEARNED = ("h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls")
"""Representations that a checkpoint gives."""
DEFAULT_REPRESENTATIONS = (*RAW_REPRESENTATIONS, "init", "h", "cls", "x+cls", "x+h+cls")
"""What is probed when nothing is named."""


Vectors = Callable[[ProbeSide], NDArray[np.float32]]
"""One vector per video."""


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
    training: str = ""
    """Digest of the training, but for its seed."""
    architecture: str = ""
    """Digest of what decides the untrained aggregator, but for the seed."""
    note: str = ""
    """What a reader of its results must know."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One representation of both sides, ready to be probed."""

    name: str
    train: NDArray[np.float32]
    """One vector per video; as are the next two."""
    validation: NDArray[np.float32] | None
    test: NDArray[np.float32]
    tested: ProbeSide
    """What ``test`` is made of."""
    encoder: ClipEncoder | None = None
    """What makes the vectors of single clips; None where a representation is of whole videos alone."""
    shuffle_seed: int | None = None
    """Of the clips' positions, where the aggregator reads them shuffled."""
    positions: Positions = "relative"
    """What positions the aggregator reads."""
    seed: int | None = None
    """As are the next six, of the aggregator; see ``SeedRun``. ``init`` has its architecture for a training."""
    checkpoint: Path | None = None
    seen: bool = False
    pretrain_videos: str = ""
    pretrained_on: str = ""
    training: str = ""
    note: str = ""

    def clips_of(self, side: ProbeSide) -> ClipVideos:
        """The clips of videos, as ``encoder`` reads them."""
        coordinates = model_coordinates(
            side.features, flips=side.flips, positions=self.positions, shuffle_positions_seed=self.shuffle_seed
        )
        return ClipVideos(side.features.features, coordinates, side.features.valid)


def baselines(sides: ProbeSides, *, wanted: Sequence[str]) -> Iterator[Candidate]:
    """What needs no aggregator: the raw mean, the mean per time bin, the whitened mean; of these, those wanted."""
    for name, num_bins in (("x", 1), ("x-bins2", 2), ("x-bins4", 4)):
        if name in wanted:
            encoder = ClipEncoder(("x",), None) if name == "x" else None
            yield from _baseline(name, sides, partial(_binned, num_bins=num_bins), encoder=encoder)
    if "x-whitened" in wanted:
        whitening = Whitening.fit(_binned(sides.train, num_bins=1))
        yield from _baseline("x-whitened", sides, lambda side: whitening.apply(_binned(side, num_bins=1)))


def available(run: SeedRun, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted representations that ``candidates_of_seed`` yields, in its order."""
    return [name for name in ("init", *(LEARNED if run.model is not None else ())) if name in wanted]


def candidates_of_seed(run: SeedRun, sides: ProbeSides, *, wanted: Sequence[str], device: str) -> Iterator[Candidate]:
    """The untrained aggregator of a seed, and what its pre-training made of it; of these, those wanted.

    Both have the same sizes, initial weights and clip positions, so that training is all that they differ in.

    Args:
        run: The seed.
        sides: Videos to train on, to choose on and to test on.
        wanted: Names of representations.
        device: Torch device that embeds.
    """
    names = available(run, wanted)
    if "init" in names:
        untrained = initial_aggregator(run.config, feature_dim=sides.train.features.feature_dim, seed=run.seed)
        for candidate in _of_aggregator(untrained.to(device), {"init": "x+cls"}, run, sides):
            yield replace(candidate, training=run.architecture)
        names.remove("init")
    if run.model is None or not names:
        return
    for candidate in _of_aggregator(run.model.to(device), {name: name for name in names}, run, sides):
        yield replace(
            candidate,
            checkpoint=run.checkpoint,
            seen=run.seen,
            pretrain_videos=run.pretrain_videos,
            pretrained_on=run.pretrained_on,
            training=run.training,
            note=run.note,
        )


def _binned(side: ProbeSide, *, num_bins: int) -> NDArray[np.float32]:
    return time_bins(side.features, num_bins)


def _baseline(
    name: str, sides: ProbeSides, vectors: Vectors, *, encoder: ClipEncoder | None = None
) -> Iterator[Candidate]:
    train, validation = vectors(sides.train), vectors(sides.validation) if sides.validation else None
    for test in sides.tests:
        yield Candidate(name, train, validation, vectors(test), test, encoder=encoder)


def _of_aggregator(
    model: SetTransformer, concatenations: Mapping[str, str], run: SeedRun, sides: ProbeSides
) -> Iterator[Candidate]:
    """Candidates by their names, each a concatenation of what the model makes of the videos."""
    shuffle_seed = run.seed if run.config.shuffle_positions else None

    def embed(side: ProbeSide) -> VideoRepresentations:
        return embed_videos(model, side.features, flips=side.flips, shuffle_positions_seed=shuffle_seed)

    train, validation = embed(sides.train), embed(sides.validation) if sides.validation else None
    for test in sides.tests:
        embedded_test = embed(test)
        for name, parts in concatenations.items():
            yield Candidate(
                name,
                concatenate(train, parts),
                concatenate(validation, parts) if validation else None,
                concatenate(embedded_test, parts),
                test,
                encoder=ClipEncoder(parts.split("+"), model),
                shuffle_seed=shuffle_seed,
                positions=model.positions,
                seed=run.seed,
            )
