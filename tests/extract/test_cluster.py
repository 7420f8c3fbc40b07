"""The clusters that jobs run on, and mapping over them with a bounded window."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, KilledWorker, LocalCluster

from scale_video.extract import bounded_map as bounded_map_module
from scale_video.extract import cluster as cluster_module
from scale_video.extract.block_task import thread_decoders
from scale_video.extract.bounded_map import TASKS_PER_THREAD, bounded_map
from scale_video.extract.clip_decoders import DecodeLimits
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


def num_decoders_started() -> int:
    """Look at a file as a job does, which starts a decoding process."""
    list(thread_decoders(DecodeLimits()).probe([Path("nowhere.mp4")]))
    return len(psutil.Process().children())


def test_everything_listens_on_loopback_only_and_two_clusters_get_along(client: Client) -> None:
    with dask_client(scheduler=None, num_workers=1) as other:
        assert other.submit(num_decoders_started).result() == 1
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
    for done, (item, outcome) in enumerate(bounded_map(client, square, numbers()), start=1):
        results[item] = outcome.result()
        assert taken - done <= TASKS_PER_THREAD
    assert results == {number: number**2 for number in range(100, 140)}


_OPEN = threading.Event()


def wait_for_opening(number: int) -> int:
    assert _OPEN.wait(60)
    return number


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_that_join_later_get_work(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(bounded_map_module, "LOOK_SECONDS", 0.1)
    taken = []
    _OPEN.clear()
    with dask_client(scheduler=None, num_workers=1, processes=False) as client:

        def run() -> None:
            numbers = (taken.append(number) or number for number in range(20))  # type: ignore[func-returns-value]
            results.extend(outcome.result() for _, outcome in bounded_map(client, wait_for_opening, numbers))

        results: list[int] = []
        job = threading.Thread(target=run)
        job.start()
        until(lambda: len(taken) == TASKS_PER_THREAD)
        client.cluster.scale(3)
        until(lambda: len(taken) == 3 * TASKS_PER_THREAD)
        with caplog.at_level(logging.WARNING, logger="scale_video"):
            client.cluster.scale(0)
            until(lambda: "the cluster has no worker at this moment; waiting for one" in caplog.text)
        client.cluster.scale(2)
        _OPEN.set()
        job.join(60)
    assert sorted(results) == list(range(20))


def test_workers_of_another_release_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = client.scheduler.address
    monkeypatch.setattr(cluster_module, "version", lambda name: "0.0")  # here, not in the worker's process
    with (
        pytest.raises(ConnectionError, match=r"has scale-video [1-9.]*.*, this is 0\.0; install the same release"),
        dask_client(scheduler=address, num_workers=1),
    ):
        pass


def test_a_cluster_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "WORKER_SECONDS", 0.5)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(ConnectionError, match=r"at 'tcp://127\.0\.0\.1:\d+' has had no worker for 0\.5 s; start one"),
        dask_client(scheduler=cluster.scheduler_address, num_workers=1),
    ):
        pass


def test_an_error_belongs_to_its_item(client: Client) -> None:
    outcomes = {}
    for item, outcome in bounded_map(client, square, [12, 13, 14]):
        try:
            outcomes[item] = outcome.result()
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
        [(_, outcome)] = bounded_map(client, square, [666])
        with pytest.raises(KilledWorker):
            outcome.result()
        assert client.submit(square, 6).result(timeout=60) == 36


def test_bad_arguments() -> None:
    with (
        pytest.raises(ValueError, match="number of workers must be at least 1, got 0"),
        dask_client(scheduler=None, num_workers=0),
    ):
        pass


@pytest.mark.parametrize("num_failures", [2, 3])
def test_a_cluster_whose_worker_is_killed_before_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, num_failures: int
) -> None:
    failures = iter(range(num_failures))

    def fail_at_first(**how: object) -> LocalCluster:
        if next(failures, None) is not None:
            raise RuntimeError("Nanny failed to start.")
        return LocalCluster(**how)

    monkeypatch.setattr("scale_video.extract.cluster.LocalCluster", fail_at_first)
    cluster = dask_client(scheduler=None, num_workers=1, processes=False)
    if num_failures < 3:
        with cluster as client:
            assert client.submit(square, 2).result() == 4
    else:
        with pytest.raises(ConnectionError, match="the worker processes cannot be started: Nanny failed"), cluster:
            pass
