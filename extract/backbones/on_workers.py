"""Backbones of a script, made known to the workers of its job."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from distributed import Client, Worker, WorkerPlugin

from scale_video.extract.backbones.families import Loader, register_backbone, registered

_NAME: Final = "scale-video-backbones"


class _Registration(WorkerPlugin):
    """Registers loaders on each worker when it starts, also on those that join later; functions travel by value."""

    name = _NAME

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self._loaders = dict(loaders)

    def setup(self, worker: Worker) -> None:
        """Called by Dask."""
        for name, load in self._loaders.items():
            register_backbone(name, load)


@contextmanager
def known_on_workers(client: Client) -> Iterator[None]:
    """Make what ``register_backbone`` registered here known to the cluster while the block runs."""
    loaders = registered()
    if not loaders:
        yield
        return
    client.register_plugin(_Registration(loaders))
    try:
        yield
    finally:
        client.unregister_worker_plugin(_NAME)
