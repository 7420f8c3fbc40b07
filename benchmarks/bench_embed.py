"""What it costs to use a trained aggregator: videos a second out of a store, and its share of the backbone's time.

    python benchmarks/bench_embed.py --json embed.json

- ``embed a store``: ``run_embed`` from a store to a Zarr group (reading, checksums, coordinates, the aggregator,
  writing) against the aggregator alone on the same features in memory, which is the limit. CPU time of the process, all
  threads: the store lies in the page cache, and neighbours on the machine matter less.
- ``memory``: peak resident memory above start of embedding, against the bytes of the store's features, for a store and
  one of half its size; each in a process of its own (Linux only).
- ``<backbone>, per video``: CPU time of the aggregator for a video against that of the backbone for its 16 clips; and
  the same in multiplications. The aggregator has the backbone's feature length and the paper's width. ``videomae-base``
  has random weights, which cost the same.

Figures are medians; a ratio above 1: ours takes less.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scale_video.aggregate.checkpoint import RECORD, TrainingRecord
from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.pipelines.embedding import EmbedRequest, run_embed
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW, NAME, BLOCK_SIZE, NUM_CLIPS = "random", "bench", 64, 16
BACKBONES: Final = ("motion3d-ssl", "lite", "videomae-base")
CONFIG: Final = PretrainConfig()


def make_store(url: Path, *, num_videos: int, feature_dim: int) -> None:
    """A store of random features, every block of which holds the same ones: what they are is no matter here."""
    rng = np.random.default_rng(0)
    ids = tuple(f"video{row:07d}.mp4" for row in range(num_videos))
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=30, num_frames=300, height=4, width=4)
    valid = np.ones((num_videos, NUM_CLIPS), bool)
    coordinates = rng.random((num_videos, NUM_CLIPS, 7), dtype=np.float32)
    plan = ClipPlan(VIEW, {"flip_probability": 0.5}, coordinates, valid, np.ones(num_videos, bool))
    create_store(url, videos=VideoTable(ids=ids, paths=ids, groups=ids), probes=[probe] * num_videos, plans=[plan],
                 attributes={"dataset": "bench"}, block_size=BLOCK_SIZE)  # fmt: skip
    add_backbone(url, view=VIEW, name=NAME, feature_dim=feature_dim, weights_digest="0" * 64, attributes={})
    writer = BlockWriter(str(url), view=VIEW, backbone=NAME)
    features = rng.normal(size=(BLOCK_SIZE, NUM_CLIPS, feature_dim)).astype(np.float16)
    for index in range(-(-num_videos // BLOCK_SIZE)):
        rows = min(BLOCK_SIZE, num_videos - index * BLOCK_SIZE)
        status = np.full(rows, VideoStatus.OK, np.uint8)
        writer.write(FeatureBlock(index, features[:rows], valid[:rows], status, ("",) * rows))


def make_checkpoint(path: Path, *, feature_dim: int) -> None:
    """An aggregator of the paper's width, untrained, which costs the same."""
    weights = initial_aggregator(CONFIG, feature_dim=feature_dim, seed=0).state_dict()
    provenance = {"view": VIEW, "backbone": NAME, "weights_digest": "0" * 64}
    record = TrainingRecord(CONFIG, feature_dim, (), provenance, epochs_done=CONFIG.epochs, share_done=1.0)
    torch.save({"state_dict": {f"aggregator.{k}": v for k, v in weights.items()}, RECORD: record.to_plain()}, path)


def cpu_seconds(call: Callable[[], object], *, repeats: int) -> float:
    """Median of so many calls, after one to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def measure_store(folder: Path, *, num_videos: int, feature_dim: int, repeats: int) -> list[dict[str, Any]]:
    """Videos a second of ``run_embed``, and of the aggregator alone."""
    store, checkpoint = folder / "store.zarr", folder / "last.ckpt"
    make_store(store, num_videos=num_videos, feature_dim=feature_dim)
    make_checkpoint(checkpoint, feature_dim=feature_dim)
    features = FeatureStore.open(store).read_features(VIEW, NAME)
    model = initial_aggregator(CONFIG, feature_dim=feature_dim, seed=0)
    outputs = (folder / f"{number}.zarr" for number in range(repeats + 1))
    ours = cpu_seconds(lambda: run_embed(EmbedRequest(checkpoint, str(store), output=next(outputs))), repeats=repeats)
    peer = cpu_seconds(lambda: embed_videos(model, features, flips=True), repeats=repeats)
    rates = num_videos / ours, num_videos / peer
    return [record("embed a store", *rates, rates[0] / rates[1], "videos per CPU second")]


def measure_memory(folder: Path, *, num_videos: int, feature_dim: int) -> list[dict[str, Any]]:
    """Peak memory of embedding stores of two sizes."""
    checkpoint, records = folder / "last.ckpt", []
    make_checkpoint(checkpoint, feature_dim=feature_dim)
    for number in (num_videos // 2, num_videos):
        store = folder / f"{number}.zarr"
        make_store(store, num_videos=number, feature_dim=feature_dim)
        command = [
            sys.executable,
            __file__,
            "--memory-of",
            str(store),
            str(checkpoint),
            str(folder / f"o{number}.zarr"),
        ]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ours, peer = float(printed.split()[-1]), number * NUM_CLIPS * feature_dim * 2 / 1e6
        records.append(record(f"memory, {number} videos", ours, peer, peer / ours, "MB above start"))
    return records


def print_own_peak_memory(store: str, checkpoint: str, output: str) -> None:
    """What the process for ``measure_memory`` does."""
    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports: forget it
    before = peak_resident_megabytes()
    run_embed(EmbedRequest(Path(checkpoint), store, output=Path(output)))
    print(peak_resident_megabytes() - before)


def peak_resident_megabytes() -> float:
    """Most memory that this process has held since its peak was last reset."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def measure_backbone(name: str, *, num_clips: int, repeats: int) -> list[dict[str, Any]]:
    """Time and multiplications of a video: the aggregator's, and the backbone's for its clips."""
    embed, clip, feature_dim = backbone(name)
    clips = clip.expand(num_clips, *clip.shape)
    model = initial_aggregator(CONFIG, feature_dim=feature_dim, seed=0).eval()
    videos = 64
    sets = torch.randn(videos, NUM_CLIPS, feature_dim), torch.rand(videos, NUM_CLIPS, 7)

    def read_sets() -> None:
        with torch.inference_mode():
            model(*sets, valid=torch.ones(videos, NUM_CLIPS, dtype=torch.bool))

    ours = cpu_seconds(read_sets, repeats=5) / videos
    peer = cpu_seconds(lambda: embed(clips), repeats=repeats) * NUM_CLIPS / num_clips
    gmac = (
        multiplications(lambda: _in_full(model, *sets)) / videos,
        multiplications(lambda: embed(clips[:1])) * NUM_CLIPS,
    )
    return [
        record(f"{name}, per video", ours * 1e3, peer * 1e3, peer / ours, "CPU ms"),
        record(f"{name}, per video", *gmac, gmac[1] / gmac[0], "GMAC"),
    ]


def backbone(name: str) -> tuple[Callable[[Tensor], Tensor], Tensor, int]:
    """What embeds clips, a clip, and the length of a feature."""
    if name != "videomae-base":
        loaded = load_backbone(parse_backbone(name))
        size = loaded.spec.frame_size or 224
        clip = torch.randint(256, (loaded.spec.num_frames, size, size, 3), dtype=torch.uint8)
        return loaded.embed, clip, loaded.spec.feature_dim
    from transformers import VideoMAEConfig, VideoMAEModel

    network = VideoMAEModel(VideoMAEConfig())
    network.train(False)

    def embed(clips: Tensor) -> Tensor:
        with torch.inference_mode():
            vectors: Tensor = network(clips).last_hidden_state.mean(dim=1)
            return vectors

    return embed, torch.rand(16, 3, 224, 224), int(network.config.hidden_size)


def _in_full(model: SetTransformer, features: Tensor, coordinates: Tensor) -> None:
    """A forward pass without PyTorch's fused layer, in which nothing can be counted."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            model(features, coordinates)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def multiplications(call: Callable[[], object]) -> float:
    """Of matrix products and convolutions, in 1e9."""
    # PyTorch's fused attention of a CPU is not counted: a quarter of VideoMAE-base.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 2 / 1e9


def record(case: str, ours: float, peer: float, ratio: float, unit: str) -> dict[str, Any]:
    """A line of the results."""
    rounded = [float(f"{value:.4g}") for value in (ours, peer, ratio)]
    return {"benchmark": "bench_embed", "case": case, **dict(zip(("ours", "peer", "ratio"), rounded, strict=True)),
            "unit": unit}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Sizes; the defaults are the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8192, help="of the store (8192)")
    parser.add_argument("--feature-dim", type=int, default=768, help="length of a backbone feature (768)")
    parser.add_argument("--backbones", nargs="*", choices=BACKBONES, default=BACKBONES, help="(all)")
    parser.add_argument("--backbone-clips", type=int, default=2, help="clips that a backbone is timed on (2)")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls (3)")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    if arguments.memory_of is not None:
        print_own_peak_memory(*arguments.memory_of)
        return
    torch.set_num_threads(1)
    sizes = {"num_videos": arguments.videos, "feature_dim": arguments.feature_dim}
    with tempfile.TemporaryDirectory() as folder:
        records = measure_store(Path(folder), **sizes, repeats=arguments.repeats)
        records += measure_memory(Path(folder), **sizes)
    for name in arguments.backbones:
        records += measure_backbone(name, num_clips=arguments.backbone_clips, repeats=arguments.repeats)
    print(f"{'case':<28}{'ours':>12}{'peer':>12}{'ratio':>10}  unit")
    for line in records:
        print(f"{line['case']:<28}{line['ours']:>12}{line['peer']:>12}{line['ratio']:>10}  {line['unit']}")
    if arguments.json is not None:
        details = {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": version("torch"),
            **sizes,
        }
        arguments.json.write_text(json.dumps([{**line, **details} for line in records], indent=1) + "\n")


if __name__ == "__main__":
    main()
