"""Backbones of a script, made known to the workers of its job."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from distributed import Client, Worker, WorkerPlugin

from scale_video.extract.backbones.families import Loader, register_backbone, registered, unregister_backbone


class _Registration(WorkerPlugin):
    """Registers loaders on each worker when it starts, also on those that join later; puts back what was there."""

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self.name = f"scale-video-backbones-{uuid.uuid4().hex}"  # several jobs may share a cluster
        self._loaders = dict(loaders)
        self._before: dict[str, Loader] = {}

    def setup(self, worker: Worker) -> None:
        """Called by Dask."""
        self._before = dict(registered())
        for name, load in self._loaders.items():
            register_backbone(name, load)

    def teardown(self, worker: Worker) -> None:
        """Called by Dask."""
        for name in self._loaders:
            unregister_backbone(name)
            if name in self._before:  # workers that are threads share this process with the script
                register_backbone(name, self._before[name])


@contextmanager
def known_on_workers(client: Client) -> Iterator[None]:
    """Make what ``register_backbone`` registered here known to the cluster while the block runs."""
    loaders = registered()
    if not loaders:
        yield
        return
    plugin = _Registration(loaders)
    try:
        client.register_plugin(plugin)
        yield
    finally:
        with suppress(Exception):  # a scheduler that is gone has forgotten
            client.unregister_worker_plugin(plugin.name)
