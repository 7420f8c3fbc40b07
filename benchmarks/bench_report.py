"""What a report on a large data set takes: time, memory, and the size of the page.

    python benchmarks/bench_report.py --json report.json
    python benchmarks/bench_report.py --folder /tmp/large      # keeps the store, and finds it there again

The store is that of ``bench_explorer.py`` (240 000 videos × 16 clips × 768 take 5.9 GB of disk), with an untrained
aggregator of the paper's size in the place of a trained one, and results of three seeds with outcomes for 19 796 test
videos. No videos: frames are what decoding costs, see ``bench_decode.py``. The report is made in a process of its own.

``limit``: reading the features of the videos that the report shows and searches, embedding them, and two maps of them;
what is left is everything that a report does itself. Seconds are wall-clock, with the CPU time of the process beside.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from bench_explorer import NAME, VIEW, make_store

from scale_video.aggregate.checkpoint import TrainingRecord, aggregator_checkpoint
from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.evaluate.bootstrap import estimate
from scale_video.evaluate.embedding_map import embedding_map, sample_rows
from scale_video.evaluate.outcomes import Outcomes, write_outcomes
from scale_video.evaluate.representations import concatenate
from scale_video.evaluate.result import EvaluationRecord, write_results
from scale_video.pipelines.evaluation import record_digests
from scale_video.pipelines.paths import ExperimentRequest, checkpoint_path, results_path, run_dir
from scale_video.pipelines.provenance import feature_identity
from scale_video.pipelines.report.build import run_report
from scale_video.pipelines.report.sampled_vectors import MAX_SEARCHED
from scale_video.pipelines.report.sources import ReportRequest
from scale_video.store.read import FeatureStore

DATASET: Final = "bench"
REPRESENTATIONS: Final = ("x", "x-bins2", "x-bins4", "x-whitened", "init", "h", "cls", "x+cls", "x+h+cls")
PROTOCOLS: Final = ("knn", "linear", "nonlinear")
NUM_SEEDS: Final = 3


def experiment(folder: Path) -> ExperimentRequest:
    """What is reported on."""
    overrides = (f"train_view={VIEW}", f"test_view={VIEW}")
    store = str(folder / "bench.zarr")
    return ExperimentRequest(DATASET, store, "honest", num_seeds=NUM_SEEDS, overrides=overrides, runs=folder / "runs")


def make_aggregator(request: ExperimentRequest, store: FeatureStore) -> None:
    """An untrained aggregator of the paper's size where a trained one would be."""
    config, feature_dim = request.load_preset().pretrain, store.feature_dim(VIEW, NAME)
    identity = {"dataset": DATASET, **feature_identity(store, view=VIEW, backbone=NAME)}
    training = tuple(store.ids[row] for row in store.videos.in_split("1", "train"))
    record = TrainingRecord(config, feature_dim, training, identity, share_done=1.0)
    path = checkpoint_path(run_dir(request, backbone=NAME, seed=0))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(aggregator_checkpoint(initial_aggregator(config, feature_dim=feature_dim, seed=0), record), path)


def make_results(request: ExperimentRequest, store: FeatureStore, *, num_test: int) -> None:
    """Rows and outcomes as probes leave them."""
    rng = np.random.default_rng(0)
    tested = store.videos.in_split("1", "test")[:num_test]
    ids = np.array([store.ids[row] for row in tested])
    labels = store.videos.labels["label"][tested].astype(np.int64)
    num_classes = len(store.videos.class_names["label"])
    path = results_path(request)
    digests: dict[str, Any] = {**record_digests(store, request.load_preset(), backbone=NAME)}
    records = []
    for representation, protocol, seed in product(REPRESENTATIONS, PROTOCOLS, range(NUM_SEEDS)):
        raw = representation.startswith("x") and "+" not in representation
        if raw and seed:
            continue
        right = rng.random(len(ids)) < (0.5 if raw else 0.7)
        found = estimate(right.astype(float), ids)
        record = EvaluationRecord(
            dataset=DATASET, split="1", preset="honest", backbone=NAME,
            **digests,
            representation=representation, protocol=protocol, metric="top1",
            value=found.value, ci_low=found.low, ci_high=found.high,
            num_train=store.num_videos - len(ids), num_test=len(ids), seed=None if raw else seed,
            checkpoint=None if raw or representation == "init" else f"seed{seed}/last.ckpt",
            hyperparameters={}, seconds=1.0,
        )  # fmt: skip
        record = replace(record, outcomes=f"outcomes/{record.outcomes_name}")
        guesses = np.where(right, labels, rng.integers(num_classes, size=len(ids)))
        write_outcomes(
            path.parent / record.outcomes, Outcomes(ids, ids, labels, {"top1": right.astype(float)}, guesses)
        )
        records.append(record)
    write_results(path, records)


def measure(folder: Path) -> dict[str, Any]:
    """Of this process, which has done nothing else."""
    request = experiment(folder)
    before = _peak_kib()
    started, cpu = time.perf_counter(), time.process_time()
    result = run_report(ReportRequest(request, output=folder / "report.html"))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = _peak_kib()
    limit, limit_cpu = _limit(request)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "limit_seconds": limit,
        "limit_cpu_seconds": limit_cpu,
        "ratio": cpu_seconds / limit_cpu,
        "peak_gib_above_start": (peak - before) / 2**20,
        "page_megabytes": result.num_bytes / 1e6,
        "missing": result.missing,
    }


def _peak_kib() -> int:
    """The most memory that this process has held; getrusage would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def _limit(request: ExperimentRequest) -> tuple[float, float]:
    started, cpu = time.perf_counter(), time.process_time()
    store = FeatureStore.open(request.store)
    model = initial_aggregator(request.load_preset().pretrain, feature_dim=store.feature_dim(VIEW, NAME), seed=0)
    for part, at_most in (("train", MAX_SEARCHED), ("test", ReportRequest(request).num_videos)):
        rows = store.videos.in_split("1", part)
        features = store.read_features(VIEW, NAME, rows[sample_rows(len(rows), at_most=at_most)])
        found = embed_videos(model, features, flips=True)
    for name in ("x", "x+cls"):
        embedding_map(concatenate(found, name))
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    """Make what is missing, measure, print, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--test", type=int, default=19_796)
    parser.add_argument("--feature-dim", type=int, default=768)
    parser.add_argument("--folder", type=Path, help="Where the store is kept.  [default: a temporary folder]")
    parser.add_argument("--json", type=Path, help="Write the figures there too.")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        request = experiment(folder)
        if not Path(request.store).exists():
            make_store(Path(request.store), num_videos=given.videos, feature_dim=given.feature_dim)
        store = FeatureStore.open(request.store)
        make_aggregator(request, store)
        make_results(request, store, num_test=given.test)
        command = [sys.executable, __file__, "--measure", "--folder", str(folder)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found |= {
        "videos": given.videos,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "bokeh", "scikit-learn", "zarr")},
    }
    print(
        f"report on {given.videos:,} videos: {found['seconds']:.1f} s ({found['cpu_seconds']:.1f} s of CPU, "
        f"{found['ratio']:.2f} times reading, embedding and laying out what it shows), "
        f"{found['peak_gib_above_start']:.2f} GiB, {found['page_megabytes']:.1f} MB"
    )
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
