"""What the store costs: reading features against a memory map, committing blocks against np.save, and codecs.

    python benchmarks/bench_store.py --json store.json

All files are in the page cache (they were written just before): this is the store's own cost, not a disk's.

- ``read …``: ``FeatureStore.read_features`` (checksums verified, coordinates and mask with it) against a copy of the
  same rows out of ``np.memmap``, which verifies nothing. CPU time of the process, all threads: from the page cache
  reading is computing, and neighbours on the machine matter less.
- ``zarr …``: what Dask and xarray go through, ``zarr.Array[...]``, against the same memory map.
- ``write …``: ``BlockWriter.write`` of one block, with its mark, against ``np.save`` of the same features. Wall time;
  with fsync on both sides, and without it on either.
- ``codec …``: the format's features (no compression) against the same array compressed by a light codec, both through
  Zarr. ``ours`` is always the format's.

Runs of ours and the peer alternate; figures are medians, the spread is the smallest and the largest. A ratio above 1:
ours is better.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

VIEW, BACKBONE = "random", "bench"
CODECS: Final[dict[str, Any]] = {
    "zstd level 1": ZstdCodec(level=1),
    "lz4 with bit shuffle": BloscCodec(cname="lz4", shuffle="bitshuffle"),
}


def make_features(num_videos: int, num_clips: int, feature_dim: int) -> NDArray[np.float16]:
    """Features whose dimensions have scales of their own and whose clips resemble each other, as real ones do."""
    rng = np.random.default_rng(0)
    scale = rng.lognormal(sigma=1, size=feature_dim).astype(np.float32)
    features = np.empty((num_videos, num_clips, feature_dim), dtype=np.float16)
    for video in range(num_videos):
        clips = rng.standard_normal((num_clips, feature_dim), dtype=np.float32) * 0.5
        features[video] = (clips + rng.standard_normal(feature_dim, dtype=np.float32)) * scale
    return features


def make_store(root: Path, features: NDArray[np.float16], *, block_size: int) -> None:
    """A complete store of these features."""
    num_videos, num_clips, feature_dim = features.shape
    ids = tuple(f"class_{video % 100:03d}/video_{video:08d}.mp4" for video in range(num_videos))
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=30, num_frames=300, height=2, width=2)
    plan = ClipPlan(
        view=VIEW,
        parameters={"seed": 0},
        coordinates=np.random.default_rng(0).random((num_videos, num_clips, 7), dtype=np.float32),
        valid=np.ones((num_videos, num_clips), dtype=np.bool_),
        planned=np.ones(num_videos, dtype=np.bool_),
    )
    create_store(
        root,
        videos=VideoTable(ids=ids, paths=ids, groups=ids),
        probes=[probe] * num_videos,
        plans=[plan],
        block_size=block_size,
        attributes={},
    )
    add_backbone(root, view=VIEW, name=BACKBONE, feature_dim=feature_dim, weights_digest="", attributes={})
    writer = BlockWriter(root, view=VIEW, backbone=BACKBONE)
    with no_fsync():
        for index in range(-(-num_videos // block_size)):
            writer.write(make_block(features, index=index, block_size=block_size))


def make_block(features: NDArray[np.float16], *, index: int, block_size: int) -> FeatureBlock:
    """One block of these features, all clips valid."""
    rows = features[index * block_size : (index + 1) * block_size]
    return FeatureBlock(
        index=index,
        features=rows,
        valid=np.ones(rows.shape[:2], dtype=np.bool_),
        status=np.full(len(rows), VideoStatus.OK, dtype=np.uint8),
        error=("",) * len(rows),
    )


@contextmanager
def no_fsync() -> Iterator[None]:
    """Leave to the system when files reach the disk."""
    flush, StoreLocation.flush = StoreLocation.flush, lambda self, *paths: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        StoreLocation.flush = flush  # type: ignore[method-assign]


def compare(
    case: str,
    *,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    num_bytes: int,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Time both in turn, after one run of each to warm up.

    Returns:
        The record; its figures are GB/s.
    """
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(repeats + 1):
        for name, run in (("ours", ours), ("peer", peer)):
            started = clock()
            run()
            if repeat > 0:
                rates[name].append(num_bytes / 1e9 / max(clock() - started, 1e-9))
    mine, theirs = (statistics.median(rates[name]) for name in ("ours", "peer"))
    return {
        "benchmark": "store",
        "case": case,
        "ours": mine,
        "peer": theirs,
        "ratio": mine / theirs,
        "unit": "GB/s",
        "spread": {name: [min(values), max(values)] for name, values in rates.items()},
    }


def bench_reading(folder: Path, features: NDArray[np.float16], *, repeats: int) -> Iterator[dict[str, Any]]:
    """Whole, by shuffled blocks, by scattered videos, and whole through Zarr."""
    store = FeatureStore.open(folder / "a.zarr")
    memmap = np.load(folder / "a.npy", mmap_mode="r")
    rng, size = np.random.default_rng(0), store.block_size
    blocks = rng.permutation(len(features) // size)[:32]
    by_blocks = (blocks[:, None] * size + np.arange(size)).ravel()
    scattered = rng.permutation(len(features))[:256]
    for what, rows in (
        ("all videos", None),
        (f"{len(blocks)} shuffled blocks", by_blocks),
        (f"{len(scattered)} scattered videos", scattered),
    ):
        yield compare(
            f"read {what} / memmap",
            ours=partial(store.read_features, VIEW, BACKBONE, rows),
            peer=partial(np.array, memmap) if rows is None else partial(np.take, memmap, rows, axis=0),
            num_bytes=(len(features) if rows is None else len(rows)) * features[0].nbytes,
            repeats=repeats,
        )
    array = zarr.open_array(store.location.url, path=f"{VIEW}/{BACKBONE}/features", mode="r")
    yield compare(
        "zarr all videos / memmap",
        ours=partial(array.__getitem__, slice(None)),
        peer=partial(np.array, memmap),
        num_bytes=features.nbytes,
        repeats=repeats,
    )


def bench_writing(
    folder: Path, features: NDArray[np.float16], *, block_size: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """One block again and again, by a writer that stays open, as a worker's does."""
    rows = features[:block_size]

    def save(*, fsync: bool) -> None:
        with (folder / "block.npy").open("wb") as file:
            np.save(file, rows)
            if fsync:
                file.flush()
                os.fsync(file.fileno())

    block = make_block(features, index=0, block_size=block_size)
    write = partial(BlockWriter(folder / "a.zarr", view=VIEW, backbone=BACKBONE).write, block)
    sizes: dict[str, Any] = {"num_bytes": rows.nbytes, "repeats": max(repeats, 20), "clock": time.perf_counter}
    yield compare("write a block, fsync / np.save, fsync", ours=write, peer=partial(save, fsync=True), **sizes)
    with no_fsync():
        yield compare("write a block / np.save", ours=write, peer=partial(save, fsync=False), **sizes)


def bench_codecs(
    folder: Path, features: NDArray[np.float16], *, block_size: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """What compression would save on disk and cost on reading."""
    group = zarr.create_group(folder / "codecs.zarr")

    def make(name: str, *codecs: Any) -> zarr.Array[Any]:
        chunks = (block_size, *features.shape[1:])
        array = group.create_array(name, shape=features.shape, chunks=chunks, dtype="float16", compressors=codecs)
        array[:] = features
        return array

    plain = make("plain", Crc32cCodec())
    for name, codec in CODECS.items():
        packed = make(name.replace(" ", "-"), codec, Crc32cCodec())
        yield compare(
            f"codec: reading, none / {name}",
            ours=partial(plain.__getitem__, slice(None)),
            peer=partial(packed.__getitem__, slice(None)),
            num_bytes=features.nbytes,
            repeats=repeats,
        )
        sizes = {"ours": plain.nbytes_stored() / 1e9, "peer": packed.nbytes_stored() / 1e9}
        ratio = sizes["peer"] / sizes["ours"]
        yield {"benchmark": "store", "case": f"codec: size, none / {name}", **sizes, "ratio": ratio, "unit": "GB"}


def main() -> None:
    """Make a store and its peers, measure, print a table, write the records."""
    parser = argparse.ArgumentParser(description="Reading and writing of the store against memory maps and np.save.")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--videos", type=int, default=8192, help="videos (default: 8192)")
    parser.add_argument("--clips", type=int, default=16, help="clips a video (default: 16)")
    parser.add_argument("--dim", type=int, default=768, help="length of a feature (default: 768)")
    parser.add_argument("--block-size", type=int, default=64, help="videos in a block (default: 64)")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each (default: 7)")
    parser.add_argument("--folder", type=Path, help="where to make the files (default: a temporary folder)")
    arguments = parser.parse_args()
    sizes = {"block_size": arguments.block_size, "repeats": arguments.repeats}
    features = make_features(arguments.videos, arguments.clips, arguments.dim)
    print(f"{features.nbytes / 1e6:.0f} MB of features; page cache warm; medians of {arguments.repeats}")
    print(f"{'case':42} {'ours':>8} {'peer':>8} {'ratio':>6}  unit   spread of ours, of the peer")
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        make_store(folder / "a.zarr", features, block_size=arguments.block_size)
        np.save(folder / "a.npy", features)
        for record in chain(
            bench_reading(folder, features, repeats=arguments.repeats),
            bench_writing(folder, features, **sizes),
            bench_codecs(folder, features, **sizes),
        ):
            records.append(record | {"sizes": list(features.shape), "machine": machine()})
            print(_row(record), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=2) + "\n")


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
        **{name: version(name) for name in ("numpy", "zarr", "numcodecs", "google-crc32c")},
    }


def _row(record: dict[str, Any]) -> str:
    spread = "".join(f"   {low:.2f}-{high:.2f}" for low, high in record.get("spread", {}).values())
    figures = f"{record['ours']:8.3f} {record['peer']:8.3f} {record['ratio']:6.2f}"
    return f"{record['case']:42} {figures}  {record['unit']:4} {spread}"


if __name__ == "__main__":
    main()
