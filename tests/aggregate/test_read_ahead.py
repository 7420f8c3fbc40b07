import threading
import time

import pytest

from scale_video.aggregate.read_ahead import ITEMS_AHEAD, read_ahead


def test_items_come_in_order_and_from_another_thread():
    threads = set()

    def make():
        for item in range(20):
            threads.add(threading.get_ident())
            yield item

    assert list(read_ahead(make)) == list(range(20))
    assert threads == threads - {threading.get_ident()}
    assert len(threads) == 1


def test_so_many_are_made_ahead_and_no_more():
    made = []

    def make():
        for item in range(20):
            made.append(item)
            yield item

    items = read_ahead(make)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < ITEMS_AHEAD + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == ITEMS_AHEAD + 2  # one taken, some ready, one in hand
    items.close()


def test_an_error_comes_in_its_place():
    def make():
        yield 1
        raise OSError("disk")

    items = read_ahead(make)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)
    assert list(items) == []


def test_what_is_left_early_is_closed():
    closed = threading.Event()

    def make():
        try:
            yield from range(100)
        finally:
            closed.set()

    items = read_ahead(make)
    next(items)
    items.close()
    assert closed.is_set()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
