"""What streaming costs: pre-training's batches from a store larger than the memory that they may take.

    python benchmarks/bench_stream.py --json stream.json
    python benchmarks/bench_stream.py --videos 240000 --memory-limit 1 --repeats 3      # Kinetics-400, 5.9 GB

The peer takes the same sets in fully shuffled order out of an ``np.memmap`` of the same bytes, which checks nothing and
may take all memory; everything else is the same code. Both go through an epoch; runs alternate, and the first is not
counted. Figures are medians; a ratio above 1: ours is better.

- ``warm``: files are in the page cache. CPU time of the process, all threads, and wall time.
- ``cold``: the cache is told to forget the files before each run (``posix_fadvise``; where it does not obey, as some
  file systems don't, this is ``warm`` again: the script says how much of a file is still there). Wall time.
- ``step``: a loop whose steps multiply matrices for ``--step`` times as long as a batch takes to make; wall time
  of both loops, and the part of it until a batch is there: waiting for blocks, draws and gathering.
- ``memory``: the most memory that a process had, above what it had before, against the limit. Linux only.
"""

import argparse
import json
import mmap
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from bench_store import BACKBONE, VIEW, machine, make_features, make_store
from numpy.typing import NDArray

from scale_video.aggregate.clip_source import Share
from scale_video.aggregate.data_module import ClipSetBatch, ClipSetDataModule
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.residency import Residence
from scale_video.aggregate.stored_clips import StoredClips
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.read import FeatureStore

CASES: Final = ("warm", "cold", "step", "memory")
GIB: Final = 2**30


class Sides:
    """Both ways to the batches of an epoch.

    Args:
        folder: Holds ``a.zarr``, and the same features as ``a.npy``.
        config: Size of batches and sets.
        limit: What features may take of memory when they are streamed, in bytes.
    """

    def __init__(self, folder: Path, config: PretrainConfig, *, limit: int) -> None:
        self._folder, self._config, self._limit = folder, config, limit
        self._store = FeatureStore.open(folder / "a.zarr")
        self._rows = np.arange(self._store.num_videos)
        self._ids = tuple(str(row) for row in self._rows)
        self._coordinates: NDArray[np.float32] | None = None

    def ours(self) -> ClipSetDataModule:
        """Streamed."""
        clips = StoredClips(self._store, [VIEW], BACKBONE, self._rows)
        return self._opened(ClipSetDataModule(clips, self._config), Residence("stream", self._limit))

    def peer(self) -> ClipSetDataModule:
        """Out of a memory map. It may be written to, which nobody does, since tensors are made of nothing else."""
        features = np.load(self._folder / "a.npy", mmap_mode="c")
        if self._coordinates is None:
            self._coordinates = np.random.default_rng(0).random((*features.shape[:2], 7), dtype=np.float32)
        valid = np.ones(features.shape[:2], dtype=np.bool_)
        of_map = ClipFeatures(self._ids, features, self._coordinates, valid)
        return self._opened(ClipSetDataModule(of_map, self._config), Residence("memory"))

    def _opened(self, module: ClipSetDataModule, residence: Residence) -> ClipSetDataModule:
        module._open(residence, torch.device("cpu"), share=Share())
        return module

    def forget(self) -> float:
        """Tell the page cache to forget all files; the part of the memory map's file that is still in it."""
        for path in (*self._folder.rglob("c.*"), self._folder / "a.npy"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return resident_share(self._folder / "a.npy")


def resident_share(path: Path) -> float:
    """Part of a file's pages that can be read at once; judged by how fast each hundredth is read."""
    size = path.stat().st_size
    fast = 0
    with path.open("rb", buffering=0) as file:
        for place in range(100):
            file.seek(size * place // 100 // mmap.PAGESIZE * mmap.PAGESIZE)
            start = time.perf_counter()
            file.read(mmap.PAGESIZE)
            fast += time.perf_counter() - start < 30e-6
    return fast / 100


def epoch_of(module: ClipSetDataModule, *, epoch: int) -> int:
    """Go through an epoch; the number of its bytes."""
    return sum(batch.features.nbytes for batch in module.batches(epoch))


def bench_epochs(sides: Sides, *, cold: bool, repeats: int) -> Iterator[dict[str, Any]]:
    """Whole epochs of both sides in turn."""
    seconds: dict[str, dict[str, list[float]]] = {"ours": {}, "peer": {}}
    still_there = []
    modules = {"ours": sides.ours(), "peer": sides.peer()}
    for repeat in range(repeats + 1):
        for side in ("ours", "peer"):
            module = modules[side]
            if cold:
                if side == "peer":  # what is mapped would not be forgotten
                    del module, modules["peer"]
                    modules["peer"] = module = sides.peer()
                still_there.append(sides.forget())
            cpu, wall = time.process_time(), time.perf_counter()
            num_bytes = epoch_of(module, epoch=repeat)
            passed = {"CPU": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            if repeat:
                for clock, value in passed.items():
                    seconds[side].setdefault(clock, []).append(value / num_bytes * 1e9)
    for clock in ("wall",) if cold else ("CPU", "wall"):
        note = f", {statistics.mean(still_there):.0%} of the file still cached" if cold else ""
        yield record(
            f"{'cold' if cold else 'warm'}, {clock} time of an epoch{note}",
            ours=seconds["ours"][clock],
            peer=seconds["peer"][clock],
            unit="s/GB",
        )


def bench_step(sides: Sides, *, times: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Loops whose steps take longer than making a batch."""
    module, mapped = sides.ours(), sides.peer()
    start, batches = time.perf_counter(), list(zip(range(20), module.batches(0), strict=False))
    step = make_step(seconds=times * (time.perf_counter() - start) / len(batches))
    del batches
    loops: dict[str, list[float]] = {"ours": [], "peer": []}
    waits: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(repeats + 1):
        for side, data in (("ours", module), ("peer", mapped)):
            passed, waited = loop(step, data.batches(repeat))
            if repeat:
                loops[side].append(passed / data.steps_per_epoch * 1e3)
                waits[side].append(waited / data.steps_per_epoch * 1e3)
    yield record("step, wall time of a loop", **loops, unit="ms/step")
    yield record("step, of which for having a batch", **waits, unit="ms/step")


def loop(step: Callable[[], object], batches: Iterator[ClipSetBatch]) -> tuple[float, float]:
    """Seconds of a loop over batches, and those of them that were spent in waiting for one."""
    start, waited = time.perf_counter(), 0.0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return time.perf_counter() - start, waited
        step()


def make_step(*, seconds: float) -> Callable[[], object]:
    """Products of matrices for about so long."""
    matrix = torch.rand(256, 256)
    start = time.perf_counter()
    for _ in range(50):
        matrix @ matrix
    number = max(1, round(seconds * 50 / (time.perf_counter() - start)))
    return lambda: [matrix @ matrix for _ in range(number)]


def bench_memory(sides: Sides, *, limit: int) -> Iterator[dict[str, Any]]:
    """The most memory of a process of its own, above what it had when all code had been run once."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure_memory, args=(sender, sides))
    child.start()
    sender.close()  # or nothing would end the wait for a child that died
    grown = receiver.recv()
    child.join()
    yield record(
        "memory above what was there, against the limit", ours=[grown / 2**20], peer=[limit / 2**20], unit="MiB"
    )


def _measure_memory(sender: Connection, sides: Sides) -> None:
    next(sides.ours().batches(0))
    Path("/proc/self/clear_refs").write_text("5")  # forgets what the most was
    before = _status("VmRSS")
    epoch_of(sides.ours(), epoch=0)
    sender.send(_status("VmHWM") - before)


def _status(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))


def record(case: str, *, ours: list[float], peer: list[float], unit: str) -> dict[str, Any]:
    """Medians, the peer's over ours, and the smallest and largest."""
    medians = {"ours": statistics.median(ours), "peer": statistics.median(peer)}
    spread = {"ours": [min(ours), max(ours)], "peer": [min(peer), max(peer)]}
    ratio = medians["peer"] / medians["ours"]
    return {"benchmark": "stream", "case": case, **medians, "ratio": ratio, "unit": unit, "spread": spread}


def main() -> None:
    """Make a store and its peer, measure, print a table, write the records."""
    parser = argparse.ArgumentParser(description="Streaming of pre-training's batches against a shuffled memory map.")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="which (default: all)")
    parser.add_argument("--videos", type=int, default=16384, help="videos (default: 16384)")
    parser.add_argument("--clips", type=int, default=16, help="clips a video (default: 16)")
    parser.add_argument("--dim", type=int, default=768, help="length of a feature (default: 768)")
    parser.add_argument("--block-size", type=int, default=64, help="videos in a block (default: 64)")
    parser.add_argument("--batch", type=int, default=512, help="videos a step (default: 512)")
    parser.add_argument("--memory-limit", type=float, default=0.15, help="GiB for features (default: 0.15)")
    parser.add_argument("--step", type=float, default=3, help="length of a step in batches (default: 3)")
    parser.add_argument("--repeats", type=int, default=5, help="timed epochs of each (default: 5)")
    parser.add_argument("--folder", type=Path, help="where to make the files (default: a temporary folder)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    features = make_features(given.videos, given.clips, given.dim)
    limit = round(given.memory_limit * GIB)
    print(f"{features.nbytes / GIB:.2f} GiB of features, {limit / GIB:.2f} GiB of memory; medians of {given.repeats}")
    print(f"{'case':72} {'ours':>8} {'peer':>8} {'ratio':>6}  unit   spread of ours, of the peer")
    sizes, records = features.shape, []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        make_store(folder / "a.zarr", features, block_size=given.block_size)
        np.save(folder / "a.npy", features)
        del features
        os.sync()  # or the cache could not forget
        sides = Sides(folder, PretrainConfig(batch_size=given.batch, clips_per_set=given.clips // 2), limit=limit)
        benches: Mapping[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "memory": partial(bench_memory, sides, limit=limit),
            "warm": partial(bench_epochs, sides, cold=False, repeats=given.repeats),
            "cold": partial(bench_epochs, sides, cold=True, repeats=given.repeats),
            "step": partial(bench_step, sides, times=given.step, repeats=given.repeats),
        }
        for case in (case for case in benches if case in given.cases):
            for found in benches[case]():
                records.append(found | {"sizes": list(sizes), "machine": machine() | {"torch": torch.__version__}})
                print(_row(found), flush=True)
    if given.json:
        given.json.write_text(json.dumps(records, indent=2) + "\n")


def _row(found: dict[str, Any]) -> str:
    spread = "".join(f"   {low:.3g}-{high:.3g}" for low, high in found["spread"].values())
    figures = f"{found['ours']:8.3f} {found['peer']:8.3f} {found['ratio']:6.2f}  {found['unit']:6}"
    return f"{found['case']:72} {figures} {spread}"


if __name__ == "__main__":
    main()
