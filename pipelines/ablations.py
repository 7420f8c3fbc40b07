"""``scale-video ablations``: what each part of the method is worth on the demo, and what of the paper's claims holds.

Every variation is a pre-training of its own under a name of its own, with several seeds, and all are probed alike.
Trainings that are there already are not repeated.
"""

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from scale_video.evaluate.clip_draw import ClipDraw
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.claims import Finding, check_claims
from scale_video.pipelines.console import as_values, note
from scale_video.pipelines.demo import DemoRequest, demo_experiment, prepare_demo
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import (
    ExperimentRequest,
    choose_backbone,
    open_store,
    results_path,
    run_dir,
    write_whole,
)
from scale_video.pipelines.preset import PretrainVideos
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.probe_side import read_side
from scale_video.pipelines.seed_runs import own_runs

HARD = "demo-hard"
REPRESENTATIONS = ("x", "h", "cls", "x+cls")
PROTOCOLS = ("knn", "linear")
CLIPS_AT_TEST = (2, 4, 8, 12, 16)
CLIP_DRAWS = 3


@dataclass(frozen=True, slots=True)
class Variation:
    """One departure from the default, and all else as it is."""

    question: str
    name: str
    overrides: tuple[str, ...] = ()


_SETS_ONLY = ("pretrain.masked_clip_weight=0.0", "pretrain.set_weight=1.0")
DEFAULT = Variation("default", "both losses, sets of 8, 2 masked")
VARIATIONS = (
    Variation("losses", "masked clips only", ("pretrain.masked_clip_weight=1.0", "pretrain.set_weight=0.0")),
    Variation("losses", "sets only", _SETS_ONLY),
    # One clip is nothing to mask: sets alone, and (as good as) no clip masked.
    Variation(
        "clips per set",
        "1 (pairs of clips)",
        ("pretrain.clips_per_set=1", "pretrain.masking=independent", "pretrain.mask_fraction=1e-9", *_SETS_ONLY),
    ),
    Variation("clips per set", "2, 1 masked", ("pretrain.clips_per_set=2",)),
    Variation("clips per set", "4, 1 masked", ("pretrain.clips_per_set=4",)),
    Variation("candidates", "all clips of the batch", ("pretrain.negatives=all",)),
    Variation("masked of 8", "1", ("pretrain.mask_fraction=0.125",)),
    Variation("masked of 8", "4", ("pretrain.mask_fraction=0.5",)),
    Variation("masked of 8", "6", ("pretrain.mask_fraction=0.75",)),
    Variation("positions", "shuffled", ("pretrain.shuffle_positions=true",)),
)


@dataclass(frozen=True, slots=True)
class Practice:
    """A choice of protocol that the published code makes in its way, and the honest preset in another."""

    name: str
    overrides: tuple[str, ...] = ()
    videos: PretrainVideos | None = None


_BY_CLIP, _ON_TEST = "pretrain.masking=independent", "evaluate.selection=test"
PRACTICES = (
    Practice("honest"),
    Practice("masks drawn clip by clip", (_BY_CLIP,)),
    Practice("pre-trained on all videos", videos="all"),
    Practice("epochs and averaging chosen on test", (_ON_TEST,)),
    Practice("all three, as published", (_BY_CLIP, _ON_TEST), "all"),
)
PRACTICE_PROBES = (
    ("x", "linear-per-clip"),
    ("x", "nonlinear-per-clip"),
    ("x+cls", "knn"),
    ("x+cls", "linear-per-clip"),
    ("x+cls", "fine-tuning"),
)
"""What the paper's tables compare, and k-NN."""


@dataclass(frozen=True, slots=True)
class VariationResult:
    """What a variation came to."""

    variation: Variation
    records: tuple[EvaluationRecord, ...]
    training_seconds: tuple[float, ...]
    """Of each seed, from its ``metrics.csv``."""


@dataclass(frozen=True, slots=True)
class AblationsResult:
    """All that was found."""

    variations: tuple[VariationResult, ...]
    """The default first."""
    clips_at_test: tuple[EvaluationRecord, ...]
    """Of the default, with fewer clips of each test video."""
    practices: Mapping[str, tuple[EvaluationRecord, ...]]
    """By the name of the practice, ``honest`` first."""
    claims: tuple[Finding, ...]
    transfer: tuple[EvaluationRecord, ...]
    """On ``demo-hard``: raw, with aggregators of ``demo``, and with its own."""
    extraction_seconds: float
    """Of the demo's videos, on this machine, measured once."""
    path: Path


def run_ablations(request: DemoRequest) -> AblationsResult:
    """Train and probe all that is missing.

    Args:
        request: Where, with how many seeds, on how many videos.

    Raises:
        ValueError: a folder that holds a rendering or a run with other parameters.
    """
    default = replace(demo_experiment(request, variant="demo"), collected_in="ablations")
    folder = results_path(default).parent
    prepare_demo(request, variant="demo")
    extraction_seconds = _extraction_seconds(request, folder / "extraction.json")
    variations = [_train_and_probe(_experiment(default, variation), variation) for variation in (DEFAULT, *VARIATIONS)]
    note("== fewer clips at test")
    draws = [ClipDraw(number, seed) for number in CLIPS_AT_TEST for seed in range(CLIP_DRAWS)]
    clips_at_test = run_evaluation(default, protocols=("knn",), representations=REPRESENTATIONS, clip_draws=draws)
    practices: dict[str, tuple[EvaluationRecord, ...]] = {}
    for practice in PRACTICES:
        practices[practice.name] = _follow(default, practice) + _raw(default, practice, practices)
    note("== claims")
    claims = _claims(default)
    result = AblationsResult(
        variations=tuple(variations),
        clips_at_test=tuple(clips_at_test),
        practices=practices,
        claims=tuple(claims),
        transfer=tuple(_transfer(request, default)),
        extraction_seconds=extraction_seconds,
        path=folder / "ablations.json",
    )
    write_whole(result.path, json.dumps(as_values(result), indent=2, ensure_ascii=False) + "\n")
    return result


def _experiment(default: ExperimentRequest, variation: Variation) -> ExperimentRequest:
    if not variation.overrides:
        return default
    label = _label(f"{variation.question} {variation.name}")
    return replace(default, label=label, overrides=(*default.overrides, *variation.overrides))


def _train_and_probe(experiment: ExperimentRequest, variation: Variation) -> VariationResult:
    note(f"== {variation.question}: {variation.name}")
    checkpoints = run_pretraining(experiment)
    records = run_evaluation(experiment, protocols=PROTOCOLS, representations=REPRESENTATIONS)
    return VariationResult(
        variation=variation,
        records=tuple(records),
        training_seconds=tuple(_seconds(checkpoint.parent / "metrics.csv") for checkpoint in checkpoints),
    )


def _follow(default: ExperimentRequest, practice: Practice) -> tuple[EvaluationRecord, ...]:
    """Train as a practice says, and run the paper's probes on what comes of it."""
    note(f"== {practice.name}")
    experiment = replace(default, overrides=(*default.overrides, *practice.overrides), videos=practice.videos)
    if _BY_CLIP in practice.overrides:
        experiment = replace(experiment, label=_label(practice.name))
    run_pretraining(experiment)
    return _probe(experiment, representation="x+cls", allow_seen=practice.videos == "all")


def _raw(
    default: ExperimentRequest, practice: Practice, known: Mapping[str, tuple[EvaluationRecord, ...]]
) -> tuple[EvaluationRecord, ...]:
    """Raw features under a practice: probed once for each way of choosing, as they know of no training."""
    choosing = tuple(override for override in practice.overrides if override == _ON_TEST)
    for earlier in PRACTICES[: len(known)]:
        if (_ON_TEST in earlier.overrides) == bool(choosing):
            return tuple(record for record in known[earlier.name] if record.representation == "x")
    return _probe(replace(default, overrides=(*default.overrides, *choosing)), representation="x")


def _probe(
    experiment: ExperimentRequest, *, representation: str, allow_seen: bool = False
) -> tuple[EvaluationRecord, ...]:
    protocols = [protocol for name, protocol in PRACTICE_PROBES if name == representation]
    return tuple(
        run_evaluation(experiment, protocols=protocols, representations=(representation,), allow_seen=allow_seen)
    )


def _label(text: str) -> str:
    return f"ablation-{'-'.join(''.join(c if c.isalnum() else ' ' for c in text).split())}"


def _seconds(metrics: Path) -> float:
    """Time that the epochs of a training took."""
    with metrics.open(newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _claims(experiment: ExperimentRequest) -> list[Finding]:
    preset = experiment.load_preset()
    store = open_store(experiment)
    backbone = choose_backbone(store, view=preset.train_view, wanted=experiment.backbone)
    runs = list(own_runs(experiment, store, preset, backbone=backbone))
    train = read_side(store, experiment.split, "train", view=preset.train_view, backbone=backbone)
    test = read_side(store, experiment.split, "test", view=preset.test_view, backbone=backbone)
    return list(check_claims(runs, train, test, num_classes=len(store.videos.class_names["label"])))


def _transfer(request: DemoRequest, default: ExperimentRequest) -> list[EvaluationRecord]:
    """Aggregators of the demo on motions of which they know the half, beside aggregators trained on these."""
    note(f"== transfer to {HARD}")
    hard = replace(demo_experiment(request, variant=HARD), collected_in="ablations")
    prepare_demo(request, variant=HARD)
    run_pretraining(hard)
    backbone = default.backbone or request.backbone
    trained_on_demo = run_dir(default, backbone=backbone, seed=0).parent
    own = run_evaluation(hard, protocols=PROTOCOLS, representations=REPRESENTATIONS)
    learned = [name for name in REPRESENTATIONS if name != "x"]
    return own + run_evaluation(hard, protocols=PROTOCOLS, representations=learned, checkpoints=[trained_on_demo])


def _extraction_seconds(request: DemoRequest, kept: Path) -> float:
    """How long the demo's extraction takes, planning included: measured once, on a store that is deleted again."""
    if kept.exists():
        return float(json.loads(kept.read_bytes())["seconds"])
    note("== time of the extraction")
    store = kept.with_name("extraction.zarr")
    shutil.rmtree(store, ignore_errors=True)
    started = perf_counter()
    prepare_demo(request, variant="demo", store=str(store))
    seconds = perf_counter() - started
    shutil.rmtree(store)
    write_whole(kept, json.dumps({"seconds": seconds}) + "\n")
    return seconds
