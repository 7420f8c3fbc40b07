"""Time that is spent on a training, over all the times that it was begun again."""

import time


class Stopwatch:
    """Seconds since ``start``, and those of earlier."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started: float | None = None

    def start(self, *, before: float) -> None:
        """Run, from so many seconds on."""
        self._before = before
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """0 before the start."""
        return 0.0 if self._started is None else self._before + time.perf_counter() - self._started
