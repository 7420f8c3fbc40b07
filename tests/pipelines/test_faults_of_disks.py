"""What befalls the disk of a store: the job ends with a message and a status, and the same command later goes on.

In the end the store is always, byte by byte, what an undisturbed job makes.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType

import pytest

from scale_video.store.verify import verify_store

pytestmark = pytest.mark.slow
CHEAP = ("--threads", "--workers", "1")
"""Where worker processes do not matter."""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount something in a new folder; all is unmounted in the end."""
    with ExitStack() as mounted:

        def do(*how: str) -> Path:
            place = tmp_path / "mounted"
            place.mkdir(exist_ok=True)
            try:
                subprocess.run(["mount", *how, str(place)], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"nothing can be mounted here, which takes root and the right to do it: {error}")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(place)], capture_output=True)
            return place

        yield do


def test_a_full_disk(jobs: ModuleType, demo_root: Path, mount: Callable[..., Path]) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")
    with jobs.Job(demo_root, disk / "demo.zarr", *CHEAP) as job:
        job.wait_for_blocks(2)
        fill(disk / "ballast")
        assert job.ended() == 1
        jobs.check_failure(job.said(), "the store cannot be written", "No space left on device", "run the same command")
    committed = jobs.num_committed(disk / "demo.zarr")
    assert 2 <= committed < jobs.NUM_BLOCKS
    assert verify_store(disk / "demo.zarr").damaged == ()
    (disk / "ballast").unlink()
    assert f"{committed} of {jobs.NUM_BLOCKS} blocks are there already" in jobs.finish(
        demo_root, disk / "demo.zarr", *CHEAP
    )


def test_a_disk_that_becomes_read_only(jobs: ModuleType, demo_root: Path, mount: Callable[..., Path]) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")
    store = disk / "demo.zarr"

    def remount(mode: str) -> bool:
        return subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], capture_output=True).returncode == 0

    with jobs.Job(demo_root, store, *CHEAP) as job:
        job.wait_for_blocks(2)
        jobs.wait_until(lambda: remount("ro"), what="no file is open for writing")
        assert job.ended() == 1
        jobs.check_failure(job.said(), "Read-only file system")
    before = jobs.tree(store)
    with jobs.Job(demo_root, store, *CHEAP) as job:  # from the start
        assert job.ended() == 1
        jobs.check_failure(job.said(), "Read-only file system")
    assert jobs.tree(store) == before
    assert remount("rw")
    jobs.finish(demo_root, store, *CHEAP)


@pytest.mark.parametrize("how", ["unmounted", "renamed"])
def test_a_store_that_vanishes(
    jobs: ModuleType, demo_root: Path, tmp_path: Path, mount: Callable[..., Path], how: str
) -> None:
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    if how == "unmounted":
        disk.mkdir()
        mount("--bind", str(disk))
    else:
        place.mkdir()
    with jobs.Job(demo_root, place / "demo.zarr", "--workers", "2") as job:
        job.wait_for_blocks(2)
        if how == "unmounted":
            subprocess.run(["umount", "--lazy", str(place)], check=True)
            place_left = place
        else:
            place.rename(disk)
            place_left = tmp_path
        assert job.ended() == 1
        jobs.check_failure(job.said(), "it was unmounted, moved or deleted", "run the same command again")
    assert not (place / "demo.zarr").exists(), sorted(place_left.rglob("*"))
    assert verify_store(disk / "demo.zarr").damaged == ()
    if how == "unmounted":
        assert not any(place.iterdir()), "nothing may be written beneath a mount point"
        mount("--bind", str(disk))
    else:
        disk.rename(place)
    jobs.finish(demo_root, place / "demo.zarr", *CHEAP)


def fill(ballast: Path) -> None:
    """Write until the disk is full."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
