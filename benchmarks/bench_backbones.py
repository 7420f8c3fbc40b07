"""What a clip costs each backbone, against the rate of matrix products of the same machine in the same run.

    OMP_NUM_THREADS=1 python benchmarks/bench_backbones.py --json backbones.json
    python benchmarks/bench_backbones.py --device cuda --precision float16 --batch 64 vjepa2-large dinov2-small

Networks have their published sizes and random weights, which cost what trained ones do; they are saved to a temporary
folder and loaded from it as a user's are. ``lite`` and ``motion3d`` have their own. Frames are noise, uint8, of
``--size`` pixels where a backbone takes the views' sizes; what is timed is ``Backbone.embed``: normalisation, network,
pooling, on frames that lie on the device already.

- ``seconds a clip``: on a CPU the process's CPU time, so that neighbours matter less (with one thread it is the time on
  a clock of an idle machine); on a GPU the time on the clock. Medians; the spread is the smallest and the largest.
- ``GFLOP``: of matrix products, attention and convolutions, as torch counts them: two for each multiplication.
- ``ratio``: GFLOP over seconds over the rate of one large matrix product in the same precision, measured before and
  after each backbone. 1 is what the machine can do; depthwise convolutions and norms, which do little with what they
  read, are far below.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scale_video.extract.backbones.placement import PRECISIONS
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.slow_r50 import SlowResNet
from scale_video.extract.backbones.timesformer_divided import DividedTimeSformer

PRODUCT_SIDE = 2048
"""Of the square matrices that are multiplied for the machine's rate."""
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


@dataclass(frozen=True, slots=True)
class Case:
    """A backbone of a published size."""

    name: str
    family: str
    save: Callable[[Path], Path] | None
    """Write random weights into a folder, and say what the source is; None: its weights are its own."""


def save_model(folder: Path, *, cls: str, **config: Any) -> Path:
    """Write a model of the transformers library with random weights."""
    model_class = getattr(transformers, cls)
    model_class(model_class.config_class(**config)).save_pretrained(folder)
    return folder


def save_network(folder: Path, *, build: Callable[[], nn.Module], prefix: str) -> Path:
    """Write a network of ours with random weights, under the names of its published file."""
    path = folder / "weights.safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in build().state_dict().items()}, path)
    return path


def model(cls: str, **config: Any) -> Callable[[Path], Path]:
    """How to write a model of the transformers library."""
    return partial(save_model, cls=cls, **config)


CASES: tuple[Case, ...] = (
    Case("motion3d", "motion3d", None),
    Case("lite", "lite", None),
    Case("clip-base-32", "image", model("CLIPVisionModel", **BASE, patch_size=32)),
    Case("dinov2-small", "image", model("Dinov2Model", **BASE | {"hidden_size": 384, "num_attention_heads": 6},
                                        image_size=518, patch_size=14)),
    Case("dinov2-base", "image", model("Dinov2Model", **BASE, image_size=518, patch_size=14)),
    Case("siglip2-base-16", "image", model("SiglipVisionModel", **BASE, patch_size=16)),
    Case("rho-byol", "rho-byol", partial(save_network, build=SlowResNet, prefix="backbone_hist.")),
    Case("svt", "svt", partial(save_network, build=DividedTimeSformer, prefix="backbone.")),
    Case("timesformer-base", "timesformer", model("TimesformerModel", **BASE)),
    Case("videomae-base", "videomae", model("VideoMAEModel", **BASE, use_mean_pooling=False)),
    Case("vivit-base", "vivit", model("VivitModel", **BASE)),
    Case("videomae-large", "videomae", model("VideoMAEModel", **LARGE, use_mean_pooling=False)),
    Case("vjepa2-large", "vjepa2", model("VJEPA2Model")),
)  # fmt: skip
"""From the cheapest to the dearest; another is one more line."""


def load(case: Case, folder: Path, *, device: str, precision: str) -> Backbone:
    """Load a case as a user's backbone is loaded."""
    source = None if case.save is None else str(case.save(folder))
    return load_backbone(BackboneRequest(case.family, source, case.name, device=device, precision=precision))


def clock(device: torch.device) -> float:
    """Seconds that count: of the process's CPU time, or of the clock once the GPU is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(run: Callable[[], object], *, device: torch.device, repeats: int) -> list[float]:
    """Times of runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = clock(device)
        run()
        times.append(clock(device) - start)
    return times


def product_rate(device: torch.device, precision: str) -> float:
    """FLOP a second of a large matrix product."""
    a, b = (torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device, dtype=PRECISIONS[precision]) for _ in range(2))
    return 2 * PRODUCT_SIDE**3 / min(seconds(lambda: a @ b, device=device, repeats=3))


def count_flop(backbone: Backbone, clip: Tensor) -> int:
    """FLOP of one clip; attention as plain products, since torch does not count its fused kernel for CPUs."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.embed(clip)
    return int(counter.get_total_flops())


def measure(case: Case, *, size: int, batch: int, repeats: int, device: str, precision: str) -> dict[str, Any]:
    """Load a case, count and time it."""
    with tempfile.TemporaryDirectory() as folder:
        backbone = load(case, Path(folder), device=device, precision=precision)
    spec = backbone.spec
    size = spec.frame_size or size
    clips = torch.randint(0, 256, (batch, spec.num_frames, size, size, 3), dtype=torch.uint8, device=backbone.device)
    before = product_rate(backbone.device, precision)
    times = [t / batch for t in seconds(lambda: backbone.embed(clips), device=backbone.device, repeats=repeats)]
    rate = max(before, product_rate(backbone.device, precision))
    flop = count_flop(backbone, clips[:1])
    median = statistics.median(times)
    return {
        "case": case.name,
        "clip": f"{spec.num_frames} x {size}",
        "feature_dim": spec.feature_dim,
        "batch": batch,
        "repeats": repeats,
        "seconds_a_clip": median,
        "spread": [min(times), max(times)],
        "gflop": flop / 1e9,
        "product_gflop_a_second": rate / 1e9,
        "ratio": flop / median / rate,
    }


def machine(device: str) -> dict[str, str]:
    """What it ran on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    versions = {package: version(package) for package in ("torch", "transformers")}
    return {"cpu": cpu, "cores": str(os.cpu_count()), **gpu, "python": platform.python_version(), **versions}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the records."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Seconds a clip of each backbone.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(names)} (default: all)")
    parser.add_argument("--batch", type=int, default=8, help="clips at a time (default: 8)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default: 5)")
    parser.add_argument("--size", type=int, default=224, help="pixels where a backbone takes the views' (default: 224)")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default: 1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.cases) - set(names)):
        parser.error(f"no case {unknown[0]!r}; there are: {', '.join(names)}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    library_log: Any = transformers.logging  # without types
    library_log.disable_progress_bar()
    records: list[dict[str, Any]] = []
    print(f"{'case':18} {'clip':>9} {'dim':>5} {'s a clip':>9} {'spread':>17} {'GFLOP':>7} {'GFLOP/s':>8} {'ratio':>6}")
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        record = measure(
            case,
            size=options.size,
            batch=options.batch,
            repeats=options.repeats,
            device=options.device,
            precision=options.precision,
        )
        records.append(record | {"precision": options.precision, "machine": machine(options.device)})
        low, high = record["spread"]
        print(
            f"{record['case']:18} {record['clip']:>9} {record['feature_dim']:5} {record['seconds_a_clip']:9.4f} "
            f"{low:8.4f}-{high:8.4f} {record['gflop']:7.1f} {record['product_gflop_a_second']:8.1f} "
            f"{record['ratio']:6.2f}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
