"""Map a function over many items on a Dask cluster, holding only a bounded number of tasks in flight.

Neither the client nor the scheduler ever knows more than that number, so their memory does not grow with the job. The
number follows the cluster: workers that join while the job runs get work, and a cluster that has gone is noticed.
"""

import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from concurrent.futures import Future as Outcome
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from distributed import Client, Future

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

TASKS_PER_THREAD = 3
"""One running, one waiting at the worker, one on its way."""
LOOK_SECONDS = 5.0
"""How often the scheduler is asked for its workers."""
AGAIN = "what is committed stays; run the same command again to go on"
"""How a message ends that tells of an interruption."""
ANSWER_SECONDS = 60.0
"""A scheduler that does not answer by then is gone."""


def bounded_map(
    client: Client, function: Callable[[Item], Any], items: Iterable[Item]
) -> Generator["tuple[Item, Outcome[Any]]"]:
    """Run ``function`` on every item; yield each with its outcome, in order of completion.

    A cluster that loses all of its workers is waited for: pre-empted ones come back.

    Args:
        client: a connected client; the function and the items must be importable or picklable on its workers.
        function: called with one item.
        items: consumed lazily.

    Yields:
        An item, and a future that is done: ``result()`` gives or raises what the function did, or ``KilledWorker``.

    Raises:
        ConnectionError: the scheduler is gone.
    """
    remaining = iter(items)
    finished: SimpleQueue[Future[Any]] = SimpleQueue()
    item_of: dict[Future[Any], Item] = {}
    window = _Window(client)

    def fill() -> None:
        for item in islice(remaining, max(0, window.size() - len(item_of))):
            future = client.submit(function, item, pure=False)
            item_of[future] = item
            future.add_done_callback(finished.put)

    try:
        fill()
        while item_of:
            try:
                future = finished.get(timeout=LOOK_SECONDS)
            except Empty:
                fill()
                continue
            outcome = _outcome(future, window)
            item = item_of.pop(future)
            fill()
            yield item, outcome
            future.release()
    finally:
        if item_of:  # the caller has had enough
            with suppress(Exception):  # no scheduler, nothing to cancel
                client.cancel(list(item_of))


class _Window:
    """How many tasks may be in flight."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._size = 0
        self._next_look = 0.0
        self._had_workers = True

    def size(self) -> int:
        """Tasks in flight that keep all present workers busy; at least two.

        Raises:
            ConnectionError: the scheduler does not answer.
        """
        if monotonic() >= self._next_look:
            num_threads = self._num_threads()
            if num_threads == 0 and self._had_workers:
                logger.warning("the cluster has no worker at this moment; waiting for one")
            self._had_workers = num_threads > 0
            self._size = max(2, TASKS_PER_THREAD * num_threads)
            self._next_look = monotonic() + LOOK_SECONDS
        return self._size

    def gone(self) -> ConnectionError:
        """What to raise when the scheduler is gone."""
        address = getattr(self._client.scheduler, "address", None)  # a client that gave up has forgotten it
        where = f" at {address}" if address else ""
        return ConnectionError(f"the Dask scheduler{where} is gone; {AGAIN}")

    def _num_threads(self) -> int:
        try:
            scheduler: Any = self._client.scheduler
            threads: dict[str, int] = self._client.sync(scheduler.ncores, callback_timeout=ANSWER_SECONDS)
            return sum(threads.values())
        except Exception as error:  # Dask raises many things when its connection is gone
            raise self.gone() from error


def _outcome(future: "Future[Any]", window: _Window) -> "Outcome[Any]":
    """Fetch what became of a task; what fails on the way is not mistaken for what the task raised.

    Raises:
        ConnectionError: the scheduler is gone.
    """
    outcome: Outcome[Any] = Outcome()
    while not _has_raised(future):
        try:
            outcome.set_result(future.result(timeout=LOOK_SECONDS))
            return outcome
        except (OSError, CancelledError, RuntimeError) as error:
            if _has_raised(future):  # the worker that had the result died, and it was computed anew
                break
            if not isinstance(error, TimeoutError):
                raise window.gone() from error
            window.size()  # is anybody there?
    outcome.set_exception(future.exception())
    return outcome


def _has_raised(future: "Future[Any]") -> bool:
    return future.status == "error"
