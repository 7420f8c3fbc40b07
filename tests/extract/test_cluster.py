"""The clusters that jobs run on, and mapping over them with a bounded window."""

import os
import time
from collections.abc import Iterator

import psutil
import pytest
from distributed import Client, KilledWorker

from scale_video.extract.bounded_map import TASKS_PER_THREAD, bounded_map
from scale_video.extract.cluster import dask_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(scheduler=None, num_workers=1) as client:
        yield client


def square(number: int) -> int:
    if number == 13:
        raise OSError("no space left")
    if number == 666:
        os.abort()
    return number**2


def test_everything_listens_on_loopback_only_and_two_clusters_get_along(client: Client) -> None:
    with dask_client(scheduler=None, num_workers=1) as other:
        assert other.submit(square, 2).result() == 4
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        sockets = [s for process in processes for s in process.net_connections("inet") if s.status == "LISTEN"]
        assert sockets
        assert {s.laddr.ip for s in sockets} == {"127.0.0.1"}
    assert client.submit(square, 3).result() == 9


def test_threads_in_one_process() -> None:
    with dask_client(scheduler=None, num_workers=2, processes=False) as client:
        assert client.submit(os.getpid).result() == os.getpid()
        assert sum(client.nthreads().values()) == 2


def test_joining_a_running_cluster(client: Client) -> None:
    address = client.scheduler.address
    with dask_client(scheduler=address, num_workers=1) as joined:
        assert joined.submit(square, 4).result() == 16
    assert client.submit(square, 5).result() == 25  # it was left running


def test_every_item_once_and_few_in_flight(client: Client) -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(100, 140):
            taken += 1
            yield number

    results = {}
    for done, (item, future) in enumerate(bounded_map(client, square, numbers()), start=1):
        results[item] = future.result()
        assert taken - done <= TASKS_PER_THREAD
    assert results == {number: number**2 for number in range(100, 140)}


def test_an_error_belongs_to_its_item(client: Client) -> None:
    outcomes = {}
    for item, future in bounded_map(client, square, [12, 13, 14]):
        try:
            outcomes[item] = future.result()
        except OSError as error:
            outcomes[item] = str(error)
    assert outcomes == {12: 144, 13: "no space left", 14: 196}


def test_what_is_left_is_cancelled_when_the_caller_stops(client: Client) -> None:
    for _, _ in bounded_map(client, square, range(1000, 2000)):
        break
    deadline = time.monotonic() + 30
    while client.processing() and any(client.processing().values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_task_that_kills_its_workers_fails_alone() -> None:
    with dask_client(scheduler=None, num_workers=1) as client:
        future = client.submit(square, 666, pure=False)
        with pytest.raises(KilledWorker):
            future.result(timeout=120)
        assert client.submit(square, 6).result(timeout=60) == 36


def test_bad_arguments() -> None:
    with (
        pytest.raises(ValueError, match="number of workers must be at least 1, got 0"),
        dask_client(scheduler=None, num_workers=0),
    ):
        pass
