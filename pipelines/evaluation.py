"""``scale-video evaluate``, and its shorthands: what raw and aggregated features are worth on a split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch

from scale_video.evaluate.clip_draw import ClipDraw, draw_clips
from scale_video.evaluate.options import DEFAULT_OPTIONS, ProbeOptions
from scale_video.evaluate.outcomes import Outcomes, write_outcomes
from scale_video.evaluate.probe import ProbeOutcome, evaluate_representation
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.result import PROTOCOLS, EvaluationRecord, add_records, read_results
from scale_video.pipelines.candidates import (
    DEFAULT_REPRESENTATIONS,
    Candidate,
    SeedRun,
    available,
    baselines,
    candidates_of_seed,
)
from scale_video.pipelines.console import ticking
from scale_video.pipelines.paths import (
    ExperimentRequest,
    choose_backbone,
    open_store,
    results_path,
)
from scale_video.pipelines.preset import Preset
from scale_video.pipelines.probe_side import ProbeSide, read_side
from scale_video.pipelines.provenance import feature_identity
from scale_video.pipelines.seed_runs import own_runs, runs_from_elsewhere
from scale_video.store.union import ReadableStore

OUTCOMES_FOLDER = "outcomes"
"""Beside ``results.json``; holds the scores of single test videos."""


def run_evaluation(
    request: ExperimentRequest,
    *,
    protocols: Sequence[str],
    representations: Sequence[str] = DEFAULT_REPRESENTATIONS,
    options: Sequence[ProbeOptions] = (DEFAULT_OPTIONS,),
    clip_draws: Sequence[ClipDraw | None] = (None,),
    checkpoints: Sequence[Path] = (),
    allow_seen: bool = False,
) -> list[EvaluationRecord]:
    """Probe the raw features, the baselines and every pre-trained seed; collect the records in ``results.json``.

    What must be refused is refused before features are read; the records of a representation are in the file as soon
    as they are known. A GPU is used if there is one.

    Args:
        request: data set, split, features, seeds.
        protocols: of ``PROTOCOLS``.
        representations: of ``REPRESENTATIONS``; those that need a checkpoint are probed for the seeds that have one.
        options: every protocol runs under each of them.
        clip_draws: so many clips of every test video, each time; None for all that there are.
        checkpoints: files or folders; aggregators from elsewhere, in place of the experiment's own seeds.
        allow_seen: evaluate checkpoints that saw test videos, and mark their rows.

    Returns:
        The records of this call.

    Raises:
        StoreError: the store, a view or the features are not there, or not complete.
        ValueError: an unknown name, no labels, no such split, views of different weights, a damaged results file,
            nothing to probe, or a checkpoint that saw test videos or was trained on other features.
    """
    _check_names("protocol", protocols, PROTOCOLS)
    _check_names("representation", representations, REPRESENTATIONS)
    preset = request.load_preset()
    store = open_store(request)
    backbone = choose_backbone(store, view=preset.train_view, wanted=request.backbone)
    _check_labels(store)
    digests = record_digests(store, preset, backbone=backbone)
    raw = [name for name in RAW_REPRESENTATIONS if name in representations]
    runs: list[SeedRun] = []
    if len(raw) < len(set(representations)):
        if checkpoints:
            runs += runs_from_elsewhere(checkpoints, request, store, preset, backbone=backbone)
        else:
            runs += own_runs(request, store, preset, backbone=backbone)
    num_candidates = len(raw) + sum(len(available(run, representations)) for run in runs)
    if num_candidates == 0:
        raise ValueError(f"{', '.join(representations)} need a checkpoint; run `scale-video pretrain` first")
    if not allow_seen:
        _refuse_seen(runs)
    results = results_path(request)
    if results.exists():
        read_results(results)

    train = read_side(store, request.split, "train", view=preset.train_view, backbone=backbone)
    test = read_side(store, request.split, "test", view=preset.test_view, backbone=backbone)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tests = [_drawn(test, draw) for draw in clip_draws]
    of_seeds = (candidates_of_seed(run, train, tests, wanted=representations, device=device) for run in runs)
    num_classes = len(store.videos.class_names["label"])
    records: list[EvaluationRecord] = []
    num_probed = 0
    with ticking("probing", num_candidates * len(tests) * len(protocols) * len(options)) as ticker:
        for candidate in chain(baselines(train, tests, wanted=representations), chain.from_iterable(of_seeds)):
            of_candidate: list[EvaluationRecord] = []
            for protocol, option in product(protocols, options):
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
                    options=option,
                    device=device,
                )
                outcome = replace(outcome, note=_joined(outcome.note, _left_out_note(train, test)))
                found = _records(
                    request,
                    candidate,
                    outcome,
                    protocol=protocol,
                    options=option.departures(protocol) | candidate.clips,
                    backbone=backbone,
                    digests=digests,
                )
                write_outcomes(results.parent / found[0].outcomes, _outcomes(outcome, test))
                of_candidate += found
                num_probed += 1
                ticker.update(num_probed, f"{candidate.name}, {protocol}")
            add_records(results, of_candidate)
            records += of_candidate
    return records


def record_digests(store: ReadableStore, preset: Preset, *, backbone: str) -> dict[str, str]:
    """The digests that records of these features carry: of both sides' plans, and of the weights.

    Raises:
        MissingArrayError: one of the views has no such features.
        ValueError: the two views were seen by different weights.
    """
    train, test = (
        feature_identity(store, view=view, backbone=backbone) for view in (preset.train_view, preset.test_view)
    )
    if train["weights_digest"] != test["weights_digest"]:
        raise ValueError(
            f"the features of {backbone!r} in view {preset.test_view!r} come from other weights than those in view "
            f"{preset.train_view!r} (weights_digest: {test['weights_digest']!r} != {train['weights_digest']!r}); "
            "extract both views with the same weights, under a name of their own"
        )
    return {
        "plan_digest": train["plan_digest"],
        "test_plan_digest": test["plan_digest"],
        "weights_digest": train["weights_digest"],
    }


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"name at least one {what} of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is none of {', '.join(known)}")


def _check_labels(store: ReadableStore) -> None:
    if "label" not in store.videos.labels:
        raise ValueError(
            f"the probes need labels, and data set {store.attributes['dataset']!r} has none; put the videos into one "
            "folder per class and extract again"
        )


def _refuse_seen(runs: Sequence[SeedRun]) -> None:
    for run in runs:
        if run.seen:
            raise ValueError(
                f"checkpoint {str(run.checkpoint)!r} was pre-trained on test videos of this split; pre-train on "
                'its training videos (pretrain_videos = "train"), or mark the rows by --allow-seen'
            )


def _drawn(test: ProbeSide, draw: ClipDraw | None) -> ProbeSide:
    """The test side with some of its clips."""
    if draw is None:
        return test
    return replace(test, features=draw_clips(test.features, draw), clips=draw.options)


def _outcomes(outcome: ProbeOutcome, test: ProbeSide) -> Outcomes:
    tested = np.flatnonzero(test.labels >= 0)
    return Outcomes(
        video_ids=np.array([test.features.video_ids[row] for row in tested], dtype=np.str_),
        groups=test.groups[tested],
        labels=test.labels[tested].astype(np.int64),
        scores=outcome.scores,
        predictions=outcome.predictions[tested],
    )


def _records(
    request: ExperimentRequest,
    candidate: Candidate,
    outcome: ProbeOutcome,
    *,
    protocol: str,
    options: Mapping[str, float],
    backbone: str,
    digests: Mapping[str, str],
) -> list[EvaluationRecord]:
    """A record for each metric."""
    [(first_metric, first), *others] = outcome.estimates.items()
    record = EvaluationRecord(
        dataset=request.dataset,
        split=request.split,
        preset=request.experiment,
        backbone=backbone,
        **digests,
        representation=candidate.name,
        protocol=protocol,
        metric=first_metric,
        value=first.value,
        ci_low=first.low,
        ci_high=first.high,
        num_train=outcome.num_train,
        num_test=outcome.num_test,
        seed=candidate.seed,
        checkpoint=str(candidate.checkpoint) if candidate.checkpoint else None,
        hyperparameters=outcome.hyperparameters,
        seconds=outcome.seconds,
        seen=candidate.seen,
        note=outcome.note,
        options=options,
        pretrained_on=candidate.pretrained_on,
        pretrain_videos=candidate.pretrain_videos,
    )
    record = replace(record, outcomes=f"{OUTCOMES_FOLDER}/{record.outcomes_name}")
    return [
        record,
        *(
            replace(record, metric=metric, value=estimate.value, ci_low=estimate.low, ci_high=estimate.high)
            for metric, estimate in others
        ),
    ]


def _left_out_note(train: ProbeSide, test: ProbeSide) -> str:
    if train.num_left_out == test.num_left_out == 0:
        return ""
    return f"without features and left out: {train.num_left_out} training and {test.num_left_out} test videos"


def _joined(*notes: str) -> str:
    return "; ".join(text for text in notes if text)
