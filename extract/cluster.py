"""Where the job runs: a local Dask cluster of processes on loopback, threads, or a cluster that is already there."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version

import dask
from distributed import Client, LocalCluster, Worker

RESTART_SECONDS = 600
"""Dask gives a worker up that has not come back 15 s after it died; on a busy machine, one that imports torch may need
longer, and a local cluster that has given up its last worker waits forever."""

ALLOWED_FAILURES = 10
"""How often the workers of one task may die before Dask gives the task up. What decoding does to a process never hits a
worker, so a worker that dies was killed by somebody else, and its block is as good as any."""

ANSWER_SECONDS = 10.0
"""In which a scheduler must answer, and come back when the connection is lost."""
WORKER_SECONDS = 60.0
"""How long a job waits for the first worker of a cluster that is there already."""

START_ATTEMPTS = 3
"""A local cluster fails to start when a worker is killed before it is ready, by a machine out of memory, say."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_num_workers(device: str) -> int:
    """One worker per GPU of this machine, or per core where the forward pass runs on the CPU."""
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    return num_cores()


@contextmanager
def dask_client(
    *, scheduler: str | None, num_workers: int, processes: bool = True, threads_per_worker: int = 1
) -> Iterator[Client]:
    """Connect to a cluster, and close what was started here on leaving.

    Args:
        scheduler: address of a running scheduler (``tcp://host:port``, ``tls://…``), or None for a local cluster.
        num_workers: processes (or threads) of the local cluster, at least 1; ignored when ``scheduler`` is given.
        processes: False runs the workers as threads of this process.
        threads_per_worker: tasks at a time of a worker process.

    Raises:
        ConnectionError: the scheduler does not answer, has no workers, or has workers with another release.
        ValueError: num_workers < 1.
    """
    if num_workers < 1:
        raise ValueError(f"number of workers must be at least 1, got {num_workers}")
    if scheduler is not None:
        with _joined(scheduler) as client:
            yield client
        return
    preloads = [*dask.config.get("distributed.worker.preload"), *([__name__] if processes else [])]
    with (
        dask.config.set(
            {
                "distributed.deploy.lost-worker-timeout": RESTART_SECONDS,
                "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
                "distributed.worker.preload": preloads,
            }
        ),
        _local_cluster(num_workers, processes=processes, threads_per_worker=threads_per_worker) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _joined(scheduler: str) -> Iterator[Client]:
    """A client of a running cluster, with certificates as Dask is configured; what goes wrong is told by us alone."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        try:
            client = Client(scheduler, timeout=f"{ANSWER_SECONDS:g}s")
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:  # TypeError: no certificates
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler!r} within {ANSWER_SECONDS:g} s: {error}"
            ) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKER_SECONDS)
            except TimeoutError:
                raise ConnectionError(
                    f"the Dask scheduler at {scheduler!r} has had no worker for {WORKER_SECONDS:g} s; start one"
                ) from None
            _check_releases(client)
            yield client
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_releases(client: Client) -> None:
    """Make sure that workers have this package, in the client's release: others may decode or write differently.

    Raises:
        ConnectionError: one has not.
    """
    ours = installed_release()
    for worker, release in client.run(installed_release, on_error="return").items():
        if release != ours:
            what = f"has scale-video {release}" if isinstance(release, str) else f"cannot run scale-video ({release})"
            raise ConnectionError(f"the worker at {worker} {what}, this is {ours}; install the same release there")


def installed_release() -> str:
    """Version of this package, where it is called."""
    return version("scale-video")


def _local_cluster(num_workers: int, *, processes: bool, threads_per_worker: int) -> LocalCluster:
    start = partial(
        LocalCluster,
        n_workers=num_workers if processes else 1,
        threads_per_worker=threads_per_worker if processes else num_workers * threads_per_worker,
        processes=processes,
        host="127.0.0.1" if processes else None,  # threads talk through memory, and listen nowhere
        dashboard_address="127.0.0.1:0",  # not the usual port: several jobs may run side by side
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    for _ in range(START_ATTEMPTS - 1):
        with suppress(RuntimeError):  # Dask has closed what did start
            return start()
    try:
        return start()
    except RuntimeError as error:
        raise ConnectionError(f"the worker processes cannot be started: {error}") from error


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C to the client, which ends its workers in order; Dask calls this in each local worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
