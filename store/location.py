"""Where a store lies: any fsspec URL, or a local folder, whose files can be forced to disk and swept."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """One store's address, resolved to the file system that serves it."""

    url: str
    """As given: a local path or a URL such as ``s3://bucket/k400.zarr``."""
    file_system: Any
    """The fsspec file system."""
    root: str
    """The path of the store within that file system."""

    @classmethod
    def of(cls, url: str | Path) -> "StoreLocation":
        """Resolve a path or URL; ``~`` is expanded for local paths."""
        text = str(url)
        if "://" not in text:
            text = str(Path(text).expanduser().absolute())
        file_system, root = fsspec.core.url_to_fs(text)
        return cls(url=text, file_system=file_system, root=root.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether files can be flushed with fsync."""
        return "file" in self.file_system.protocol or self.file_system.protocol == "file"

    def chunk_sizes(self, array: str) -> dict[int, int]:
        """Bytes of each existing chunk of an array, by its index along the first dimension.

        Only for arrays with one chunk along every other dimension, which all arrays of a block are.
        """
        folder = f"{self.root}/{array}/c"
        if self.is_local:
            return dict(_local_chunk_sizes(Path(folder)))
        files = self.file_system.find(folder, detail=True)
        return {int(path[len(folder) + 1 :].split("/")[0]): info["size"] for path, info in files.items()}

    def flush(self, array: str, index: int) -> None:
        """Force one chunk and the folders that name it to disk; nothing to do on an object store."""
        if not self.is_local:
            return
        folder = Path(self.root) / array / "c"
        chunk = folder / str(index)
        while chunk.is_dir():  # c/<index>/0/0: one chunk along every other dimension
            chunk = chunk / "0"
        path = chunk
        while path != folder.parent:
            _fsync(path)
            path = path.parent

    def remove_partial_files(self) -> int:
        """Delete what a killed writer left behind (``*.partial``), and say how many files that were."""
        if not self.is_local:
            return 0
        leftovers = list(Path(self.root).rglob("*.partial"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)


def _local_chunk_sizes(folder: Path) -> Iterable[tuple[int, int]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            chunk = Path(entry.path)
            while chunk.is_dir():
                chunk = chunk / "0"
            yield int(entry.name), chunk.stat().st_size if chunk.exists() else 0


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
