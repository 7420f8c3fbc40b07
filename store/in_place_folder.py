"""Files of a local store, replaced where they are."""

import asyncio
from pathlib import Path
from uuid import uuid4

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.common import AccessModeLiteral
from zarr.storage import LocalStore


class InPlaceFolder(LocalStore):
    """Zarr's store of a local folder, but no folder is ever made: a file goes into one that is there, or nowhere.

    Zarr makes the folders that it misses. A writer's are all there, unless the file system was unmounted or the store
    moved away while it writes; what it then made would lie beneath the mount point, where nobody looks for it.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Replace a file as a whole: there is never a part of it.

        Raises:
            FileNotFoundError: its folder is not there.
            OSError: the disk is full, or the file cannot be written.
        """
        self._check_writable()
        await asyncio.to_thread(_replace, self.root / key, value)

    async def _open(self, *, mode: AccessModeLiteral | None = None) -> None:
        """Open it only if it is there."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} does not exist")
        await Store._open(self)  # LocalStore's would make the folder


def _replace(path: Path, value: Buffer) -> None:
    partial = path.with_suffix(f".{uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(value.as_buffer_like())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
