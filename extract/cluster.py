"""Where the job runs: a local Dask cluster of processes on loopback, threads, or a cluster that is already there."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

RESTART_SECONDS = 600
"""Dask gives a worker up that has not come back 15 s after it died; on a busy machine, one that imports torch may need
longer, and a local cluster that has given up its last worker waits forever."""


def default_num_workers() -> int:
    """One worker per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(*, scheduler: str | None, num_workers: int, processes: bool = True) -> Iterator[Client]:
    """Connect to a cluster, and close what was started here on leaving.

    Workers have one thread each: decoding and the forward pass of one block keep one core busy, and one thread makes
    the features' bits independent of the number of workers.

    Args:
        scheduler: address of a running scheduler (``tcp://host:port``), or None for a local cluster.
        num_workers: processes (or threads) of the local cluster, at least 1; ignored when ``scheduler`` is given.
        processes: False runs the workers as threads of this process.

    Raises:
        ConnectionError: the scheduler does not answer.
        ValueError: num_workers < 1.
    """
    if num_workers < 1:
        raise ValueError(f"number of workers must be at least 1, got {num_workers}")
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectionError(f"no Dask scheduler answers at {scheduler!r} within 10 s: {error}") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=60)
            except TimeoutError:
                raise ConnectionError(
                    f"the Dask scheduler at {scheduler!r} has had no worker for 60 s; start one"
                ) from None
            yield client
        return
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": RESTART_SECONDS}),
        LocalCluster(
            n_workers=num_workers if processes else 1,
            threads_per_worker=1 if processes else num_workers,
            processes=processes,
            host="127.0.0.1" if processes else None,  # threads talk through memory, and listen nowhere
            dashboard_address="127.0.0.1:0",  # not the usual port: several jobs may run side by side
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
