"""How long pre-training on features of Kinetics-400's size takes on one GPU: steps a second of ``pretrain``.

Features are random, float16, and lie on the GPU, where sets and masks are drawn and gathered as well. Cases:
``masked_negatives`` and ``all_negatives`` as ``scale-video pretrain`` computes them there (bf16, compiled). The peer is
``dense_pretraining.py`` in float32, eager, in a bare loop over batches that were made before. The share of the peak
refers to the rate of one large product of bf16 matrices, measured in the same run.

    python benchmarks/bench_pretrain_gpu.py                   # 240 000 videos x 16 clips x 768, 2000 steps a case
    python benchmarks/bench_pretrain_gpu.py --small           # a few steps of a small model, on any machine

Needs PyTorch, pytorch-lightning, safetensors, rich and psutil, and none of what reads videos or stores. Without an
installation: ``PYTHONPATH=.typings python benchmarks/bench_pretrain_gpu.py``. Where no GPU is, ``--small`` is implied.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from dense_pretraining import as_dense, dense_loss
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.data_module import ClipSetBatch, ClipSetDataModule
from scale_video.aggregate.execution import decided_compilation, decided_precision
from scale_video.aggregate.lightning_module import SetPretraining, weight_decay_groups
from scale_video.aggregate.masked_clip_infonce import Negatives
from scale_video.aggregate.pretrain import pretrain
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate

STEPS_TO_DO: Final = 94_000
"""200 epochs of Kinetics-400 in batches of 512."""
NEGATIVES: Final[dict[str, Negatives]] = {"masked_negatives": "masked", "all_negatives": "all"}


class StepClock(Callback):
    """Seconds of the steps after the warm-up, but for the last one, at which the checkpoint is written."""

    def __init__(self, *, warmup: int, steps: int) -> None:
        self.warmup = warmup
        self.steps = steps
        self.started = self.seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start, and stop."""
        if trainer.global_step == self.warmup:
            _wait()
            self.started = time.perf_counter()
        elif trainer.global_step == self.warmup + self.steps:
            _wait()
            self.seconds = time.perf_counter() - self.started


def seconds_per_step(features: ClipFeatures, config: PretrainConfig, *, steps: int, warmup: int) -> float:
    """Of ``pretrain`` as a user has it."""
    clock = StepClock(warmup=warmup, steps=steps)
    config = replace(config, steps=warmup + steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        pretrain(features, config, run_dir=Path(folder), provenance={}, progress=False, callbacks=[clock])
    return clock.seconds / steps


def dense_seconds_per_step(
    features: ClipFeatures, config: PretrainConfig, *, device: torch.device, steps: int, warmup: int
) -> float:
    """Of the peer in a bare loop, over batches that lie on the device."""
    config = replace(config, precision="fp32", compile="off")
    module = as_dense(_module(features, config)).to(device)
    batches = [_on(device, batch) for batch in islice(ClipSetDataModule(features, config).batches(0), 8)]
    optimizer = torch.optim.AdamW(weight_decay_groups(module, weight_decay=config.weight_decay))
    started = 0.0
    for step, batch in enumerate(islice(cycle(batches), warmup + steps)):
        if step == warmup:
            _wait()
            started = time.perf_counter()
        optimizer.zero_grad()
        torch.autograd.backward(dense_loss(module, batch))
        optimizer.step()
    _wait()
    return (time.perf_counter() - started) / steps


def product_rate(device: torch.device, *, size: int, repeats: int = 5) -> float:
    """Floating-point operations a second of a product of two square bf16 matrices."""
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    seconds = []
    for _ in range(1 + repeats):
        _wait()
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        _wait()
        seconds.append(time.perf_counter() - start)
    return 10 * 2 * size**3 / statistics.median(seconds[1:])


def flops_of_step(features: ClipFeatures, config: PretrainConfig, *, device: torch.device) -> int:
    """Floating-point operations of a step's products of matrices."""
    module = _module(features, config).to(device)
    batch = _on(device, next(ClipSetDataModule(features, config).batches(0)))
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(module.total_loss(module.contrasts(batch)))
    return int(counter.get_total_flops())


def make_features(num_videos: int, num_clips: int, *, feature_dim: int, device: torch.device) -> ClipFeatures:
    """Random features, drawn on the device, where that takes seconds."""
    features = np.empty((num_videos, num_clips, feature_dim), np.float16)
    for first in range(0, num_videos, 8192):
        part = features[first : first + 8192]
        part[:] = torch.randn(part.shape, device=device).half().cpu().numpy()
    return ClipFeatures(
        video_ids=tuple(str(video) for video in range(num_videos)),
        features=features,
        coordinates=np.random.default_rng(0).random((num_videos, num_clips, len(Coordinate)), np.float32),
        valid=np.ones((num_videos, num_clips), bool),
    )


def measure(arguments: argparse.Namespace, config: PretrainConfig) -> list[dict[str, Any]]:
    """A record for each case of ours, against the peer, and its share of the peak."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    features = make_features(
        arguments.videos, 2 * config.clips_per_set, feature_dim=arguments.feature_dim, device=device
    )
    config = replace(
        config,
        precision=decided_precision(arguments.precision, device_type=device.type),
        compile=decided_compilation(arguments.compile, device_type=device.type),
    )
    peak = product_rate(device, size=arguments.product)
    steps, warmup = arguments.peer_steps, min(arguments.warmup, 20)
    dense = dense_seconds_per_step(features, config, device=device, steps=steps, warmup=warmup)
    records = []
    for case, negatives in NEGATIVES.items():
        config = replace(config, negatives=negatives)
        flops = flops_of_step(features, config, device=device)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_per_step(features, config, steps=arguments.steps, warmup=arguments.warmup)
        records.append(
            {
                "benchmark": "bench_pretrain_gpu",
                "case": case,
                "ours": seconds,
                "peer": dense,
                "ratio": round(dense / seconds, 3),
                "unit": "seconds per step",
                "steps_per_second": round(1 / seconds, 2),
                "minutes_for_94000_steps": round(STEPS_TO_DO * seconds / 60, 3),
                "share_of_bf16_peak": round(flops / seconds / peak, 4),
                "gigaflops_per_step": round(flops / 1e9, 4),
                "bf16_peak_teraflops": round(peak / 1e12, 3),
                "peak_gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 3) if on_gpu else None,
                "precision": config.precision,
                "compile": config.compile,
            }
        )
    return records


def _module(features: ClipFeatures, config: PretrainConfig) -> SetPretraining:
    return SetPretraining(TrainingRecord(config=config, feature_dim=features.feature_dim, training_video_ids=()))


def _on(device: torch.device, batch: ClipSetBatch) -> ClipSetBatch:
    return ClipSetBatch(*(part.to(device) for part in batch))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Sizes; the defaults are Kinetics-400's and the paper's, or small ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small defaults")
    small = parser.parse_known_args(arguments)[0].small or not torch.cuda.is_available()
    parser.add_argument("--videos", type=int, default=256 if small else 240_000, help="videos (%(default)s)")
    parser.add_argument("--batch", type=int, default=32 if small else 512, help="videos a step (%(default)s)")
    parser.add_argument("--feature-dim", type=int, default=64 if small else 768, help="length of one (%(default)s)")
    parser.add_argument("--width", type=int, default=32 if small else 256, help="length of a token (%(default)s)")
    parser.add_argument("--prediction-hidden", type=int, default=128 if small else 4096, help="(%(default)s)")
    parser.add_argument("--target-hidden", type=int, default=64 if small else 2048, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=20 if small else 2000, help="timed steps (%(default)s)")
    parser.add_argument("--peer-steps", type=int, default=10 if small else 200, help="of the peer (%(default)s)")
    parser.add_argument("--warmup", type=int, default=4 if small else 200, help="steps before (%(default)s)")
    parser.add_argument("--product", type=int, default=256 if small else 8192, help="rows (%(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of ours (auto)")
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto", help="ours (auto)")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments(sys.argv[1:])
    config = PretrainConfig.from_mapping(
        {
            "model": {"width": arguments.width, "num_heads": max(1, arguments.width // 32)},
            "batch_size": arguments.batch,
            "prediction_hidden_dim": arguments.prediction_hidden,
            "set_hidden_dim": arguments.prediction_hidden,
            "target_hidden_dim": arguments.target_hidden,
        }
    )
    records = measure(arguments, config)
    for r in records:
        print(
            f"{r['case']}: {r['steps_per_second']} steps/s ({r['precision']}, compile {r['compile']}), "
            f"{r['minutes_for_94000_steps']} minutes for {STEPS_TO_DO} steps, x{r['ratio']} of dense fp32, "
            f"{r['share_of_bf16_peak']:.1%} of {r['bf16_peak_teraflops']} TFLOP/s, peak memory {r['peak_gigabytes']} GB"
        )
    if arguments.json is not None:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        machine = {"machine": platform.machine(), "gpu": gpu, "torch": torch.__version__}
        details = {**machine, "arguments": {k: v for k, v in vars(arguments).items() if k != "json"}}
        arguments.json.write_text(json.dumps([{**r, **details} for r in records], indent=1) + "\n")


if __name__ == "__main__":
    main()
