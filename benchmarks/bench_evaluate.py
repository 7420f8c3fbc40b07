"""k-NN and retrieval against the bare matrix product that they cannot do without.

    python benchmarks/bench_evaluate.py                                   # 20 000 x 240 000 x 1024: 3 GB, minutes
    python benchmarks/bench_evaluate.py --queries 2000 --train 60000 --json evaluate.json

- ``product``: similarities of all queries with all training videos, block by block, into one buffer, nothing kept.
- ``knn``: ``knn_scores`` of k = 20, centring and normalisation of both sides included.
- ``retrieval``: R@1 … R@50 and the average precision of every query over the full ranking.

The three take turns, ``--repeats`` times; seconds are medians, and ``ratio`` is that of the product over that of the
protocol within a turn, median again: 1 would be a protocol that costs nothing beyond its product. With one thread
(``OMP_NUM_THREADS=1``) they are CPU time. Memory is the peak above the vectors themselves. ``--spread`` is that of a
class about its mean, where means differ by about 1: at 2 the videos of a class are nearest, at 20 they are all over the
ranking, which then has to be sorted whole.
"""

import argparse
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.evaluate.knn import knn_scores
from scale_video.evaluate.retrieval import retrieve

QUERIES_PER_BLOCK = 1024
COLUMNS_PER_BLOCK = 2**14


def clustered(
    num_videos: int, dim: int, *, num_classes: int, spread: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of Gaussian classes, and their classes."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((num_classes, dim), dtype=np.float32)
    labels = rng.integers(num_classes, size=num_videos)
    vectors = rng.standard_normal((num_videos, dim), dtype=np.float32)
    vectors *= spread
    vectors += means[labels]
    return vectors, labels


def bare_product(train: torch.Tensor, test: torch.Tensor) -> None:
    """All similarities, one block after the other."""
    buffer = torch.empty(QUERIES_PER_BLOCK * COLUMNS_PER_BLOCK, device=train.device)
    for queries in torch.split(test, QUERIES_PER_BLOCK):
        for block in torch.split(train, COLUMNS_PER_BLOCK):
            torch.mm(queries, block.T, out=buffer[: len(queries) * len(block)].view(len(queries), len(block)))


def seconds(run: Callable[[], object], *, device: str) -> float:
    """Time until a GPU is done; of one thread its CPU time, which other work on the machine disturbs less."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return clock() - began


def peak_bytes(run: Callable[[], object], *, device: str) -> int:
    """Memory above what was there before: of the device, or resident in this process (Linux), sampled."""
    if device != "cpu":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before, peak, done = resident_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(0, peak - before)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(
    *, num_train: int, num_queries: int, dim: int, num_classes: int, spread: float, repeats: int, device: str
) -> dict[str, Any]:
    """Time the three in turn."""
    train, train_labels = clustered(num_train, dim, num_classes=num_classes, spread=spread, seed=0)
    test, test_labels = clustered(num_queries, dim, num_classes=num_classes, spread=spread, seed=1)
    on_device = [torch.from_numpy(side).to(device) for side in (train, test)]
    cases: dict[str, Callable[[], object]] = {
        "product": lambda: bare_product(*on_device),
        "knn": lambda: knn_scores(train, train_labels, test, num_classes=num_classes, device=device),
        "retrieval": lambda: retrieve(train, train_labels, test, test_labels, device=device),
    }
    memory = {name: peak_bytes(run, device=device) for name, run in cases.items()}  # the warm-up, too
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            times[name].append(seconds(run, device=device))
    flop = 2 * num_train * num_queries * dim
    results = {}
    for name in cases:
        ratios = [product / own for product, own in zip(times["product"], times[name], strict=True)]
        results[name] = {
            "seconds": statistics.median(times[name]),
            "fastest": min(times[name]),
            "slowest": max(times[name]),
            "ratio": statistics.median(ratios),
            "gflop_per_second": flop / statistics.median(times[name]) / 1e9,
            "peak_bytes": memory[name],
        }
    return results


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=240_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--spread", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes = {"num_train": given.train, "num_queries": given.queries, "dim": given.dim, "num_classes": given.classes}
    sizes["spread"] = given.spread
    results = measure(**sizes, repeats=given.repeats, device=given.device)
    print(f"{given.queries} queries, {given.train} training videos of {given.dim}, {given.device}")
    for name, found in results.items():
        print(
            f"{name:10} {found['seconds']:8.2f} s [{found['fastest']:.2f}, {found['slowest']:.2f}]  "
            f"ratio {found['ratio']:.3f}  {found['gflop_per_second']:7.0f} GFLOP/s  "
            f"peak +{found['peak_bytes'] / 2**20:.0f} MiB"
        )
    machine = {
        "machine": platform.processor() or platform.machine(),
        "device": torch.cuda.get_device_name() if given.device != "cpu" else "cpu",
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if given.json:
        given.json.write_text(json.dumps({"sizes": sizes, "results": results, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
