"""``scale-video knn | linear | nonlinear``: what raw and aggregated features are worth on a split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import LoadedAggregator, load_aggregator
from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.evaluate.probe import evaluate_representation
from scale_video.evaluate.representations import Whitening, concatenate, time_bins
from scale_video.evaluate.result import EvaluationRecord, merge_records, read_results, write_results
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.paths import (
    ExperimentRequest,
    checkpoint_path,
    choose_backbone,
    open_store,
    results_path,
    run_dir,
)
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations
from scale_video.store.read import FeatureStore

LEARNED = ("h", "cls", "x+cls", "x+h+cls")
"""Representations that a checkpoint gives."""


@dataclass(frozen=True, slots=True)
class ProbeSide:
    """One side of a probe: the training or the test videos of a split that have features."""

    features: ClipFeatures
    labels: NDArray[np.int32]
    groups: NDArray[np.str_]
    flips: bool
    """Whether the view mirrors clips."""


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


def run_evaluation(
    request: ExperimentRequest, *, protocols: Sequence[str], allow_seen: bool = False
) -> list[EvaluationRecord]:
    """Probe the raw features, the baselines and every pre-trained seed; collect the records in ``results.json``.

    Args:
        request: data set, split, features, seeds.
        protocols: of ``knn``, ``linear``, ``nonlinear``.
        allow_seen: evaluate checkpoints that saw test videos, and mark their rows.

    Returns:
        The records of this call.

    Raises:
        StoreError: the store, a view or the features are not there, or not complete.
        ValueError: no labels, no such split, a checkpoint that saw test videos or does not fit.
    """
    preset = request.load_preset()
    store = open_store(request)
    backbone = choose_backbone(store, view=preset.train_view, wanted=request.backbone)
    train = _side(store, request.split, "train", view=preset.train_view, backbone=backbone)
    test = _side(store, request.split, "test", view=preset.test_view, backbone=backbone)
    candidates = [*_baselines(train, test)]
    for seed in range(request.num_seeds):
        candidates += _candidates_of_seed(request, preset.pretrain, train, test, backbone=backbone, seed=seed)
    if not allow_seen:
        _refuse_seen(candidates)
    records = []
    num_classes = len(store.videos.class_names["label"])
    with ticking("probing", len(candidates) * len(protocols)) as ticker:
        for candidate in candidates:
            for protocol in protocols:
                outcome = evaluate_representation(
                    candidate.train,
                    train.labels,
                    train.groups,
                    candidate.test,
                    test.labels,
                    test.groups,
                    protocol=protocol,
                    num_classes=num_classes,
                    seed=candidate.seed or 0,
                )
                records.append(
                    EvaluationRecord(
                        dataset=request.dataset,
                        split=request.split,
                        preset=request.experiment,
                        backbone=backbone,
                        representation=candidate.name,
                        protocol=protocol,
                        metric="top1",
                        value=outcome.top1,
                        ci_low=outcome.ci_low,
                        ci_high=outcome.ci_high,
                        num_train=outcome.num_train,
                        num_test=outcome.num_test,
                        seed=candidate.seed,
                        checkpoint=str(candidate.checkpoint) if candidate.checkpoint else None,
                        seconds=outcome.seconds,
                        seen=candidate.seen,
                        note=outcome.note,
                    )
                )
                ticker.update(len(records), f"{candidate.name}, {protocol}")
    path = results_path(request)
    write_results(path, merge_records(read_results(path) if path.exists() else [], records))
    return records


def _side(store: FeatureStore, split: str, part: str, *, view: str, backbone: str) -> ProbeSide:
    videos = store.videos
    if "label" not in videos.labels:
        raise ValueError(
            f"the probes need labels, and data set {store.attributes['dataset']!r} has none; put the videos into one "
            "folder per class and extract again"
        )
    rows = videos.in_split(split, part)
    features = store.read_features(view, backbone, rows)
    there = features.valid.any(axis=1)
    if not there.all():
        note(f"{(~there).sum()} of {len(rows)} {part} videos have no features and are left out")
    kept = np.flatnonzero(there)
    parameters = store.plan_parameters(view)
    return ProbeSide(
        features=features.take(kept),
        labels=videos.labels["label"][rows[kept]],
        groups=np.array([videos.groups[row] for row in rows[kept]], dtype=np.str_),
        flips=parameters.get("flip_probability", 0) > 0,
    )


def _baselines(train: ProbeSide, test: ProbeSide) -> Iterator[Candidate]:
    """What needs no aggregator: the raw mean, the mean per time bin, the whitened mean."""

    def candidate(name: str, of_train: NDArray[np.float32], of_test: NDArray[np.float32]) -> Candidate:
        return Candidate(name, of_train, of_test, seed=None, checkpoint=None, seen=False)

    x_train, x_test = time_bins(train.features, 1), time_bins(test.features, 1)
    yield candidate("x", x_train, x_test)
    for num_bins in (2, 4):
        yield candidate(f"x-bins{num_bins}", time_bins(train.features, num_bins), time_bins(test.features, num_bins))
    whitening = Whitening.fit(x_train)
    yield candidate("x-whitened", whitening.apply(x_train), whitening.apply(x_test))


def _candidates_of_seed(
    request: ExperimentRequest,
    config: PretrainConfig,
    train: ProbeSide,
    test: ProbeSide,
    *,
    backbone: str,
    seed: int,
) -> list[Candidate]:
    """The untrained aggregator of a seed, and what its pre-training made of it."""
    feature_dim = train.features.feature_dim
    path = checkpoint_path(run_dir(request, backbone=backbone, seed=seed))
    untrained = initial_aggregator(config, feature_dim=feature_dim, seed=seed)
    pair = _embed_both(untrained, train, test, shuffle_seed=seed if config.shuffle_positions else None)
    init = _candidate("init", pair, "x+cls", seed=seed)
    if not path.exists():
        note(f"no checkpoint of seed {seed} at {path}; `scale-video pretrain` adds {', '.join(LEARNED)}")
        return [init]
    loaded = load_aggregator(path, feature_dim=feature_dim)
    _check_complete(loaded, path)
    seen = not set(loaded.training_video_ids).isdisjoint(test.features.video_ids)
    pair = _embed_both(loaded.model, train, test, shuffle_seed=seed if loaded.config.shuffle_positions else None)
    learned = [_candidate(name, pair, name, seed=seed, checkpoint=path, seen=seen) for name in LEARNED]
    return [init, *learned]


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


def _check_complete(loaded: LoadedAggregator, path: Path) -> None:
    if loaded.epochs_done < loaded.config.epochs:
        note(
            f"warning: {path} has {loaded.epochs_done} of {loaded.config.epochs} epochs behind it; "
            "`scale-video pretrain` completes it"
        )


def _refuse_seen(candidates: Sequence[Candidate]) -> None:
    for candidate in candidates:
        if candidate.seen:
            raise ValueError(
                f"checkpoint {str(candidate.checkpoint)!r} was pre-trained on test videos of this split; pre-train on "
                'its training videos (pretrain_videos = "train"), or mark the rows by --allow-seen'
            )
