"""What the explorer takes at 240 000 videos: time to the first page and to the neighbours of a video, and memory.

    python benchmarks/bench_explorer.py --json explorer.json
    python benchmarks/bench_explorer.py --videos 24000 --folder kept     # a store that is there is used again

A store of so many videos, 16 clips of 768 numbers each, is written (6 GB) and served by ``scale-video explore`` in a
process of its own, which is asked as a browser asks it:

- ``first page``: from the start of the process until it is there, against a process that imports PyTorch and no more.
- ``table``: a page that filters and sorts, against reading the columns that it shows out of the store.
- ``x ready``: from the first page until vectors of all videos are there, against reading all features.
- ``neighbours by x``: a page of a video, against the product of a float32 matrix of all vectors with one, the least
  that a comparison takes; ``by x+cls`` likewise, with vectors that ``embed`` wrote.
- ``neighbours of a clip``: a page of a clip; of the nearest videos, and of all, against reading all features.
- ``memory``: the most that the process has held, against the bytes of the features.

CPU seconds of the process that serves, all threads, with those on the wall beside them: the store lies in the page
cache, and neighbours on the machine matter less. Medians of ``--repeats`` videos where not said otherwise; a ratio
above 1: ours takes less.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import numpy as np
import psutil
import torch

from scale_video.aggregate.checkpoint import RECORD, TrainingRecord
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.pipelines.embedding import Features, load_for_use
from scale_video.pipelines.embedding_files import EmbeddedVideos, write_embeddings
from scale_video.pipelines.provenance import aggregator_digest
from scale_video.store.clip_features import VideoRepresentations
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW, NAME, BLOCK_SIZE, NUM_CLIPS, NUM_CLASSES = "random", "bench", 64, 16, 400
CONFIG: Final = PretrainConfig()


def make_store(url: Path, *, num_videos: int, feature_dim: int) -> None:
    """Videos of 400 classes: a vector for each class, one for each video, and one for each clip, summed."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, num_videos).astype(np.int32)
    ids = tuple(f"class{label:03d}/video{row:07d}.mp4" for row, label in enumerate(labels))
    probes = [
        VideoProbe(VideoStatus.OK, duration_seconds=seconds, frames_per_second=30, num_frames=300, height=4, width=4)
        for seconds in rng.uniform(2, 300, num_videos).tolist()
    ]
    coordinates = rng.random((num_videos, NUM_CLIPS, 7), dtype=np.float32)
    valid = np.ones((num_videos, NUM_CLIPS), bool)
    plan = ClipPlan(VIEW, {"flip_probability": 0.5}, coordinates, valid, np.ones(num_videos, bool))
    names = {"label": tuple(f"class{index:03d}" for index in range(NUM_CLASSES))}
    split = {"1": rng.choice(np.array([1, 3], np.uint8), num_videos)}
    videos = VideoTable(ids, ids, ids, labels={"label": labels}, class_names=names, splits=split)
    create_store(
        url, videos=videos, probes=probes, plans=[plan], attributes={"dataset": "bench"}, block_size=BLOCK_SIZE
    )
    add_backbone(url, view=VIEW, name=NAME, feature_dim=feature_dim, weights_digest="0" * 64, attributes={})
    writer = BlockWriter(str(url), view=VIEW, backbone=NAME)
    classes = rng.normal(size=(NUM_CLASSES, 1, feature_dim)).astype(np.float32)
    clips = rng.normal(size=(BLOCK_SIZE, NUM_CLIPS, feature_dim)).astype(np.float32)
    for index in range(-(-num_videos // BLOCK_SIZE)):
        of_block = labels[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
        rows = len(of_block)
        own = rng.standard_normal((rows, 1, feature_dim), dtype=np.float32)
        features = (classes[of_block] + own + clips[rng.permutation(BLOCK_SIZE)[:rows]]).astype(np.float16)
        status = np.full(rows, VideoStatus.OK, np.uint8)
        writer.write(FeatureBlock(index, features, valid[:rows], status, ("",) * rows))


def make_checkpoint(path: Path, *, feature_dim: int) -> None:
    """An aggregator of the paper's width, untrained."""
    weights = initial_aggregator(CONFIG, feature_dim=feature_dim, seed=0).state_dict()
    provenance = {"view": VIEW, "backbone": NAME, "weights_digest": "0" * 64}
    record = TrainingRecord(CONFIG, feature_dim, (), provenance, epochs_done=CONFIG.epochs, share_done=1.0)
    torch.save({"state_dict": {f"aggregator.{k}": v for k, v in weights.items()}, RECORD: record.to_plain()}, path)


def make_embeddings(output: Path, store: Path, checkpoint: Path) -> None:
    """Vectors as ``embed`` writes them; x is what it is, h and cls are random, for they would take minutes."""
    opened, loaded, rng = FeatureStore.open(store), load_for_use(checkpoint), np.random.default_rng(1)
    chosen = Features.choose(opened, loaded, path=checkpoint, view=VIEW, backbone=NAME)
    width = CONFIG.model.width

    def batches() -> Iterator[EmbeddedVideos]:
        for rows, features in chosen.runs():
            h, cls = (rng.standard_normal((len(rows), width), dtype=np.float32) for _ in range(2))
            x = features.features.astype(np.float32).mean(axis=1)
            vectors = VideoRepresentations(features.video_ids, x=x, h=h, cls=cls)
            yield EmbeddedVideos(vectors, features.video_ids, np.full(len(rows), NUM_CLIPS, np.int32))

    write_embeddings(
        output,
        batches(),
        describe=lambda _: {**chosen.describe(), "aggregator_digest": aggregator_digest(loaded)},
        feature_dim=opened.feature_dim(VIEW, NAME),
        channel_dim=width,
    )


@contextmanager
def explorer(store: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """The command in a process of its own: its address, and when it was started."""
    command = [sys.executable, "-m", "scale_video.pipelines.cli", "explore", str(store), "--port", "0", "--no-browser"]
    started = time.perf_counter()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip(), started
        finally:
            process.send_signal(signal.SIGINT)


def get(address: str) -> str:
    """A page."""
    with urlopen(address) as answer:
        text: str = answer.read().decode()
        return text


def wait_for(address: str, title: str) -> None:
    """Until a task has been finished."""
    while not any(
        task["finished"] for task in json.loads(get(f"{address}progress.json"))["tasks"] if title in task["title"]
    ):
        time.sleep(0.1)


class Watch:
    """Takes the time of what a process is asked for."""

    def __init__(self, process: "subprocess.Popen[str] | None" = None) -> None:
        """Of a process; of this one when None."""
        self._process = psutil.Process(None if process is None else process.pid)

    def seconds_of(self, call: Callable[[], object]) -> tuple[float, float]:
        """CPU time, children that have ended included, and that on the wall."""
        before, started = self.cpu_seconds(), time.perf_counter()
        call()
        return self.cpu_seconds() - before, time.perf_counter() - started

    def cpu_seconds(self) -> float:
        """Since it began."""
        times = self._process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def median_of(self, calls: Iterable[Callable[[], object]]) -> tuple[float, float]:
        """Of several calls, each by itself."""
        cpu, wall = zip(*map(self.seconds_of, calls), strict=True)
        return statistics.median(cpu), statistics.median(wall)


def peak_megabytes(process: "subprocess.Popen[str]") -> float:
    """The most memory that a process has held so far."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def read_everything(store: FeatureStore) -> None:
    """All features, a run of blocks at a time."""
    for _ in Features.choose(store, None, path=None, view=VIEW, backbone=NAME).runs():
        pass


def read_columns(url: Path) -> None:
    """What the table shows."""
    store = FeatureStore.open(url)
    for name in ("path", "label", "split_1", "duration_seconds"):
        store.column(name)
    for _ in store.outcomes(VIEW, NAME):
        pass


def least(num_videos: int, length: int, *, repeats: int) -> tuple[float, float]:
    """What a matrix of all vectors times one takes."""
    matrix, vector = torch.rand(num_videos, length), torch.rand(length)
    return Watch().median_of([lambda: matrix @ vector] * repeats)


def measure(url: Path, folder: Path, *, repeats: int) -> list[dict[str, Any]]:
    """All figures."""
    store = FeatureStore.open(url)
    num_videos, feature_dim = store.num_videos, store.feature_dim(VIEW, NAME)
    rows = np.random.default_rng(2).choice(num_videos, repeats, replace=False).tolist()
    megabytes = num_videos * NUM_CLIPS * feature_dim * 2 / 1e6
    here = Watch()
    reading = here.seconds_of(lambda: read_everything(store))
    columns = here.seconds_of(lambda: read_columns(url))
    importing = here.seconds_of(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
    records = []

    def pages(watch: Watch, address: str, query: str) -> tuple[float, float]:
        return watch.median_of([partial(get, address + query.format(row=row, label=row % 400)) for row in rows])

    with explorer(url) as (process, address, started):
        watch = Watch(process)
        assert 'class="videos"' in get(address)
        first = watch.cpu_seconds(), time.perf_counter() - started
        records.append(record("first page", first, importing))
        ready = watch.seconds_of(lambda: wait_for(address, "computing x"))
        records.append(record("x ready, PyTorch loaded", ready, reading))
        filtered = pages(watch, address, "?search={row}&class_name=class{label:03d}&sort=-duration")
        records.append(record("table, filtered and sorted", filtered, columns))
        get(f"{address}?sort=path")
        by_path = pages(watch, address, "?sort=path&page={label}")
        records.append(record("table by path, a page of 4800", by_path, columns))
        of_video = pages(watch, address, "video/{row}")
        records.append(record("neighbours by x", of_video, least(num_videos, feature_dim, repeats=repeats)))
        of_clip = pages(watch, address, "video/{row}?clip=3&of=clip")
        records.append(record("neighbours of a clip, candidates", of_clip, reading))
        everywhere = watch.seconds_of(lambda: get(f"{address}video/{rows[0]}?clip=3&of=clip&everywhere=1"))
        records.append(record("neighbours of a clip, everywhere (once)", everywhere, reading))
        records.append(record("memory", (peak_megabytes(process),), (megabytes,), unit="MB"))
    checkpoint, embeddings = folder / "last.ckpt", folder / "embeddings.zarr"
    if not embeddings.exists():
        make_checkpoint(checkpoint, feature_dim=feature_dim)
        make_embeddings(embeddings, url, checkpoint)
    with explorer(url, "--checkpoint", str(checkpoint), "--embeddings", str(embeddings)) as (process, address, _):
        watch = Watch(process)
        get(address)
        ready = watch.seconds_of(lambda: wait_for(address, "computing h and cls"))
        records.append(record("x, h and cls ready, of embeddings", ready, reading))
        of_video = pages(watch, address, "video/{row}?by=x%2Bcls")
        peer = least(num_videos, feature_dim + CONFIG.model.width, repeats=repeats)
        records.append(record("neighbours by x+cls", of_video, peer))
        records.append(record("memory with x, h and cls", (peak_megabytes(process),), (megabytes,), unit="MB"))
    return records


def record(what: str, ours: tuple[float, ...], peer: tuple[float, ...], *, unit: str = "s") -> dict[str, Any]:
    """One line of the table, printed."""
    wall = f"{ours[1]:9.2f} {peer[1]:9.2f}" if len(ours) > 1 else " " * 19
    ratio = peer[0] / ours[0] if ours[0] else float("inf")
    print(f"{what:40} {ours[0]:9.2f} {peer[0]:9.2f} {wall} {unit:3} {ratio:7.2f}", flush=True)
    found = {"benchmark": "explorer", "case": what, "ours": ours[0], "peer": peer[0], "ratio": ratio, "unit": unit}
    return (
        {**found, "unit": "CPU s", "wall_seconds": list(map(itemgetter(1), (ours, peer)))} if len(ours) > 1 else found
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--feature-dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the store is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        url = folder / f"{options.videos}.zarr"
        if not url.exists():
            make_store(url, num_videos=options.videos, feature_dim=options.feature_dim)
        print(f"{'':40} {'ours':>9} {'peer':>9} {'ours':>9} {'peer':>9}       ratio\n{'':44} CPU {'wall':>19}")
        records = measure(url, folder, repeats=options.repeats)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
