"""Logistic regression at the size of Kinetics-400: how long one fit takes, against the products it cannot do without.

    python benchmarks/bench_logistic.py                                    # 240 000 x 1024, 400 classes, C = 1e-3
    python benchmarks/bench_logistic.py --train 24000 --penalties 0.0001,0.01,1 --json logistic.json

For each C, ``fit_logistic`` runs to the end on standardised vectors of Gaussian classes that overlap: seconds,
iterations, whether it converged, and top-1 on the vectors it was fitted on. An evaluation of its objective needs two
products, of vectors with weights and of errors with vectors; ``ratio`` is the time of these, done bare in the same
blocks, over that of an evaluation: the median of turns, at the weights where the fit ended. The linear probe fits seven
values of C on nine tenths of the videos, and then one on all.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.linear import MAX_ITERATIONS
from scale_video.evaluate.logistic import _BLOCK_VALUES, _Objective, fit_logistic

CLASS_DIMS = 64
"""Dimensions in which videos differ most, between classes and within one, as those of real features do: correlated
features are what makes a fit long."""
CLASS_SPREAD = 0.6
"""Of the classes' means there, where videos spread by 1 about them: classes overlap."""
NOISE = 0.3
"""Spread in every dimension by itself."""


def overlapping(num_videos: int, dim: int, *, num_classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of Gaussian classes that overlap, and their classes."""
    rng = np.random.default_rng(0)
    means = CLASS_SPREAD * rng.standard_normal((num_classes, CLASS_DIMS), dtype=np.float32)
    basis = rng.standard_normal((CLASS_DIMS, dim), dtype=np.float32) / np.float32(np.sqrt(CLASS_DIMS))
    labels = rng.integers(num_classes, size=num_videos)
    vectors = rng.standard_normal((num_videos, dim), dtype=np.float32)
    vectors *= NOISE
    vectors += (means[labels] + rng.standard_normal((num_videos, CLASS_DIMS), dtype=np.float32)) @ basis
    return vectors, labels


def bare_products(vectors: torch.Tensor, weights: torch.Tensor, errors: torch.Tensor) -> None:
    """Both products of an evaluation, in blocks of rows; ``errors`` (block, C) stands for those of every block."""
    block = len(errors)
    logits = torch.empty(block, len(weights))
    gradient = torch.zeros(len(weights), vectors.shape[1])
    for rows in torch.split(vectors, block):
        torch.mm(rows, weights.T, out=logits[: len(rows)])
        gradient.addmm_(errors[: len(rows)].T, rows)


def seconds(run: Callable[[], object]) -> float:
    """Time on the clock."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(*, num_train: int, dim: int, num_classes: int, inverse_penalty: float, turns: int) -> dict[str, Any]:
    """Fit once, then time evaluations and bare products in turn."""
    vectors, labels = overlapping(num_train, dim, num_classes=num_classes)
    vectors = StandardScaler(copy=False).fit_transform(vectors)
    began = time.perf_counter()

    def tell(iteration: int, objective: float) -> None:
        if iteration % 10 == 0:
            print(
                f"  iteration {iteration}, objective {objective:.5f}, {time.perf_counter() - began:.0f} s", flush=True
            )

    model = fit_logistic(vectors, labels, inverse_penalty=inverse_penalty, max_iterations=MAX_ITERATIONS, progress=tell)
    taken = time.perf_counter() - began
    objective = _Objective(
        torch.from_numpy(vectors), torch.from_numpy(labels), num_classes=num_classes, inverse_penalty=inverse_penalty
    )
    flat = np.column_stack([model.weights, model.bias]).ravel()
    weights = torch.from_numpy(model.weights).float()
    errors = torch.zeros(_BLOCK_VALUES // num_classes, num_classes)
    times: dict[str, list[float]] = {"products": [], "evaluation": []}
    for _ in range(turns):
        times["products"].append(seconds(lambda: bare_products(torch.from_numpy(vectors), weights, errors)))
        times["evaluation"].append(seconds(lambda: objective(flat)))
    ratios = [bare / own for bare, own in zip(times["products"], times["evaluation"], strict=True)]
    return {
        "inverse_penalty": inverse_penalty,
        "seconds": taken,
        "iterations": model.num_iterations,
        "converged": model.converged,
        "top1": float((model.classes[model.decision_function(vectors).argmax(axis=1)] == labels).mean()),
        "seconds_per_evaluation": statistics.median(times["evaluation"]),
        "ratio": statistics.median(ratios),
        "gflop_per_second": 4 * num_train * dim * num_classes / statistics.median(times["evaluation"]) / 1e9,
    }


def main() -> None:
    """Measure, print a line for each C, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=240_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--penalties", default="0.001", help="Values of C, separated by commas.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results = []
    for penalty in map(float, given.penalties.split(",")):
        print(f"C={penalty:g}: {given.train} videos of {given.dim}, {given.classes} classes", flush=True)
        found = measure(
            num_train=given.train,
            dim=given.dim,
            num_classes=given.classes,
            inverse_penalty=penalty,
            turns=given.turns,
        )
        results.append(found)
        print(
            f"C={penalty:g}: {found['seconds']:.0f} s, {found['iterations']} iterations, converged: "
            f"{found['converged']}, top-1 {found['top1']:.2f}; an evaluation {found['seconds_per_evaluation']:.2f} s, "
            f"{found['gflop_per_second']:.0f} GFLOP/s, ratio {found['ratio']:.2f}",
            flush=True,
        )
    machine = {
        "machine": platform.processor() or platform.machine(),
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if given.json:
        sizes = {"num_train": given.train, "dim": given.dim, "num_classes": given.classes}
        given.json.write_text(json.dumps({"sizes": sizes, "results": results, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
