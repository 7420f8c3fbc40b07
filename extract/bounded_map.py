"""Map a function over many items on a Dask cluster, holding only a bounded number of tasks in flight.

Neither the client nor the scheduler ever knows more than that number, so their memory does not grow with the job.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, as_completed

Item = TypeVar("Item")

TASKS_PER_THREAD = 3
"""One running, one waiting at the worker, one on its way."""


def bounded_map(
    client: Client, function: Callable[[Item], Any], items: Iterable[Item]
) -> Iterator["tuple[Item, Future[Any]]"]:
    """Run ``function`` on every item; yield each with its finished (or failed) future, in order of completion.

    Args:
        client: a connected client; the function and the items must be importable or picklable on its workers.
        function: called with one item.
        items: consumed lazily.
    """
    remaining = iter(items)
    window = max(2, TASKS_PER_THREAD * sum(client.nthreads().values()))
    item_of: dict[Future[Any], Item] = {}

    def submit(count: int) -> "list[Future[Any]]":
        futures = []
        for item in islice(remaining, count):
            future = client.submit(function, item, pure=False)
            item_of[future] = item
            futures.append(future)
        return futures

    pending = as_completed(submit(window))
    try:
        for future in pending:
            item = item_of.pop(future)
            for successor in submit(1):
                pending.add(successor)
            yield item, future
            future.release()
    finally:
        client.cancel(list(item_of))  # empty when all is done; what is left when the caller stops early
