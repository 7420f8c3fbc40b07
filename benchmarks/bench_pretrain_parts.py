"""Where a step of pre-training spends its time, against what its products of matrices would take alone.

Every part of the step runs by itself, forward and backward, on inputs of the step's shapes. Its floor is the number of
its floating-point operations (counted by PyTorch as the part runs) over the rate of one product of matrices of the
part's largest shape, measured in the same rounds. GELU, softmax, norms, dropout and copies count as nothing.

    python benchmarks/bench_pretrain_parts.py                         # the paper's sizes: about 3 minutes
    python benchmarks/bench_pretrain_parts.py --batch 32 --repeats 9
    python benchmarks/bench_pretrain_parts.py --negatives masked

With one thread times are CPU time, which other work on the machine disturbs less.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from bench_pretrain import add_sizes, make_batch, make_module, sizes_of, write_records
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scale_video.aggregate.lightning_module import SetPretraining, weight_decay_groups
from scale_video.aggregate.masked_clip_infonce import masked_clip_infonce
from scale_video.aggregate.set_infonce import set_infonce


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step."""

    name: str
    forward: Callable[[], Sequence[Tensor]]
    """Computes outputs from inputs that were made before; backward starts from gradients of the same shapes."""
    product: tuple[int, int, int]
    """Rows, inner and columns of its largest product of matrices."""


def make_parts(module: SetPretraining, batch: Any) -> list[Part]:
    """The parts of the step, with inputs of their own."""
    config, task = module.record.config, module.masked_clip_task
    features = batch.features.flatten(0, 1).float()  # (N * S, K, D)
    coordinates, masked = batch.coordinates.flatten(0, 1), batch.masked_clips
    with torch.no_grad():
        cls, clips = module.aggregator(features, coordinates, masked_clips=masked)
        of_clips = features.flatten(0, 1)
        candidates = of_clips if config.negatives == "all" else of_clips.index_select(0, masked)
        positives = masked if config.negatives == "all" else torch.arange(len(masked))
        predictions = task.predict(clips.flatten(0, 1).index_select(0, masked))
        targets, z = task.target(candidates), module.set_head(cls).unflatten(0, (-1, 2))
    num_masked, num_candidates, num_tokens = len(masked), len(candidates), len(of_clips) + len(cls)
    width, hidden, temperature = config.model.width, config.target_hidden_dim, config.temperature
    clips, cls, predictions, targets, z = (x.requires_grad_() for x in (clips, cls, predictions, targets, z))

    def contrast_clips() -> Sequence[Tensor]:
        contrast = masked_clip_infonce(predictions, targets, positives=positives, temperature=temperature)
        return [contrast.loss]

    return [
        Part("target head", lambda: [task.target(candidates)], (num_candidates, hidden, hidden)),
        Part(
            "prediction head",
            lambda: [task.predict(clips.flatten(0, 1).index_select(0, masked))],
            (num_masked, width, config.prediction_hidden_dim),
        ),
        Part("set head", lambda: [module.set_head(cls)], (len(cls), width, config.set_hidden_dim)),
        Part(
            "transformer",
            lambda: module.aggregator(features, coordinates, masked_clips=masked, only_masked=True),
            (num_tokens, width, 3 * width),
        ),
        Part("clip contrast", contrast_clips, (num_masked, config.projection_dim, num_candidates)),
        Part(
            "set contrast",
            lambda: [set_infonce(z, temperature=temperature).loss],
            (len(z), config.projection_dim, len(z)),
        ),
    ]


def measure(sizes: dict[str, Any], *, negatives: str, repeats: int) -> list[dict[str, Any]]:
    """A record for each part, the optimiser and the whole step."""
    module = make_module(sizes, negatives=negatives)
    batch = make_batch(module.record.config, feature_dim=sizes["feature_dim"])
    parts = make_parts(module, batch)
    optimizer = torch.optim.AdamW(weight_decay_groups(module, weight_decay=1e-4), fused=True)
    clock = time.process_time if sizes["threads"] == 1 else time.perf_counter
    flops = {part.name: _flops(part) for part in parts}
    times: dict[str, list[tuple[float, float]]] = {part.name: [] for part in parts}
    rates: dict[str, list[float]] = {part.name: [] for part in parts}
    steps, updates = [], []
    for _ in range(repeats + 1):  # the first round warms up
        for part in parts:
            times[part.name].append(_forward_and_backward(part, clock))
            rates[part.name].append(_rate(part.product, clock))
        start = clock()
        optimizer.zero_grad()
        torch.autograd.backward(module.total_loss(module.contrasts(batch)))
        middle = clock()
        optimizer.step()
        updates.append(clock() - middle)
        steps.append(clock() - start)
        optimizer.zero_grad()
    records = []
    for part in parts:
        forward, backward = (statistics.median(column) for column in zip(*times[part.name][1:], strict=True))
        floor = flops[part.name] / statistics.median(rates[part.name][1:])
        records.append(_record(part.name, floor, forward=forward, backward=backward, flops=flops[part.name]))
    update, whole = statistics.median(updates[1:]), statistics.median(steps[1:])
    records.append(_record("optimiser", 0, forward=update, backward=0.0, flops=0))
    floor, total = sum(r["peer"] for r in records), sum(flops.values())
    records.append(_record("whole step", floor, forward=whole, backward=0.0, flops=total))
    return records


def _forward_and_backward(part: Part, clock: Callable[[], float]) -> tuple[float, float]:
    start = clock()
    outputs = part.forward()
    middle = clock()
    gradients = [torch.ones_like(output) for output in outputs]
    resumed = clock()
    torch.autograd.backward(outputs, gradients)
    return middle - start, clock() - resumed


def _flops(part: Part) -> int:
    with FlopCounterMode(display=False) as counter:
        outputs = part.forward()
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    return int(counter.get_total_flops())


def _rate(product: tuple[int, int, int], clock: Callable[[], float]) -> float:
    """Floating-point operations a second of one product of matrices, written to where its last result was."""
    rows, inner, columns = product
    a, b, out = torch.randn(rows, inner), torch.randn(columns, inner), torch.empty(rows, columns)
    torch.mm(a, b.T, out=out)
    repeats = max(1, round(1e9 / (2 * rows * inner * columns)))  # long enough for the clock
    start = clock()
    for _ in range(repeats):
        torch.mm(a, b.T, out=out)
    return 2 * rows * inner * columns * repeats / (clock() - start)


def _record(case: str, floor: float, *, forward: float, backward: float, flops: int) -> dict[str, Any]:
    ours = forward + backward
    return {
        "benchmark": "bench_pretrain_parts",
        "case": case,
        "ours": round(ours, 5),
        "peer": round(floor, 5),
        "ratio": round(floor / ours, 3),
        "unit": "seconds, against the floor",
        "forward": round(forward, 5),
        "backward": round(backward, 5),
        "gigaflops": round(flops / 1e9, 3),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser)
    parser.add_argument("--negatives", choices=("all", "masked"), default="all", help="candidates (all)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = sizes_of(arguments)
    records = measure(sizes, negatives=arguments.negatives, repeats=arguments.repeats)
    print(f"{'part':<18}{'forward':>10}{'backward':>10}{'floor':>10}{'ours/floor':>12}{'GFLOP':>10}")
    for r in records:
        over = f"{r['ours'] / r['peer']:.2f}" if r["peer"] else ""
        print(
            f"{r['case']:<18}{r['forward']:>10.4f}{r['backward']:>10.4f}{r['peer']:>10.4f}{over:>12}"
            f"{r['gigaflops']:>10.1f}"
        )
    write_records(records, arguments.json, repeats=arguments.repeats, sizes=sizes)


if __name__ == "__main__":
    main()
