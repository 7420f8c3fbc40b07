"""The command line with a store on S3: the same features as on a disk, and the same manners."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import s3fs

from scale_video.store.lock import StoreLock
from scale_video.store.read import FeatureStore

NUM_BLOCKS = 6  # 48 videos, eight a block


def scale_video(*arguments: str | Path, status: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "scale_video.pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def extract(demo_root: Path, store: str | Path, *workers: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
    """By these workers, else by a thread."""
    options = ("--dataset", "demo", "--backbone", "motion3d", "--data", demo_root, "--store", store)
    options += ("--runs", demo_root.parent / "runs")
    workers = workers or ("--workers", "1", "--threads")
    return scale_video(
        "extract", *options, "--block-size", "8", "--decoders", "1", "--no-estimate", *workers, status=status
    )


def client() -> Any:
    return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


def objects_of(url: str) -> dict[str, bytes]:
    files, root = client(), url.removeprefix("s3://")
    contents = files.cat(files.find(root))
    return {path.removeprefix(f"{root}/"): content for path, content in contents.items()}


@pytest.mark.slow
def test_extraction_into_a_bucket(demo_root: Path, tmp_path: Path, s3_bucket: str) -> None:
    url, local = f"{s3_bucket}/x.zarr", tmp_path / "x.zarr"
    extract(demo_root, local)
    extract(demo_root, url, "--workers", "2")
    wanted = {str(path.relative_to(local)): path.read_bytes() for path in sorted(local.rglob("*")) if path.is_file()}
    found = objects_of(url)
    assert found.keys() == wanted.keys()  # the lock is gone, too
    assert [name for name in wanted if name != "zarr.json" and found[name] != wanted[name]] == []

    # What is missing is done, and nothing else.
    before = {name: client().info(f"{url}/{name}")["LastModified"] for name in found}
    client().rm_file(f"{url}/random/motion3d/commit/c.3")
    client().pipe_file(f"{url}/random/motion3d/features/c.3.0.0", b"damaged")
    extract(demo_root, url)
    assert objects_of(url) == found
    after = {name: client().info(f"{url}/{name}")["LastModified"] for name in found}
    redone = {f"random/motion3d/{name}" for name in ("features/c.3.0.0", "valid/c.3.0", "status/c.3", "error/c.3")}
    redone.add("random/motion3d/commit/c.3")
    assert {name for name in found if after[name] != before[name]} <= redone

    # Another job is at work.
    client().rm_file(f"{url}/random/motion3d/commit/c.0")
    with StoreLock.acquire(url, purpose="extract") as lock:
        refused = extract(demo_root, url, status=1)
        assert "is in use by `extract` of" in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
        lock.check()
    assert FeatureStore.open(url).committed("random", "motion3d").tolist() == [False] + [True] * (NUM_BLOCKS - 1)
