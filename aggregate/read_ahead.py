"""An iterator that works ahead of whoever consumes it, in a thread of its own."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

Item = TypeVar("Item")

ITEMS_AHEAD: Final = 2
"""One to be taken at once, one more so that a slow one is not waited for."""
_POLL_SECONDS: Final = 0.1


def read_ahead(make: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """The items of an iterator in its order, up to ``ITEMS_AHEAD`` of them made before they are asked for.

    An error is raised where the item would have come. The thread ends with the last item, or soon after the caller
    has given up; what the iterator holds is given back then as well.

    Args:
        make: Makes the iterator; called in the thread.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=ITEMS_AHEAD)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                ready.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again by whoever consumes
            put(None, error)
        else:
            put(None, StopIteration())

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
            del item
    finally:
        stopped.set()
        thread.join()
