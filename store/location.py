"""Where a store lies: any fsspec URL, or a local folder, whose files can be forced to disk and swept."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from scale_video.store.errors import StoreError, StoreNotFoundError

if TYPE_CHECKING:
    import zarr

LOCK_NAME: Final = "lock.json"
"""File in the root of a store that a job works on."""

_FEW_FILES: Final = 8
"""So many are asked for one by one, more are looked up in a listing of their folder."""


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """One store's address, resolved to the file system that serves it."""

    url: str
    """An absolute local path, or a URL such as ``s3://bucket/k400.zarr``."""
    file_system: Any
    """The fsspec file system."""
    root: str
    """The path of the store within that file system."""

    @classmethod
    def of(cls, url: str | Path) -> "StoreLocation":
        """Resolve a path or URL; ``~`` is expanded for local paths.

        ``file://`` and ``local://`` become a path: Zarr writes files of a path atomically, those of such a URL not.

        Raises:
            StoreError: the package that speaks the URL's protocol is not installed.
            ValueError: nobody knows the protocol.
        """
        text = str(url)
        if "://" not in text:
            text = str(Path(text).expanduser().absolute())
        try:
            file_system, root = fsspec.core.url_to_fs(text)
        except ImportError as error:
            way_out = "pip install 'scale-video[s3]'" if text.startswith("s3") else f"install it ({error})"
            raise StoreError(f"{text!r} needs a package that is not installed; {way_out}") from error
        if isinstance(file_system, LocalFileSystem):
            text = root
        return cls(url=text, file_system=file_system, root=root.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether files can be read by their paths and flushed with fsync."""
        return isinstance(self.file_system, LocalFileSystem)

    def open_group(self, mode: Literal["r", "r+"], path: str = "") -> "zarr.Group":
        """Open a group as its metadata stands: a stale consolidation hides groups that were added since.

        Raises:
            StoreNotFoundError: there is no group.
            StoreError: what is there is no readable Zarr v3 group.
        """
        import zarr  # here, so that a run folder can be locked where only PyTorch and Lightning are installed
        from zarr.errors import GroupNotFoundError

        try:
            return zarr.open_group(self.url, mode=mode, path=path, zarr_format=3, use_consolidated=False)
        except (FileNotFoundError, GroupNotFoundError):
            raise StoreNotFoundError(
                f"there is no feature store at {self.url!r}; `scale-video extract` makes one"
            ) from None
        except (OSError, ImportError):  # a file system that fails, or whose client is not installed
            raise
        except Exception as error:  # there is no list of what Zarr and JSON raise for foreign bytes
            raise StoreError(f"{self.url!r} holds no readable Zarr group ({error}); choose another place") from error

    def file_sizes(self, folder: str, paths: Sequence[str]) -> NDArray[np.int64]:
        """Bytes of some files of one folder, 0 for those that are absent.

        Args:
            folder: path of the folder in the store.
            paths: paths of the files in the store.
        """
        files = [f"{self.root}/{path}" for path in paths]
        if self.is_local:
            return np.array([_file_size(file) for file in files], dtype=np.int64)
        self.file_system.invalidate_cache()  # listings are cached, and other processes write
        if len(files) <= _FEW_FILES:
            return np.array([self._remote_size(file) for file in files], dtype=np.int64)
        found = self.file_system.find(f"{self.root}/{folder}", detail=True)
        return np.array([found.get(file, {"size": 0})["size"] for file in files], dtype=np.int64)

    def _remote_size(self, file: str) -> int:
        try:
            return int(self.file_system.info(file)["size"] or 0)
        except FileNotFoundError:
            return 0

    def read_ranges(self, files: Sequence[str], *, limit: int) -> list[bytes | None]:
        """The first ``limit`` bytes of many files at once, None for those that are absent; not of a local folder.

        Args:
            files: paths in the file system.
            limit: the most bytes to read of each.
        """
        found = self.file_system.cat_ranges(list(files), [0] * len(files), [limit] * len(files), on_error="return")
        return [_content(content) for content in found]

    def num_bytes(self, folder: str) -> int:
        """Bytes of the files that lie directly in a folder of the store; 0 when there is no such folder."""
        self.file_system.invalidate_cache()
        try:
            return sum(entry["size"] or 0 for entry in self.file_system.ls(f"{self.root}/{folder}", detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def entries(self) -> tuple[str, ...]:
        """Names of what lies directly in the store's folder; empty when there is no such folder."""
        self.file_system.invalidate_cache()
        if not self.file_system.isdir(self.root):
            return (Path(self.root).name,) if self.file_system.exists(self.root) else ()
        return tuple(path.rstrip("/").rsplit("/", 1)[-1] for path in self.file_system.ls(self.root, detail=False))

    def remove(self) -> None:
        """Delete the store, the root's metadata last: until then, what is left can be told to be ours. A lock stays."""
        for name in sorted(self.entries(), key="zarr.json".__eq__):
            if name != LOCK_NAME:
                self.file_system.rm(f"{self.root}/{name}", recursive=True)

    def flush(self, *paths: str) -> None:
        """Force files, and the folders that name them, to disk; nothing to do on an object store."""
        if not self.is_local:
            return
        files = [Path(self.root) / path for path in paths]
        for file in files:
            _fsync(file)
        for folder in dict.fromkeys(file.parent for file in files):
            _fsync_folder(folder)

    def flush_tree(self, path: str = "") -> None:
        """Force everything beneath a folder, and the folder's own name, to disk."""
        if not self.is_local:
            return
        top = Path(self.root) / path
        for folder, _, names in os.walk(top, topdown=False):
            for name in names:
                _fsync(Path(folder) / name)
            _fsync_folder(Path(folder))
        _fsync_folder(top.parent)

    def remove_partial_files(self) -> int:
        """Delete what killed writers left behind (``*.partial``), and say how many files that were.

        Only while nobody writes: a writer's unfinished file is called so as well.
        """
        if not self.is_local:
            return 0
        leftovers = [path for path in Path(self.root).rglob("*.partial") if path.is_file()]
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)


def _content(found: Any) -> bytes | None:
    """What a file system gave for a range of a file, or the error that it gave instead."""
    if isinstance(found, FileNotFoundError):
        return None
    if isinstance(found, Exception):
        if "InvalidRange" in f"{found!r} {found.__cause__!r}":  # S3's answer for the first bytes of an empty object
            return b""
        raise found
    return bytes(found)


def _file_size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - 15 000 of them are twice as fast without a Path each
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_folder(path: Path) -> None:
    try:
        _fsync(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
