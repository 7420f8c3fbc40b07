"""An extraction as a process of its own, which tests watch and disturb; what it must come to, undisturbed."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

NUM_BLOCKS = 24  # 48 videos, two a block
SECONDS = 400.0
"""More than anything here takes on a busy machine."""
ENVIRONMENT = {**os.environ, "GIT_DIR": os.devnull}
"""Stores record the revision of the code, and somebody may commit while the tests run."""


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """``scale-video`` with these arguments, to its end."""
    call = [sys.executable, "-m", "scale_video.pipelines.cli", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT)


def command(data: Path, store: Path, *options: str) -> list[str]:
    arguments = ["extract", "--dataset", "demo", "--backbone", "motion3d", "--data", str(data)]
    arguments += ["--store", str(store), "--block-size", "2", "--decoders", "1", "--no-estimate"]
    arguments += ["--runs", str(data.parent / "runs")]  # not beside the store, whose disk may vanish
    return [sys.executable, "-m", "scale_video.pipelines.cli", *arguments, *options]


def extract(data: Path, store: Path, *options: str) -> str:
    """Run to the end; what it said on stderr."""
    ended = subprocess.run(
        command(data, store, *options), capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def tree(store: Path) -> dict[str, str]:
    """Digest of every file by its path."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@cache
def undisturbed(data: Path) -> dict[str, str]:
    """The tree that one worker makes when nothing happens."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "demo.zarr"
        extract(data, store, "--workers", "1", "--threads")
        assert verify_store(store).num_committed == NUM_BLOCKS
        return tree(store)


def num_committed(store: Path) -> int:
    try:
        return int(FeatureStore.open(store).committed("random", "motion3d").sum())
    except (StoreError, OSError):  # not created yet, or not there
        return 0


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {seconds:g} s"
        time.sleep(0.005)


class Job:
    """A job that runs; on leaving, it and all that it started are gone."""

    def __init__(self, data: Path, store: Path, *options: str) -> None:
        self.store = store
        self._known: dict[int, psutil.Process] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        self.process = subprocess.Popen(
            command(data, store, *options),
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
            env=ENVIRONMENT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        family = self.family()
        if self.process.poll() is None:
            self.process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=SECONDS)
        self._log.close()

    def family(self) -> list[psutil.Process]:
        """Every process that is there because of the job, also after its client is gone if it was asked for before."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._known[child.pid] = child
        return [process for process in self._known.values() if process.is_running()]

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if "spawn_main" in _command_line(process)]

    def decoders(self) -> list[psutil.Process]:
        return [process for process in self.family() if "guarded_child" in _command_line(process)]

    def wait_for_blocks(self, number: int) -> None:
        """Until so many are committed; the job must still be running."""

        def there() -> bool:
            assert self.process.poll() is None, self.said()
            return num_committed(self.store) >= number

        wait_until(there, what=f"{number} blocks are committed")

    def send(self, number: signal.Signals, *, to_all: bool = False) -> None:
        """A signal for the client, or for all of its session, as a terminal's Ctrl-C."""
        os.killpg(self.process.pid, number) if to_all else self.process.send_signal(number)

    def ended(self, *, seconds: float = SECONDS) -> int:
        """Its exit status; all that it started must be gone, too, a moment later."""
        self.family()
        status = self.process.wait(timeout=seconds)
        _, alive = psutil.wait_procs(self.family(), timeout=60)
        assert not alive, alive
        return status

    def said(self) -> str:
        """What it wrote to stderr so far."""
        self._log.seek(0)
        return self._log.read().decode()


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def check_failure(job_said: str, *words: str) -> None:
    """One line at the end says what is wrong; no traceback anywhere."""
    assert "Traceback" not in job_said
    last = job_said.strip().splitlines()[-1]
    assert last.startswith("error: "), job_said
    for word in words:
        assert word in last, job_said


def finish(data: Path, store: Path, *options: str) -> str:
    """The same command once more; the store is then what it should be."""
    said = extract(data, store, *options)
    assert tree(store) == undisturbed(data)
    assert verify_store(store).damaged == ()
    return said
