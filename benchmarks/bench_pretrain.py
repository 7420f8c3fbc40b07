"""What a step of pre-training costs: sparse outputs against dense ones, and what feeds and drives the step.

Cases of ``step`` and ``memory``: ``sparse`` computes heads and similarities for the masked clips only, with every clip
of the batch as a candidate: the same loss as the peer's. ``masked_negatives`` takes the masked clips alone as
candidates: another loss, and a cheaper one. The peer ``dense`` (``dense_pretraining.py``) computes all outputs, and
selects the masked rows of the loss at the end. ``batch`` is the building of a batch, against 3 % of a step;
``loop`` is Lightning's loop with our callbacks, against a bare loop over the same batches.

    python benchmarks/bench_pretrain.py                       # the paper's sizes: about 10 seconds a step
    python benchmarks/bench_pretrain.py --batch 32 --repeats 5 --json pretrain.json --cases step batch

Times are medians over steps of the three cases in turn, in one process; with one thread they are CPU time, which other
work on the machine disturbs less. Memory is the peak resident memory above what was there before the first step
(weights and batch), each case in a process of its own (Linux only).
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from dense_pretraining import as_dense, dense_loss

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.data_module import ClipSetBatch, ClipSetDataModule
from scale_video.aggregate.lightning_module import SetPretraining, weight_decay_groups
from scale_video.aggregate.pretrain import pretrain
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate

PEER: Final = "dense"
CASES: Final = ("sparse", "masked_negatives", PEER)
MEASURES: Final = ("step", "memory", "batch", "loop")
BATCH_LIMIT: Final = 0.03
"""Part of a step that building its batch may take."""
VIDEOS_OF_BATCHES: Final = 8
"""Batches that the videos of ``batch`` and ``loop`` make: rows are gathered from all over."""


def make_module(sizes: Mapping[str, Any], *, negatives: str) -> SetPretraining:
    """A model of these sizes that has learned nothing yet."""
    config = PretrainConfig.from_mapping({**sizes["config"], "negatives": negatives})
    return SetPretraining(TrainingRecord(config=config, feature_dim=sizes["feature_dim"], training_video_ids=()))


def make_step(case: str, sizes: Mapping[str, Any]) -> Callable[[], float]:
    """One full step (forward, backward, AdamW) of a case, on a batch made before; it returns the loss."""
    module = make_module(sizes, negatives="masked" if case == "masked_negatives" else "all")
    if case == PEER:
        module = as_dense(module)
    config = module.record.config
    batch = make_batch(config, feature_dim=sizes["feature_dim"])
    optimizer = torch.optim.AdamW(weight_decay_groups(module, weight_decay=config.weight_decay), fused=True)

    def step() -> float:
        optimizer.zero_grad()
        loss = dense_loss(module, batch) if case == PEER else module.total_loss(module.contrasts(batch))
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def make_batch(config: PretrainConfig, *, feature_dim: int) -> ClipSetBatch:
    """A batch of random features."""
    features = make_features(config.batch_size, 2 * config.clips_per_set, feature_dim=feature_dim)
    return next(ClipSetDataModule(features, config).batches(0))


def make_features(num_videos: int, num_clips: int, *, feature_dim: int) -> ClipFeatures:
    """Random features of so many videos, all clips valid."""
    rng = np.random.default_rng(0)
    shape = (num_videos, num_clips)
    return ClipFeatures(
        video_ids=tuple(str(video) for video in range(num_videos)),
        features=rng.standard_normal((*shape, feature_dim), np.float32).astype(np.float16),
        coordinates=rng.uniform(size=(*shape, len(Coordinate))).astype(np.float32),
        valid=np.ones(shape, bool),
    )


def clock_of(sizes: Mapping[str, Any]) -> Callable[[], float]:
    """CPU time of one thread, or the time on the wall of several."""
    return time.process_time if sizes["threads"] == 1 else time.perf_counter


def step_seconds(sizes: Mapping[str, Any], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of each case's steps, the cases in turn, after one step to warm up.

    Raises:
        RuntimeError: ``sparse`` and ``dense`` differ in their first loss: they would not be worth comparing.
    """
    steps = {case: make_step(case, sizes) for case in CASES}
    first_losses = {}
    for case, step in steps.items():
        torch.manual_seed(0)  # equal dropout
        first_losses[case] = step()
    if abs(first_losses["sparse"] - first_losses[PEER]) > 1e-4:
        raise RuntimeError(f"sparse and dense losses should be equal, got {first_losses}")
    clock = clock_of(sizes)
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case, step in steps.items():
            start = clock()
            step()
            seconds[case].append(clock() - start)
    return seconds


def peak_memory_gigabytes(case: str, sizes: Mapping[str, Any]) -> float:
    """Peak of two steps (the second has optimiser states) above what was there before, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", case, "--sizes", json.dumps(sizes)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_own_peak_memory(case: str, sizes: Mapping[str, Any]) -> None:
    """What the process for ``peak_memory_gigabytes`` does."""
    step = make_step(case, sizes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports: forget it
    before = peak_resident_gigabytes()
    step()
    step()
    print(peak_resident_gigabytes() - before)


def peak_resident_gigabytes() -> float:
    """Most memory that this process has held since its peak was last reset."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


def batch_seconds(sizes: Mapping[str, Any], *, repeats: int) -> float:
    """Building one batch: draws and gathers."""
    config = PretrainConfig.from_mapping(sizes["config"])
    features = make_features(
        VIDEOS_OF_BATCHES * config.batch_size, 2 * config.clips_per_set, feature_dim=sizes["feature_dim"]
    )
    data, clock, seconds = ClipSetDataModule(features, config), clock_of(sizes), []
    for epoch in range(1 + repeats):
        start = clock()
        for _ in data.batches(epoch):
            pass
        seconds.append((clock() - start) / data.steps_per_epoch)
    return statistics.median(seconds[1:])


def loop_seconds(sizes: Mapping[str, Any], *, repeats: int) -> float:
    """What a step costs under ``pretrain`` above the same in a bare loop.

    The model is a tiny one, or the difference would drown in the scatter of its steps; batches have their full size.
    Epochs have 8 steps, so that what is done once an epoch counts as well.
    """
    tiny = {"prediction_hidden_dim": 8, "target_hidden_dim": 8, "set_hidden_dim": 8, "projection_dim": 8}
    model = {"width": 8, "num_heads": 1, "num_layers": 1, "position_hidden_dim": 8}
    config = PretrainConfig.from_mapping({**sizes["config"], **tiny, "model": model, "epochs": 4})
    features = make_features(VIDEOS_OF_BATCHES * config.batch_size, 2 * config.clips_per_set, feature_dim=8)
    num_steps = config.epochs * VIDEOS_OF_BATCHES
    clock, differences = clock_of(sizes), []
    for _ in range(1 + repeats):
        start = clock()
        _bare_loop(features, config)
        middle = clock()
        with tempfile.TemporaryDirectory() as folder:
            pretrain(features, config, run_dir=Path(folder), provenance={}, accelerator="cpu", progress=False)
        differences.append((clock() - middle - (middle - start)) / num_steps)
    return statistics.median(differences[1:])


def _bare_loop(features: ClipFeatures, config: PretrainConfig) -> None:
    data = ClipSetDataModule(features, config)
    module = SetPretraining(
        TrainingRecord(config=config, feature_dim=features.feature_dim, training_video_ids=data.training_video_ids)
    )
    optimizer = torch.optim.AdamW(weight_decay_groups(module, weight_decay=config.weight_decay), fused=True)
    for epoch in range(config.epochs):
        for batch in data.batches(epoch):
            optimizer.zero_grad()
            torch.autograd.backward(module.total_loss(module.contrasts(batch)))
            optimizer.step()


def measure(sizes: Mapping[str, Any], *, cases: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """A record per case; a ratio above 1 says that ours is better than its peer or limit."""
    records = []
    if {"step", "batch", "loop"} & set(cases):
        seconds = {case: statistics.median(values) for case, values in step_seconds(sizes, repeats=repeats).items()}
    if "step" in cases:
        records += [_record(case, seconds[case], seconds[PEER], "seconds per step") for case in CASES[:-1]]
    if "memory" in cases:
        memory = {case: peak_memory_gigabytes(case, sizes) for case in CASES}
        records += [_record(case, memory[case], memory[PEER], "GB above start") for case in CASES[:-1]]
    if "batch" in cases:
        ours = batch_seconds(sizes, repeats=repeats)
        records += [
            _record(
                f"batch of {case}", ours, BATCH_LIMIT * seconds[case], f"seconds, limit {BATCH_LIMIT:.0%} of a step"
            )
            for case in CASES[:-1]
        ]
    if "loop" in cases:
        above = loop_seconds(sizes, repeats=repeats)
        records += [
            _record(f"loop of {case}", seconds[case] + above, seconds[case], "seconds per step, bare loop")
            for case in CASES[:-1]
        ]
    return records


def _record(case: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {
        "benchmark": "bench_pretrain",
        "case": case,
        "ours": round(ours, 5),
        "peer": round(peer, 5),
        "ratio": round(peer / ours, 3),
        "unit": unit,
    }


def write_records(records: Sequence[Mapping[str, Any]], path: Path | None, **details: Any) -> None:
    """Write records with the machine and the details of the run, if a file is named."""
    if path is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        path.write_text(json.dumps([{**record, **machine, **details} for record in records], indent=1) + "\n")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Options that ``sizes_of`` reads, and those of every run; the defaults are the paper's."""
    parser.add_argument("--batch", type=int, default=512, help="videos a step (512)")
    parser.add_argument("--clips-per-set", type=int, default=8, help="clips of each of the two sets (8)")
    parser.add_argument("--feature-dim", type=int, default=768, help="length of a backbone feature (768)")
    parser.add_argument("--width", type=int, default=256, help="length of a token, a multiple of 32 (256)")
    parser.add_argument(
        "--prediction-hidden", type=int, default=4096, help="hidden units of prediction and set head (4096)"
    )
    parser.add_argument("--target-hidden", type=int, default=2048, help="hidden units of the target head (2048)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (1)")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each case (3)")
    parser.add_argument("--json", type=Path, help="write the records to this file")


def sizes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the cases need to know, as plain values."""
    return {
        "threads": arguments.threads,
        "feature_dim": arguments.feature_dim,
        "config": {
            "model": {"width": arguments.width, "num_heads": max(1, arguments.width // 32)},
            "batch_size": arguments.batch,
            "clips_per_set": arguments.clips_per_set,
            "prediction_hidden_dim": arguments.prediction_hidden,
            "set_hidden_dim": arguments.prediction_hidden,
            "target_hidden_dim": arguments.target_hidden,
        },
    }


def parse_arguments() -> argparse.Namespace:
    """Sizes and cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser)
    parser.add_argument("--cases", nargs="+", choices=MEASURES, default=MEASURES, help="what to measure (all)")
    parser.add_argument("--memory-of", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    if arguments.memory_of is not None:
        torch.set_num_threads(arguments.sizes["threads"])
        print_own_peak_memory(arguments.memory_of, arguments.sizes)
        return
    torch.set_num_threads(arguments.threads)
    sizes = sizes_of(arguments)
    records = measure(sizes, cases=arguments.cases, repeats=arguments.repeats)
    print(f"{'case':<26}{'ours':>10}{'peer':>10}{'ratio':>8}  unit")
    for r in records:
        print(f"{r['case']:<26}{r['ours']:>10.4f}{r['peer']:>10.4f}{r['ratio']:>8.3f}  {r['unit']}")
    write_records(records, arguments.json, repeats=arguments.repeats, sizes=sizes)


if __name__ == "__main__":
    main()
