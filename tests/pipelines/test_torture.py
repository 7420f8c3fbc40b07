"""Whoever is killed, and whenever: the same command, started until it is done, makes the very bytes of a quiet run.

SCALE_VIDEO_TORTURE=minutes goes on with store after store for so long (``make torture``).

What is promised, and so what is not done here: a decoding process that dies twice in a row over one video may blame the
video. Each worker's decoding processes are killed once at most, so no video is hit twice in one attempt at its block.
"""

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from scale_video.store.verify import verify_store

TORTURE_SECONDS = 60 * float(os.environ.get("SCALE_VIDEO_TORTURE", "0"))
KILLS = {"decoder": 3, "worker": 3, "client": 2}
"""How many of each until a store is left in peace."""
MAX_PAUSE_SECONDS = 4.0


class Killer:
    """Kills processes of a job in random order, at random moments."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left = [kind for kind, count in KILLS.items() for _ in range(count)]
        rng.shuffle(self._left)
        self._robbed: set[int] = set()
        """Workers that have lost a decoding process."""
        self.killed: Counter[str] = Counter()

    def pause(self) -> None:
        time.sleep(MAX_PAUSE_SECONDS * self._rng.random())

    def strike(self, workers: list[psutil.Process], decoders: list[psutil.Process], client: psutil.Process) -> None:
        """Kill what is next on the list, if there is such a process at this moment."""
        if not self._left:
            return
        kind = self._left[0]
        victims = {"client": [client], "worker": workers, "decoder": [d for d in decoders if self._may_lose(d)]}[kind]
        if not victims:
            return
        victim = victims[self._rng.integers(len(victims))]
        try:
            self._robbed.add(victim.ppid())
            victim.kill()
        except psutil.NoSuchProcess:
            return
        self.killed[kind] += 1
        del self._left[0]

    def _may_lose(self, decoder: psutil.Process) -> bool:
        try:
            return decoder.ppid() not in self._robbed
        except psutil.NoSuchProcess:
            return False


def torture(jobs: ModuleType, data: Path, store: Path, rng: np.random.Generator) -> tuple[Killer, int]:
    """Run a job, with murder all around it, until it is done; gives also how often it was started."""
    killer = Killer(rng)
    started_jobs: list[Any] = []
    with ExitStack() as started:
        while not started_jobs or started_jobs[-1].process.returncode != 0:
            job = started.enter_context(jobs.Job(data, store, "--workers", "2"))
            started_jobs.append(job)
            client = psutil.Process(job.process.pid)
            while job.process.poll() is None:
                killer.pause()
                killer.strike(job.workers(), job.decoders(), client)
            assert job.process.returncode in (0, -signal.SIGKILL), job.said()
            if rng.random() < 0.5:  # else what is left of it meets its successor
                job.ended()
        for job in started_jobs:
            job.ended()
    return killer, len(started_jobs)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_who_was_killed(jobs: ModuleType, demo_root: Path, tmp_path: Path) -> None:
    deadline = time.monotonic() + TORTURE_SECONDS
    entropy = np.random.SeedSequence().entropy
    for number in range(1000):
        store = tmp_path / f"{number}.zarr"
        killer, num_starts = torture(jobs, demo_root, store, np.random.default_rng((entropy, number)))
        print(f"store {number} of {entropy}: {dict(killer.killed)} killed, {num_starts} starts")
        assert verify_store(store).damaged == ()
        assert jobs.tree(store) == jobs.undisturbed(demo_root)
        if time.monotonic() > deadline:
            break
