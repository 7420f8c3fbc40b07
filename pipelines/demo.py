"""``scale-video demo``: render, extract, pre-train, evaluate, on the embedded data set, and notice what is done."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from scale_video.evaluate.result import EvaluationRecord, read_results
from scale_video.pipelines.candidates import DEFAULT_REPRESENTATIONS
from scale_video.pipelines.cli_options import DEMO_BACKBONE
from scale_video.pipelines.code_version import versions
from scale_video.pipelines.console import note
from scale_video.pipelines.evaluation import record_digests, run_evaluation
from scale_video.pipelines.extraction import run_extract, within_budget
from scale_video.pipelines.paths import (
    ExperimentRequest,
    checkpoint_path,
    extraction_journal,
    results_path,
    run_dir,
    write_whole,
)
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.rendering import render
from scale_video.pipelines.requests import ExtractionRequest
from scale_video.store.read import FeatureStore

PROTOCOLS = ("knn", "linear", "nonlinear")


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """What a user asks of the demo."""

    root: Path
    """Where ``data/``, ``features/`` and ``runs/`` go."""
    num_seeds: int = 1
    """Pre-training seeds; more than one adds the control data set and the run with shuffled positions."""
    data_seed: int = 0
    """Another rendering; its files go to ``data-seed<n>/`` below the root."""
    num_workers: int = 1
    overrides: tuple[str, ...] = ()
    backbone: str = DEMO_BACKBONE
    """A shipped one."""
    num_videos: tuple[int, int] | None = None
    """Training and test videos; the defaults of ``DemoParameters`` when None."""

    @property
    def folder(self) -> Path:
        """Of this rendering's ``data/``, ``features/`` and ``runs/``."""
        return self.root if self.data_seed == 0 else self.root / f"data-seed{self.data_seed}"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found."""

    records: tuple[EvaluationRecord, ...]
    results: Path
    seconds: float
    """Of this call."""


def run_demo(request: DemoRequest) -> DemoResult:
    """Run every part of the demo that is not done.

    Raises:
        ValueError: a folder that holds a rendering or a run with other parameters.
    """
    started = perf_counter()
    experiments = [demo_experiment(request, variant="demo")]
    if request.num_seeds > 1:
        shuffled = replace(
            experiments[0],
            overrides=(*request.overrides, "pretrain.shuffle_positions=true"),
            label="demo-shuffled",
        )
        experiments += [shuffled, demo_experiment(request, variant="demo-control")]
    records: list[EvaluationRecord] = []
    for experiment in experiments:
        note(f"== {experiment.experiment} on {experiment.dataset}")
        prepare_demo(request, variant=experiment.dataset)
        run_pretraining(experiment)
        protocols = PROTOCOLS if experiment is experiments[0] else ("knn",)
        records += _evaluate_once(experiment, protocols=protocols)
    return DemoResult(records=tuple(records), results=results_path(experiments[0]), seconds=perf_counter() - started)


def demo_experiment(request: DemoRequest, *, variant: str) -> ExperimentRequest:
    """Pre-training and evaluation on a variant of the demo."""
    return ExperimentRequest(
        dataset=variant,
        store=_store(request, variant),
        preset="demo",
        backbone=request.backbone,
        num_seeds=request.num_seeds,
        overrides=request.overrides,
        runs=request.folder / "runs",
        collected_in="demo",
    )


def prepare_demo(request: DemoRequest, *, variant: str, store: str | None = None) -> None:
    """Render and extract what is missing of a variant.

    Args:
        request: Where, and how many videos.
        variant: ``demo``, ``demo-hard`` or ``demo-control``.
        store: Another store than the variant's own; the journal is about that one.

    Raises:
        ValueError: the folder holds a rendering with other parameters, or a video failed to decode.
    """
    data = request.folder / "data" / variant
    render(variant, data, num_workers=request.num_workers, seed=request.data_seed, num_videos=request.num_videos)
    extraction = ExtractionRequest(
        dataset=variant,
        data_root=data,
        store=store or _store(request, variant),
        preset="demo",
        overrides=request.overrides,
        backbones=(request.backbone,),
        num_workers=request.num_workers,
        journal=extraction_journal(request.folder / "runs", dataset=variant) if store is None else None,
    )
    result = run_extract(extraction)
    if not within_budget(result, "0"):
        failures = [failure for report in result.reports.values() for failure in report.failures]
        raise ValueError(f"{len(failures)} rendered videos failed to decode, the first: {failures[:1]}")


def _store(request: DemoRequest, variant: str) -> str:
    return str(request.folder / "features" / f"{variant}.zarr")


def _evaluate_once(experiment: ExperimentRequest, *, protocols: Sequence[str]) -> list[EvaluationRecord]:
    """Evaluate, unless the same features and checkpoints were evaluated before."""
    results = results_path(experiment)
    marker = results.parent / f"{experiment.dataset}-{experiment.experiment}.evaluated.json"
    backbone = experiment.backbone or DEMO_BACKBONE
    digests = record_digests(FeatureStore.open(experiment.store), experiment.load_preset(), backbone=backbone)
    fingerprint = _fingerprint(experiment, digests, protocols)
    if results.exists() and _read_fingerprint(marker) == fingerprint:
        note(f"evaluated already: {results}")
        return [
            record
            for record in read_results(results)
            if (record.dataset, record.preset) == (experiment.dataset, experiment.experiment)
            and all(getattr(record, name) == digest for name, digest in digests.items())
            and (record.seed is None or record.seed < experiment.num_seeds)
            and record.protocol in protocols
            and record.representation in DEFAULT_REPRESENTATIONS
            # Rows of `scale-video evaluate` lie beside these.
            and not record.options
            and not record.pretrained_on
            and record.target == "label"
        ]
    records = run_evaluation(experiment, protocols=protocols)
    write_whole(marker, json.dumps({"fingerprint": fingerprint}) + "\n")
    return records


def _read_fingerprint(marker: Path) -> str | None:
    """What was evaluated last; None where there is no marker, or none that can be read."""
    try:
        fingerprint = json.loads(marker.read_bytes())["fingerprint"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return str(fingerprint)


def _fingerprint(experiment: ExperimentRequest, digests: Mapping[str, str], protocols: Sequence[str]) -> str:
    """Of everything that the numbers follow from: plans, weights, checkpoints, protocols, versions."""
    backbone = experiment.backbone or DEMO_BACKBONE
    described = {
        **digests,
        "protocols": list(protocols),
        "versions": versions(),
        "checkpoints": [
            hashlib.blake2b(checkpoint_path(run_dir(experiment, backbone=backbone, seed=seed)).read_bytes()).hexdigest()
            for seed in range(experiment.num_seeds)
        ],
    }
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()
