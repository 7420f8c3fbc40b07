"""Work that pages wait for without holding up others: one piece after the other, with its progress."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from scale_video.pipelines.console import note

Report: TypeAlias = Callable[[int], None]
"""Says how much is done. Raises ``Stopped`` when nobody wants the rest."""


class Stopped(BaseException):
    """The explorer ends; no ``Exception``, so that nothing on the way takes it for a failure."""


@dataclass(slots=True)
class Task:
    """A piece of work, as pages show it."""

    title: str
    total: int
    done: int = 0
    finished: bool = False
    error: str = ""
    """Why it failed, in one line."""

    @property
    def percent(self) -> int:
        """Rounded down."""
        return 100 if self.finished else 100 * self.done // max(1, self.total)


class Background:
    """A thread that works off what pages ask for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explorer-background")
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def begin(self, title: str, total: int, work: Callable[[Report], None]) -> Task:
        """Have work done after what was begun before.

        Args:
            title: What is being done, for the pages, which know it by this.
            total: Units of it.
            work: Called with what takes its progress; its errors are the task's.
        """
        task = Task(title, total)
        with self._lock:
            self._tasks[title] = task
            self._thread.submit(self._run, task, work)
        return task

    def tasks(self) -> tuple[Task, ...]:
        """All that were begun; of those with one title the last."""
        with self._lock:
            return tuple(self._tasks.values())

    def check(self) -> None:
        """Let long work end with the explorer.

        Raises:
            Stopped: it has ended.
        """
        if self._stopping.is_set():
            raise Stopped

    def stop(self) -> None:
        """Let everything that checks end."""
        self._stopping.set()

    def close(self) -> None:
        """Leave what is under way, and wait until it is left."""
        self.stop()
        self._thread.shutdown(cancel_futures=True)

    def _run(self, task: Task, work: Callable[[Report], None]) -> None:
        def report(done: int) -> None:
            self.check()
            task.done = done

        try:
            self.check()
            work(report)
        except Stopped:
            return
        except Exception as error:  # shown where its result is missed, and the pages go on
            task.error = " ".join(str(error).split()) or type(error).__name__
            note(f"{task.title}: {task.error}")
        task.finished = True
