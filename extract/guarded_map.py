"""Calls in several guarded processes at a time, their results in order, and each culprit found out exactly.

A call that is harmed (it crashes, hangs or hungers) is made once more, alone: after its neighbours have finished, so
that what they did to memory and machine cannot be the cause. Only if that fails, too, is it given up; the others never
suffer. One that was killed from outside (by a machine that runs out of memory, say) is tried a few times more.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TypeVar

from scale_video.extract.guarded_process import CallHarmedError, GuardedProcess, ProcessDiedError

KILLED_ATTEMPTS = 3
KILLED_PAUSE_SECONDS = 1.0
"""Before another attempt; longer each time."""

Job = TypeVar("Job")
Result = TypeVar("Result")


class GuardedMap:
    """A fixed number of guarded processes. Use it from one thread at a time."""

    def __init__(
        self,
        num_processes: int,
        *,
        prefetch: int,
        memory_bytes: int | None,
        libraries: tuple[str, ...] = (),
        shared_files: tuple[int, ...] = (),
    ) -> None:
        """Prepare; processes start when they are needed.

        Args:
            num_processes: calls at a time, at least 1.
            prefetch: calls that are begun before the first of them is asked for; at least ``num_processes``, so that
                none idles.
            memory_bytes: see ``GuardedProcess``.
            libraries: see ``GuardedProcess``.
            shared_files: see ``GuardedProcess``.
        """
        self.num_processes = num_processes
        self.prefetch = max(prefetch, num_processes)
        self._all = [
            GuardedProcess(memory_bytes=memory_bytes, libraries=libraries, shared_files=shared_files)
            for _ in range(num_processes)
        ]
        self._idle: SimpleQueue[GuardedProcess] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(num_processes, thread_name_prefix="guarded")

    def map(
        self, function: Callable[[Job], Result], jobs: Iterable[Job], *, timeout_seconds: float
    ) -> "Generator[Result | CallHarmedError]":
        """Yield ``function(job)``, or what happened to it, for each job in order.

        Jobs are consumed lazily: when a result is asked for, at most ``prefetch`` jobs further than it.

        Raises:
            Exception: whatever the function itself raises, in the place of its result.
        """
        remaining = iter(jobs)
        window: deque[tuple[Job, Future[Result]]] = deque()
        finished = False
        try:
            while True:
                while len(window) < self.prefetch and not finished:
                    try:
                        job = next(remaining)
                    except StopIteration:
                        finished = True
                    else:
                        window.append((job, self._threads.submit(self._call, function, job, timeout_seconds)))
                if not window:
                    return
                job, future = window[0]
                try:
                    outcome: Result | CallHarmedError = future.result()
                except CallHarmedError:
                    wait([other for _, other in window])
                    outcome = self._once_more(function, timeout_seconds, window)
                window.popleft()
                yield outcome
        finally:
            if window:  # the caller has had enough, or the function raised
                for _, future in window:
                    future.cancel()
                for process in self._all:
                    process.interrupt()
                wait([future for _, future in window])
                for process in self._all:
                    process.resume()

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.interrupt()
        self._threads.shutdown()
        for process in self._all:
            process.close()

    def _once_more(
        self, function: Callable[[Job], Result], timeout_seconds: float, window: "deque[tuple[Job, Future[Result]]]"
    ) -> "Result | CallHarmedError":
        job = window[0][0]
        for attempt in range(1, KILLED_ATTEMPTS + 1):
            future = self._threads.submit(self._call, function, job, timeout_seconds)
            window[0] = job, future  # so that an interrupt ends it, too
            try:
                return future.result()
            except CallHarmedError as error:
                harm = error
            if not (isinstance(harm, ProcessDiedError) and harm.killed):
                break
            time.sleep(attempt * KILLED_PAUSE_SECONDS)
        return harm

    def _call(self, function: Callable[[Job], Result], job: Job, timeout_seconds: float) -> Result:
        process = self._idle.get()
        try:
            result: Result = process.call(function, job, timeout_seconds=timeout_seconds)
            return result
        finally:
            self._idle.put(process)
