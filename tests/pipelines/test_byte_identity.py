"""A store's bytes follow from the plan: not from the number of workers, nor from who was killed on the way."""

import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from scale_video.store.verify import verify_store


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--workers", "2"), ("--workers", "2", "--threads")])
def test_two_workers_and_threads(jobs: ModuleType, demo_root: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    jobs.extract(demo_root, tmp_path / "demo.zarr", *options)
    assert jobs.tree(tmp_path / "demo.zarr") == jobs.undisturbed(demo_root)


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["client and workers", "client", "worker"])
def test_killed_at_a_random_moment_and_run_again(
    jobs: ModuleType, demo_root: Path, tmp_path: Path, victims: str
) -> None:
    store = tmp_path / "demo.zarr"
    moment = int(np.random.default_rng().integers(1, jobs.NUM_BLOCKS // 2))
    with jobs.Job(demo_root, store, "--workers", "2") as job:
        job.wait_for_blocks(moment)
        job.family()
        if victims == "worker":
            job.workers()[0].kill()
            assert job.ended() == 0, "the job goes on without it"
        else:
            job.send(signal.SIGKILL, to_all=victims == "client and workers")
            assert job.ended() == -signal.SIGKILL  # workers notice that their client is gone
            assert moment <= jobs.num_committed(store) < jobs.NUM_BLOCKS, "the job was to be interrupted"
            jobs.extract(demo_root, store, "--workers", "2")
    assert jobs.tree(store) == jobs.undisturbed(demo_root)
    assert verify_store(store).damaged == ()
