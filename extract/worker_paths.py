"""Where a worker finds what the client names: another machine may have the same folder elsewhere."""

import os
import socket
from pathlib import Path, PurePosixPath

import dask

from scale_video.store.errors import StoreError
from scale_video.store.names import check_relative_path

CONFIG_KEY = "scale-video.paths"
"""Dask configuration: a mapping from a folder as the client names it to the same folder as the worker sees it. In the
environment of a worker: ``DASK_SCALE_VIDEO__PATHS='{"/data": "/mnt/nas/data"}'``."""


def worker_path(path: str) -> str:
    """The path on this worker: the longest configured folder that it lies in is replaced; URLs are left alone.

    Raises:
        ValueError: the configuration is no mapping of texts.
    """
    mapping = dask.config.get(CONFIG_KEY, {})
    if not isinstance(mapping, dict) or not all(isinstance(text, str) for pair in mapping.items() for text in pair):
        raise ValueError(
            f"the Dask configuration {CONFIG_KEY!r} must map folders to folders, such as "
            f'{{"/data": "/mnt/data"}}, got {mapping!r}'
        )
    if "://" in path:
        return path
    for folder in sorted(mapping, key=len, reverse=True):
        if PurePosixPath(path).is_relative_to(folder):
            return str(PurePosixPath(mapping[folder]) / PurePosixPath(path).relative_to(folder))
    return path


def check_data_root(data_root: str) -> None:
    """Tell a folder of videos that is gone from a video that is: else an unmounted disk would make all of them missing.

    Raises:
        StoreError: there is no such folder here, or nothing in it.
    """
    try:
        with os.scandir(data_root) as entries:
            if next(entries, None) is not None:
                return
            what = "is empty"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    raise StoreError(
        f"the folder of videos {data_root!r} {what} on worker {socket.gethostname()}; mount it there, or say where it "
        f"is by the Dask configuration {CONFIG_KEY!r}, and run the same command again"
    )


def video_path(data_root: str, path: str) -> Path:
    """A video's file beneath the data root.

    Raises:
        ValueError: the path, which may come from a store of someone else's, leads out of the root.
    """
    check_relative_path(path)
    return Path(data_root) / path
