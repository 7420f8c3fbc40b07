"""What befalls a job from outside: it ends with a message and a status, and the same command later goes on.

In the end the store is always, byte by byte, what an undisturbed job makes.
"""

import json
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import psutil
import pytest

pytestmark = pytest.mark.slow
CHEAP = ("--threads", "--workers", "1", "--decoders", "1")
"""Where worker processes do not matter."""


def test_signals_and_a_second_job(jobs: ModuleType, demo_root: Path, tmp_path: Path) -> None:
    store = tmp_path / "demo.zarr"
    go_on = "what is committed stays; run the same command again to go on"
    with jobs.Job(demo_root, store, "--workers", "2") as job:
        job.wait_for_blocks(1)  # early, so that on a busy machine it is far from done when the signal comes
        job.send(signal.SIGSTOP, to_all=True)  # it is slow, but there
        with jobs.Job(demo_root, store, *CHEAP) as second:
            assert second.ended() == 1
            jobs.check_failure(second.said(), "is in use by", "--break-lock")
        job.send(signal.SIGCONT, to_all=True)
        job.send(signal.SIGINT, to_all=True)
        assert job.ended() == 128 + signal.SIGINT
        assert job.said().splitlines()[-1] == f"interrupted by SIGINT; {go_on}"
        assert "Traceback" not in job.said()
    assert not (store / "lock.json").exists()
    committed = jobs.num_committed(store)
    with jobs.Job(demo_root, store, "--workers", "1") as job:
        job.wait_for_blocks(committed + 1)
        job.send(signal.SIGTERM)
        assert job.ended() == 128 + signal.SIGTERM
        assert job.said().splitlines()[-1] == f"interrupted by SIGTERM; {go_on}"
    assert not (store / "lock.json").exists()
    assert jobs.num_committed(store) < jobs.NUM_BLOCKS
    jobs.finish(demo_root, store, *CHEAP)


def test_workers_that_leave_and_join_and_a_scheduler_that_is_killed(
    jobs: ModuleType, demo_root: Path, tmp_path: Path
) -> None:
    address_file, store = tmp_path / "scheduler.json", tmp_path / "demo.zarr"
    with ExitStack() as processes:

        def start(program: str, *options: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", f"distributed.cli.dask_{program}", "--scheduler-file", str(address_file)),
                    *(*options, "--host", "127.0.0.1", "--no-dashboard"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            processes.callback(kill_all, process)
            return process

        scheduler = start("scheduler", "--port", "0")
        jobs.wait_until(address_file.exists, what="the scheduler is there")
        workers = [start("worker", "--nthreads", "1") for _ in range(2)]
        address = json.loads(address_file.read_text())["address"]
        with jobs.Job(demo_root, store, "--scheduler", address) as job:
            job.wait_for_blocks(2)
            for worker in workers:
                kill_all(worker)
            before = jobs.num_committed(store)
            jobs.wait_until(lambda: "the cluster has no worker at this moment" in job.said(), what="it is noticed")
            assert job.process.poll() is None, job.said()
            assert jobs.num_committed(store) == before
            start("worker", "--nthreads", "1")
            job.wait_for_blocks(before + 2)
            scheduler.kill()
            assert job.ended(seconds=120) == 1
            jobs.check_failure(job.said(), "the Dask scheduler", "is gone", "what is committed stays")
        assert not (store / "lock.json").exists()
    assert jobs.num_committed(store) < jobs.NUM_BLOCKS
    jobs.finish(demo_root, store, *CHEAP)


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """A process and what it has started."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in family:
            if child.is_running():
                child.kill()


@pytest.fixture
def large_video() -> bytes:
    """A third of a second of 8192 × 8192 pixels."""
    bombs = runpy.run_path(str(Path(__file__).parents[1] / "extract" / "frame_bombs.py"))
    content: bytes = bombs["remuxed"](bombs["h264_of_skips"](8192, 8192, num_frames=8), "mp4")
    return content


def test_a_video_that_hungers_and_hangs_is_named_and_can_be_had_later(
    jobs: ModuleType, tmp_path: Path, make_video: Callable[..., None], large_video: bytes
) -> None:
    data, store = tmp_path / "data", tmp_path / "store.zarr"
    for number in range(5):
        make_video(data / f"{number}.avi", seed=number)
    (data / "2b.mp4").write_bytes(large_video)

    def run(store: Path, *options: object, command: str = "extract") -> "subprocess.CompletedProcess[str]":
        what = ("--dataset", "folder", "--data", data, "--backbone", "motion3d", "--views", "random")
        return jobs.run(
            command, *what, "--store", store, "--runs", tmp_path / "runs", "--block-size", 2, *CHEAP, *options
        )

    quiet = run(tmp_path / "quiet.zarr", "--max-failures", 0)
    assert quiet.returncode == 0, quiet.stderr
    expected = jobs.tree(tmp_path / "quiet.zarr")
    assert run(store, command="plan").returncode == 0
    attempts = (
        (("--memory-limit", 0.2), "crashed", "decoding needs more memory than the 0.2 GiB it may have"),
        (("--retry", "crashed", "--video-timeout", 1.5), "timeout", "decoding took more than 1.5 s"),
    )
    for options, status, error in attempts:
        ended = run(store, *options)
        assert ended.returncode == 1
        jobs.check_failure(ended.stderr, "more videos failed than --max-failures 1% allows", "scale-video failures")
        (failure,) = json.loads(jobs.run("failures", store, "--json").stdout)["failures"]
        assert (failure["path"], failure["status"], failure["error"]) == ("2b.mp4", status, error)
        now = jobs.tree(store)
        assert {Path(path).name for path in expected if now[path] != expected[path]} <= {"c.1", "c.1.0", "c.1.0.0"}
    retried = run(store, "--retry", "crashed,timeout")
    assert retried.returncode == 0, retried.stderr
    assert jobs.tree(store) == expected
