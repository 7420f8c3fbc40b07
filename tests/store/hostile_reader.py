"""A program that reads stores whose metadata lie, each in a process of its own, and prints what came of it.

    python hostile_reader.py STORE FOLDER SEED NUM_MUTANTS

A line for each: its name, the outcome (``right``, ``damaged``, ``refused`` or what must not happen), the growth of the
resident memory in MiB, the CPU seconds, and the message.
"""

import json
import os
import random
import resource
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr

from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.schema import BLOCK_ARRAYS
from scale_video.store.verify import verify_store

DEEP = "[" * 100_000 + "]" * 100_000
LIES: list[Any] = [
    2**60, 2**63 - 1, -1, 0, 1, 10**400, 1e308, float("nan"), None, True, "", "x" * 10**6, "../../etc", "DEEP", [], {},
    [2**60] * 3, [2**20, 2**20, 2**20], [-1, 3, 4], ["a"] * 10**5, {"name": "x"}, "object", "float64", "raw_bytes",
    {"name": "fixed_length_utf32", "configuration": {"length_bytes": 2**33}},
    {"name": "null_terminated_bytes", "configuration": {"length_bytes": 2**40}},
    {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 2**40}},
    [{"name": "numcodecs.pickle", "configuration": {}}],
    [{"name": "vlen-bytes"}, {"name": "crc32c"}],
    [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 9}}, {"name": "crc32c"}],
    [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}],
    [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1], "codecs": [{"name": "bytes"}]}}],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def lie(document: Any, place: tuple[Any, ...], value: Any) -> str:
    """The document with another value at a place."""
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(document).replace('"DEEP"', DEEP)


def one_lie(store: Path, generator: random.Random) -> str:
    """Change one place of one node's metadata."""
    node = generator.choice(sorted(store.rglob("zarr.json")))
    document = json.loads(node.read_text())
    document.pop("consolidated_metadata", None)
    telling = [place for place in places(document) if "shape" not in document or place[0] != "attributes"]
    place, value = generator.choice(telling), generator.choice(LIES)
    node.write_text(lie(document, place, value))
    return f"{node.parent.relative_to(store)}:{'.'.join(map(str, place))}={str(value)[:40]}"


def with_checksum(content: bytes) -> bytes:
    return content + struct.pack("<I", google_crc32c.value(content))


def consistently(attribute: str, dimension: str, length: int) -> Callable[[Path], None]:
    """Lie about a length wherever it is told: in attributes, shapes and chunks."""

    def change(store: Path) -> None:
        for node in store.rglob("zarr.json"):
            document = json.loads(node.read_text())
            document.pop("consolidated_metadata", None)
            if attribute in document["attributes"]:
                document["attributes"][attribute] = length
            for axis, name in enumerate(document.get("dimension_names", ())):
                if name == dimension:
                    document["shape"][axis] = length
                    if axis > 0:
                        document["chunk_grid"]["configuration"]["chunk_shape"][axis] = length
            node.write_text(json.dumps(document))

    return change


def many_videos(length: int, *, num_files: int) -> Callable[[Path], None]:
    """Claim videos in every array, with as many (empty) chunks of ids as they need."""

    def change(store: Path) -> None:
        consistently("num_videos", "video", length)(store)
        for node in [*store.glob("videos/*/zarr.json"), *store.rglob("video/zarr.json")]:
            document = json.loads(node.read_text())
            document["chunk_grid"]["configuration"]["chunk_shape"][0] = min(4096, length)
            node.write_text(json.dumps(document))
        for index in range(num_files):
            (store / f"videos/id/c.{index}").write_bytes(b"")

    return change


def large_blocks(length: int) -> Callable[[Path], None]:
    """Claim large blocks wherever chunks tell it, and have no block."""

    def change(store: Path) -> None:
        consistently("block_size", "none", length)(store)
        for node in [*store.glob("*/*/zarr.json"), *store.glob("random/motion3d/*/zarr.json")]:
            document = json.loads(node.read_text())
            if "chunk_grid" in document and node.parent.name in ("coordinates", "planned", *BLOCK_ARRAYS):
                document["chunk_grid"]["configuration"]["chunk_shape"][0] = length
            if node.parent.name == "commit":
                document["shape"] = [1]
            node.write_text(json.dumps(document))
        for chunk in store.glob("random/motion3d/*/c.*"):
            chunk.unlink()

    return change


def sparse(path: str, size: int) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        with (store / path).open("r+b") as file:
            file.truncate(size)

    return change


def content(path: str, value: bytes) -> Callable[[Path], None]:
    return lambda store: (store / path).write_bytes(value) and None


def link(path: str, target: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        (store / path).unlink()
        (store / path).symlink_to(target)

    return change


def path_of_a_video(path: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        zarr.open_array(store, path="videos/path", mode="r+")[0] = path

    return change


SPECIAL: dict[str, Callable[[Path], None]] = {
    "2^40 clips": consistently("num_clips", "clip", 2**40),
    "2^24 clips": consistently("num_clips", "clip", 2**24),
    "2^40 features": consistently("feature_dim", "feature", 2**40),
    "2^27 features": consistently("feature_dim", "feature", 2**27),
    "2^40 classes": consistently("none", "class", 2**40),
    "2^40 videos": consistently("num_videos", "video", 2**40),
    "30 videos": many_videos(30, num_files=0),
    "8000 videos": many_videos(8000, num_files=0),
    "2 million videos": many_videos(2**21, num_files=512),
    "blocks of 2^40": consistently("block_size", "none", 2**40),
    "blocks of 2^24, without any": large_blocks(2**24),
    "a terabyte of features": sparse("random/motion3d/features/c.0.0.0", 2**40),
    "a terabyte of texts": sparse("random/motion3d/error/c.0", 2**40),
    "64 MB of texts": sparse("random/motion3d/error/c.0", 64_000_000),
    "a terabyte of ids": sparse("videos/id/c.0", 2**40),
    "2^32 texts in a chunk": content("random/motion3d/error/c.0", with_checksum(struct.pack("<I", 2**32 - 1))),
    "2^32 ids in a chunk": content("videos/id/c.0", with_checksum(struct.pack("<I", 2**32 - 1))),
    "a text of 4 GiB": content("random/motion3d/error/c.0", with_checksum(struct.pack("<II", 3, 2**32 - 1) + bytes(8))),
    "endless zeros": link("random/motion3d/features/c.0.0.0", "/dev/zero"),
    "endless zeros for texts": link("videos/path/c.0", "/dev/zero"),
    "somebody's file": link("random/motion3d/features/c.0.0.0", "/etc/passwd"),
    "a path above": path_of_a_video("a/../../etc/passwd"),
    "an absolute path": path_of_a_video("/etc/passwd"),
    "a path with a NUL": path_of_a_video("a\0b"),
    "deep metadata": content("random/zarr.json", DEEP.encode()),
    "deep root": content("zarr.json", DEEP.encode()),
    "metadata that are no text": content("videos/zarr.json", bytes(range(256))),
}


READS: list[Callable[[FeatureStore], Any]] = [
    lambda store: repr((store.videos.ids, store.videos.paths, store.videos.groups)),
    lambda store: repr((store.videos.label_sets, store.videos.targets, store.videos.start_seconds)),
    lambda store: repr((store.file_names(), store.column("labels_tag", slice(2, 4)))),
    lambda store: repr(store.probes()),
    lambda store: store.plan("grid").coordinates.tobytes(),
    lambda store: store.plan("random").coordinates.tobytes(),
    lambda store: store.outcome("random", "motion3d").status.tobytes(),
    lambda store: store.outcome("random", "motion3d").error,
    lambda store: store.read_features("random", "motion3d", allow_incomplete=True).features.tobytes(),
    lambda store: store.read_features("random", "motion3d", np.array([5, 0, 5])).valid.tobytes(),
    lambda store: store.read_block("random", "motion3d", 0).features.tobytes(),
    lambda store: verify_store(store.url).damaged,
]


def read_everything(path: Path) -> tuple[list[Any], list[str]]:
    """What each way of reading gives, None where it is refused, and the refusals."""
    values, refusals = [], []
    for read in READS:
        try:
            values.append(read(FeatureStore.open(path)))
        except (StoreError, ValueError) as error:
            values.append(None)
            refusals.append(str(error))
    return values, refusals


def describe(original: Path, store: Path) -> str:
    """The outcome of reading a store in this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        values, refusals = read_everything(store)
    except BaseException as error:
        return f"{type(error).__name__}\t0\t0\t{' '.join(str(error).split())[:300]}"
    after = resource.getrusage(resource.RUSAGE_SELF)
    damaged = bool(values[-1])
    outcome = "refused" if refusals else "damaged" if damaged else "right"
    if not damaged and values[-1] is not None:  # then what was read is true
        wanted = read_everything(original)[0]
        if any(value not in (None, true) for value, true in zip(values, wanted, strict=True)):
            outcome = "wrong"
    growth = (after.ru_maxrss - before.ru_maxrss) // 1024
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{outcome}\t{growth}\t{seconds:.1f}\t{' '.join(' '.join(refusals).split())[:300]}"


def in_a_process(original: Path, folder: Path, name: str, change: Callable[[Path], str | None]) -> None:
    sys.stdout.flush()
    child = os.fork()  # before Zarr has started a thread
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        store = Path(shutil.copytree(original, folder / "mutant.zarr"))
        name = change(store) or name
        print(f"{name}\t{describe(original, store)}", flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        print(f"{name}\texit {status}\t0\t0\t")
    shutil.rmtree(folder / "mutant.zarr", ignore_errors=True)


def main() -> None:
    original, folder, seed, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    np.seterr(all="ignore")
    for name, change in SPECIAL.items():
        in_a_process(original, folder, name, change)
    for index in range(number):
        generator = random.Random(f"{seed} {index}")
        in_a_process(original, folder, f"mutant {index}", lambda store, generator=generator: one_lie(store, generator))


if __name__ == "__main__":
    main()
