"""Step time and memory of pre-training: sparse outputs against the published dense computation.

Cases: ``sparse`` computes heads and similarities for the masked clips only, with every clip of the batch as a
candidate: the same loss as the peer's. ``masked_negatives`` takes the masked clips alone as candidates: another loss,
and a cheaper one. The peer ``dense`` runs both heads on all clips, compares each with each, and selects the masked
rows of the loss at the end.

    python benchmarks/bench_pretrain.py                       # the paper's sizes: about 10 seconds a step
    python benchmarks/bench_pretrain.py --batch 32 --repeats 5 --json pretrain.json

Times are medians over steps of the three cases in turn, in one process. Memory is the peak resident memory above what
was there before the first step (weights and batch), each case in a process of its own (Linux only).
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.data_module import ClipSetBatch, ClipSetDataModule
from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.lightning_module import SetPretraining, weight_decay_groups
from scale_video.aggregate.masked_clip_infonce import MaskedClipTask
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate

PEER: Final = "dense"
CASES: Final = ("sparse", "masked_negatives", PEER)


class DenseMaskedClipTask(MaskedClipTask):
    """The same loss as the published code computes it."""

    def forward(self, clips: Tensor, features: Tensor, masked_clips: Tensor) -> Contrast:
        """Predict all clips, and keep the masked ones' losses."""
        logits = self.predict(clips) @ self.target(features).T / self.temperature  # (N * S * K, N * S * K)
        own = torch.arange(len(logits))
        losses = F.cross_entropy(logits, own, reduction="none")
        hits = (logits.detach().argmax(dim=1) == own).float()
        return Contrast(losses[masked_clips].mean(), hits[masked_clips].mean(), len(masked_clips), len(logits))


def make_step(case: str, sizes: Mapping[str, Any]) -> Callable[[], float]:
    """One full step (forward, backward, AdamW) of a case, on a batch made before; it returns the loss."""
    negatives = "masked" if case == "masked_negatives" else "all"
    config = PretrainConfig.from_mapping({**sizes["config"], "negatives": negatives})
    module = SetPretraining(TrainingRecord(config=config, feature_dim=sizes["feature_dim"], training_video_ids=()))
    if case == PEER:
        module.masked_clip_task.__class__ = DenseMaskedClipTask  # same weights, other forward pass
    batch = make_batch(config, feature_dim=sizes["feature_dim"])
    optimizer = torch.optim.AdamW(weight_decay_groups(module, weight_decay=config.weight_decay), fused=True)

    def step() -> float:
        optimizer.zero_grad()
        loss = module.total_loss(module.contrasts(batch))
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def make_batch(config: PretrainConfig, *, feature_dim: int) -> ClipSetBatch:
    """A batch of random features."""
    rng = np.random.default_rng(0)
    shape = (config.batch_size, 2 * config.clips_per_set)
    features = ClipFeatures(
        video_ids=tuple(str(video) for video in range(config.batch_size)),
        features=rng.normal(size=(*shape, feature_dim)).astype(np.float16),
        coordinates=rng.uniform(size=(*shape, len(Coordinate))).astype(np.float32),
        valid=np.ones(shape, bool),
    )
    return next(ClipSetDataModule(features, config).batches(0))


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
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[case].append(time.perf_counter() - start)
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


def measure(sizes: Mapping[str, Any], *, repeats: int) -> list[dict[str, Any]]:
    """A record per case and measure; a ratio above 1 says that ours is better."""
    seconds = step_seconds(sizes, repeats=repeats)
    time_of = {case: statistics.median(values) for case, values in seconds.items()}
    memory_of = {case: peak_memory_gigabytes(case, sizes) for case in CASES}
    return [
        {
            "benchmark": "bench_pretrain",
            "case": case,
            "ours": round(values[case], 4),
            "peer": round(values[PEER], 4),
            "ratio": round(values[PEER] / values[case], 3),
            "unit": unit,
        }
        for unit, values in (("seconds per step", time_of), ("GB above start", memory_of))
        for case in CASES
        if case != PEER
    ]


def parse_arguments() -> argparse.Namespace:
    """Sizes; the defaults are the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    sizes = {
        "threads": arguments.threads,
        "feature_dim": arguments.feature_dim,
        "config": {
            "model": {"width": arguments.width, "num_heads": arguments.width // 32},
            "batch_size": arguments.batch,
            "clips_per_set": arguments.clips_per_set,
            "prediction_hidden_dim": arguments.prediction_hidden,
            "set_hidden_dim": arguments.prediction_hidden,
            "target_hidden_dim": arguments.target_hidden,
        },
    }
    records = measure(sizes, repeats=arguments.repeats)
    print(f"{'case':<18}{'ours':>10}{'dense':>10}{'ratio':>8}  unit")
    for record in records:
        print(f"{record['case']:<18}{record['ours']:>10}{record['peer']:>10}{record['ratio']:>8}  {record['unit']}")
    if arguments.json is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        details = {**machine, "repeats": arguments.repeats, "sizes": sizes}
        arguments.json.write_text(json.dumps([{**record, **details} for record in records], indent=1) + "\n")


if __name__ == "__main__":
    main()
