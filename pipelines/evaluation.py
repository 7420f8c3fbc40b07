"""``scale-video evaluate``, and its shorthands: what raw and aggregated features are worth on a split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from scale_video.evaluate.clip_draw import ClipDraw, draw_clips
from scale_video.evaluate.options import CLIP_PROTOCOLS, DEFAULT_OPTIONS, WINDOW_PROTOCOLS, ProbeOptions
from scale_video.evaluate.outcomes import Outcomes, write_outcomes
from scale_video.evaluate.probe import ProbeOutcome, evaluate_representation
from scale_video.evaluate.probe_checks import Names
from scale_video.evaluate.protocols import CHOOSE_NOTHING, applies
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.result import PROTOCOLS, EvaluationRecord, add_records, read_results
from scale_video.evaluate.targets import TargetKind, is_labelled
from scale_video.pipelines.candidates import (
    DEFAULT_REPRESENTATIONS,
    Candidate,
    SeedRun,
    available,
    baselines,
    candidates_of_seed,
)
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.evaluation_journal import noting_evaluation
from scale_video.pipelines.paths import (
    ExperimentRequest,
    choose_backbone,
    open_store,
    results_path,
)
from scale_video.pipelines.preset import Preset
from scale_video.pipelines.probe_side import ProbeSide, ProbeSides, read_side
from scale_video.pipelines.probe_target import ProbeTarget, read_target, usual_target
from scale_video.pipelines.provenance import check_alike, digest_of_sides, feature_identity, warn_of_normalisation
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
    target: str | None = None,
    allow_seen: bool = False,
    watch: Callable[[Candidate], None] | None = None,
) -> list[EvaluationRecord]:
    """Probe the raw features, the baselines and every pre-trained seed; collect the records in ``results.json``.

    What must be refused is refused before features are read; the records of a probe are in the file as soon as they
    are known, beside the outcomes that they come from. A GPU is used if there is one.

    Args:
        request: data set, split, features, seeds.
        protocols: of ``PROTOCOLS``; each runs on those representations that it applies to.
        representations: of ``REPRESENTATIONS``; those that need a checkpoint are probed for the seeds that have one.
        options: every protocol runs under each of them; what ``Preset.probes`` decides is taken from there.
        clip_draws: so many clips of every test video, each time; None for all that there are.
        checkpoints: files or folders; aggregators from elsewhere, in place of the experiment's own seeds.
        target: column of the table of videos that is predicted; that of ``usual_target`` when None.
        allow_seen: evaluate checkpoints that saw test videos, and mark their rows.
        watch: is shown each candidate before it is probed.

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
    target = target or usual_target(store.videos, split=request.split)
    predicted = read_target(store.videos, target, dataset=request.dataset)
    if (own := store.videos.own_column(request.split)) not in (None, target):
        note(f"split {request.split!r} has a column of its own, {own!r}; predicting {target!r} as --target says")
    digests = record_digests(store, preset, backbone=backbone)
    warn_of_normalisation(preset, store.backbone_attributes(preset.train_view, backbone))
    raw = [name for name in RAW_REPRESENTATIONS if name in representations]
    runs: list[SeedRun] = []
    if len(raw) < len(set(representations)):
        if checkpoints:
            runs += runs_from_elsewhere(checkpoints, request, store, preset, backbone=backbone)
        else:
            runs += own_runs(request, store, preset, backbone=backbone)
    wanted = _wanted_of(runs, representations)
    names = [*raw, *(name for run, some in zip(runs, wanted, strict=True) for name in available(run, some))]
    if not names:
        raise ValueError(f"{', '.join(representations)} need a checkpoint; run `scale-video pretrain` first")
    num_probes = _num_probes(protocols, names, kind=predicted.kind)
    if not allow_seen:
        _refuse_seen(runs)
    results = results_path(request)
    if results.exists():
        read_results(results)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    records: list[EvaluationRecord] = []
    with noting_evaluation(request, backbone=backbone, protocols=protocols, device=device, records=records):
        sides = _read_sides(request, store, preset, backbone=backbone, target=target, clip_draws=clip_draws)
        options = [
            replace(
                option,
                selection=preset.probes.selection,
                schedule_epochs=preset.probes.schedule_epochs,
                window_seconds=preset.probes.window_seconds,
            )
            for option in options
        ]
        num_probed = 0
        with ticking("probing", num_probes * len(sides.tests) * len(options)) as ticker:
            for of_sides, some in _by_windows(sides, protocols, window_seconds=preset.probes.window_seconds):
                for candidate in _candidates(of_sides, runs, wanted, raw=raw, device=device):
                    if watch is not None:
                        watch(candidate)
                    for protocol, option in product(some, options):
                        if not applies(protocol, candidate.name, predicted.kind):
                            continue
                        outcome = _probe(
                            candidate,
                            of_sides,
                            predicted,
                            split=request.split,
                            protocol=protocol,
                            option=option,
                            device=device,
                        )
                        found = _records(
                            request,
                            candidate,
                            outcome,
                            protocol=protocol,
                            options={**option.departures(protocol), **candidate.tested.clips},
                            backbone=backbone,
                            digests=digests,
                            target=target,
                        )
                        outcomes = _outcomes(outcome, candidate.tested, kind=predicted.kind)
                        write_outcomes(results.parent / found[0].outcomes, outcomes)
                        add_records(results, found)
                        records += found
                        num_probed += 1
                        ticker.update(num_probed, f"{candidate.name}, {protocol}")
    return records


def _by_windows(
    sides: ProbeSides, protocols: Sequence[str], *, window_seconds: float
) -> Iterator[tuple[ProbeSides, list[str]]]:
    """What each protocol looks at: windows of videos where there are to be any, or whole videos."""
    of_windows = [protocol for protocol in protocols if window_seconds and protocol in WINDOW_PROTOCOLS]
    of_videos = [protocol for protocol in protocols if protocol not in of_windows]
    if of_videos:
        yield sides, of_videos
    if of_windows:
        yield sides.cut(window_seconds), of_windows


def _candidates(
    sides: ProbeSides, runs: Sequence[SeedRun], wanted: Sequence[Sequence[str]], *, raw: Sequence[str], device: str
) -> Iterator[Candidate]:
    """The raw features and baselines, and what each aggregator makes of the videos."""
    yield from baselines(sides, wanted=raw)
    for run, some in zip(runs, wanted, strict=True):
        yield from candidates_of_seed(run, sides, wanted=some, device=device)


def record_digests(store: ReadableStore, preset: Preset, *, backbone: str) -> dict[str, str]:
    """The digests that records of these features carry: of both sides' plans, of the weights and of their use.

    Raises:
        MissingArrayError: one of the views has no such features.
        ValueError: the two views were seen by different weights, or in different ways.
    """
    train, test = (
        feature_identity(store, view=view, backbone=backbone) for view in (preset.train_view, preset.test_view)
    )
    check_alike(train, test)
    return {
        "plan_digest": train["plan_digest"],
        "test_plan_digest": test["plan_digest"],
        "weights_digest": train["weights_digest"],
        "forward_digest": digest_of_sides(train, test),
    }


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"name at least one {what} of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is none of {', '.join(known)}")


def _wanted_of(runs: Sequence[SeedRun], representations: Sequence[str]) -> list[list[str]]:
    """What is wanted of each run: of equal untrained aggregators, the first alone."""
    known: set[tuple[str, int]] = set()
    wanted = []
    for run in runs:
        untrained = (run.architecture, run.seed)
        wanted.append([name for name in representations if name != "init" or untrained not in known])
        known.add(untrained)
    return wanted


def _num_probes(protocols: Sequence[str], names: Sequence[str], *, kind: TargetKind) -> int:
    """How many pairs of protocol and representation there are; protocols without any are named."""
    counts = {protocol: sum(applies(protocol, name, kind) for name in names) for protocol in protocols}
    idle = [protocol for protocol, count in counts.items() if count == 0]
    if idle:
        left_out = f"{', '.join(idle)} cannot be run on {', '.join(dict.fromkeys(names))} and this target"
        if len(idle) == len(counts):
            raise ValueError(f"{left_out}; name other --representations, or run `scale-video pretrain` first")
        note(f"{left_out}: left out")
    return sum(counts.values())


def _refuse_seen(runs: Sequence[SeedRun]) -> None:
    for run in runs:
        if run.seen:
            raise ValueError(
                f"checkpoint {str(run.checkpoint)!r} was pre-trained on test videos of this split; pre-train on "
                'its training videos (pretrain_videos = "train"), or mark the rows by --allow-seen'
            )


def _read_sides(
    request: ExperimentRequest,
    store: ReadableStore,
    preset: Preset,
    *,
    backbone: str,
    target: str,
    clip_draws: Sequence[ClipDraw | None],
) -> ProbeSides:
    """All parts of the split; validation videos stand in for a hold-out of training videos, so they have their view."""
    read = partial(read_side, store, request.split, backbone=backbone, target=target)
    num_validation = store.videos.in_split(request.split, "validation").size
    sides = []
    for part, spoken, view in (("train", "training", preset.train_view), ("test", "test", preset.test_view)):
        side = read(part, view=view)
        if side.features.num_videos == 0 == side.num_left_out:
            raise ValueError(f"split {request.split!r} has no {spoken} videos; name another --split")
        if side.features.num_videos == 0:
            raise ValueError(
                f"0 of {side.num_left_out} {spoken} videos of split {request.split!r} have features of {backbone!r} in "
                f"view {view!r}; `scale-video failures {request.store}` lists why"
            )
        sides.append(side)
    train, test = sides
    validation = read("validation", view=preset.train_view) if num_validation else None
    unused = ""
    if validation is not None and validation.features.num_videos == 0:
        unused = f"none of {num_validation} validation videos has features, so nothing is chosen on them"
        validation = None
    return ProbeSides(train, validation, [_drawn(test, draw) for draw in clip_draws], unused)


def _drawn(test: ProbeSide, draw: ClipDraw | None) -> ProbeSide:
    """The test side with some of its clips."""
    if draw is None:
        return test
    return replace(test, features=draw_clips(test.features, draw), clips=draw.options)


def _probe(
    candidate: Candidate,
    sides: ProbeSides,
    target: ProbeTarget,
    *,
    split: str,
    protocol: str,
    option: ProbeOptions,
    device: str,
) -> ProbeOutcome:
    train, validation, test = sides.train, sides.validation, candidate.tested
    on_clips = protocol in CLIP_PROTOCOLS
    chosen_on = candidate.clips_of(validation) if on_clips and validation else candidate.validation
    parts = {"train": train, "test": test} | ({"validation": validation} if validation else {})
    videos = {name: part.features.video_ids for name, part in parts.items()}
    outcome = evaluate_representation(
        candidate.clips_of(train) if on_clips else candidate.train,
        train.labels,
        train.groups,
        candidate.clips_of(test) if on_clips else candidate.test,
        test.labels,
        test.groups,
        protocol=protocol,
        num_classes=len(target.class_names),
        seed=candidate.seed or 0,
        kind=target.kind,
        validation=(chosen_on, validation.labels) if validation and chosen_on is not None else None,
        encoder=candidate.encoder,
        windows=(train.windows, test.windows) if train.windows and test.windows else None,
        options=option,
        device=device,
        names=Names(split, target.name, target.class_names, videos),
    )
    unused = "" if protocol in CHOOSE_NOTHING else sides.unused
    return replace(outcome, note=_joined(outcome.note, unused, _left_out_note(train, test)))


def _outcomes(outcome: ProbeOutcome, test: ProbeSide, *, kind: TargetKind) -> Outcomes:
    tested = np.flatnonzero(is_labelled(kind, test.labels))
    labels = test.labels[tested]
    return Outcomes(
        video_ids=np.array([test.video_ids[row] for row in tested], dtype=np.str_),
        groups=test.groups[tested],
        labels=labels if kind == "number" else labels.astype(np.int64),
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
    target: str,
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
        note=_joined(outcome.note, candidate.note),
        options=options,
        target=target,
        pretrained_on=candidate.pretrained_on,
        pretrain_videos=candidate.pretrain_videos,
        training=candidate.training,
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
