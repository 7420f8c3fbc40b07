"""A store's bytes follow from the plan: not from the number of workers, nor from who was killed on the way."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

NUM_BLOCKS = 24  # 48 videos, two a block


def command(demo_root: Path, store: Path, *options: str) -> list[str]:
    arguments = ["extract", "--dataset", "demo", "--data", str(demo_root), "--store", str(store), "--block-size", "2"]
    return [sys.executable, "-m", "scale_video.pipelines.cli", *arguments, *options]


def extract(demo_root: Path, store: Path, *options: str) -> None:
    subprocess.run(command(demo_root, store, *options), check=True, capture_output=True, timeout=300)


def tree(store: Path) -> dict[str, str]:
    """Digest of every file by its path."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def num_committed(store: Path) -> int:
    try:
        return int(FeatureStore.open(store).committed("random", "motion3d").sum())
    except StoreError:  # not created yet
        return 0


@pytest.fixture(scope="module")
def undisturbed(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("one worker") / "demo.zarr"
    extract(demo_root, store, "--workers", "1")
    assert verify_store(store).num_committed == NUM_BLOCKS
    return tree(store)


@pytest.mark.parametrize("options", [("--workers", "2"), ("--workers", "2", "--threads")])
def test_two_workers_and_threads(
    demo_root: Path, tmp_path: Path, undisturbed: dict[str, str], options: tuple[str, ...]
) -> None:
    extract(demo_root, tmp_path / "demo.zarr", *options)
    assert tree(tmp_path / "demo.zarr") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["client and workers", "client", "worker"])
def test_killed_at_a_random_moment_and_run_again(
    demo_root: Path, tmp_path: Path, undisturbed: dict[str, str], victims: str
) -> None:
    store = tmp_path / "demo.zarr"
    moment = int(np.random.default_rng().integers(1, NUM_BLOCKS // 2))
    with subprocess.Popen(
        command(demo_root, store, "--workers", "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while num_committed(store) < moment:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        family = psutil.Process(process.pid).children(recursive=True)
        if victims == "client and workers":
            os.killpg(process.pid, signal.SIGKILL)
        elif victims == "client":
            process.kill()
        else:
            workers = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
            workers[0].kill()
            assert process.wait(timeout=120) == 0  # the job goes on without it
    _, alive = psutil.wait_procs(family, timeout=60)  # workers notice that their client is gone
    assert not alive
    if victims != "worker":
        assert moment <= num_committed(store) < NUM_BLOCKS, "the job was to be interrupted"
        extract(demo_root, store, "--workers", "2")
    assert tree(store) == undisturbed
    assert verify_store(store).damaged == ()
