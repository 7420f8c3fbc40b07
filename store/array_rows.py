"""Rows of an array that is chunked by blocks: straight from local files where that is safe, else through Zarr.

Zarr reads a chunk into fresh memory, checks it and copies it, in one thread and with some 0.4 ms of its own for each.
The format fixes a chunk to little-endian values and their crc32c, so a local file can be read into place and checked
there: 2.7 times as fast for features, 5.7 times for marks (CPU time). An array that is stored otherwise, say in a copy
that some tool compressed, and every other file system is read through Zarr.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import google_crc32c  # what Zarr's codec computes it with
import numpy as np
import zarr
from numpy.typing import NDArray

from scale_video.store.errors import DamagedBlockError
from scale_video.store.location import StoreLocation


def chunk_keys(array: "zarr.Array[Any]", blocks: Iterable[int]) -> list[str]:
    """Where blocks' chunks are, within the array's folder: ``c.7.0.0`` for block 7 of three dimensions."""
    encode, others = array.metadata.encode_chunk_key, (0,) * (array.ndim - 1)
    return [encode((int(block), *others)) for block in blocks]


def read_rows(array: "zarr.Array[Any]", rows: NDArray[np.int64], *, location: StoreLocation) -> NDArray[Any]:
    """Some rows of an array, in the given order; an absent chunk reads as the fill value.

    Args:
        array: one of a backbone's arrays: a chunk is a block.
        rows: R rows, in any order, repeated or not.
        location: where the array's store is.

    Returns:
        Shape (R, …).

    Raises:
        DamagedBlockError: a chunk cannot be read; the message names block and array.
    """
    if location.is_local and _is_plain(array):
        return _read_files(array, rows, folder=Path(location.root) / array.path)
    try:
        return take_rows(array, rows)
    except OSError:
        raise
    except Exception:  # whatever a codec makes of foreign bytes
        size = array.chunks[0]
        for index in np.unique(rows // size):
            try:
                array[index * size : (index + 1) * size]
            except Exception as error:
                raise _damaged(array, int(index), error) from error
        raise


def take_rows(array: "zarr.Array[Any]", rows: NDArray[np.int64]) -> NDArray[Any]:
    """Some rows of any array, in the given order, through Zarr; each chunk is read once."""
    if len(rows) == 0:
        return np.empty((0, *array.shape[1:]), dtype=array.dtype)
    if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return np.asarray(array[int(rows[0]) : int(rows[-1]) + 1])
    distinct, places = np.unique(rows, return_inverse=True)
    return np.asarray(array.oindex[distinct])[places]


def _is_plain(array: "zarr.Array[Any]") -> bool:
    """Whether a chunk is a file of one block's values, in this machine's byte order, and their crc32c."""
    metadata: dict[str, Any] = dict(array.metadata.to_dict())
    values, *rest = metadata["codecs"]
    return (
        values in ({"name": "bytes"}, {"name": "bytes", "configuration": {"endian": "little"}})
        and rest == [{"name": "crc32c"}]
        and sys.byteorder == "little"
    )


def _read_files(array: "zarr.Array[Any]", rows: NDArray[np.int64], *, folder: Path) -> NDArray[Any]:
    size = array.chunks[0]
    out = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
    scratch = np.empty(array.chunks, dtype=array.dtype)
    by_block = list(_by_block(rows, size))
    keys = chunk_keys(array, (index for index, _ in by_block))
    for key, (index, places) in zip(keys, by_block, strict=True):
        local = rows[places] - index * size
        # Whole blocks in their own order, which is how features are mostly read, go to their place at once.
        in_place = np.array_equal(local, np.arange(size)) and places[-1] - places[0] == size - 1
        chunk = out[places[0] : places[0] + size] if in_place else scratch
        try:
            _read_chunk(folder / key, chunk, fill_value=array.fill_value)
        except ValueError as error:
            raise _damaged(array, index, error) from error
        if not in_place:
            out[places] = chunk[local]
    return out


def _by_block(rows: NDArray[np.int64], size: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each block that holds some of the rows, ascending, with the places of those rows in ``rows``."""
    if len(rows) == 0:
        return
    blocks = rows // size
    order = np.argsort(blocks, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
        yield int(blocks[places[0]]), places


def _read_chunk(path: Path, chunk: NDArray[Any], *, fill_value: Any) -> None:
    """Fill ``chunk`` from a file.

    Raises:
        ValueError: the file is shorter or longer than it must be, or its checksum is another one.
    """
    content = chunk.reshape(-1).view(np.uint8)
    try:
        with path.open("rb") as file:
            num_read = file.readinto(content.data)
            checksum = file.read()
    except FileNotFoundError:
        chunk[...] = fill_value
        return
    if num_read != len(content) or len(checksum) != 4:
        raise ValueError(f"it has {num_read + len(checksum)} bytes instead of {len(content) + 4}")
    if google_crc32c.value(cast("bytes", content)) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is not that of its bytes")


def _damaged(array: "zarr.Array[Any]", index: int, error: Exception) -> DamagedBlockError:
    group, name = array.path.rsplit("/", 1)
    return DamagedBlockError.at(group, index, f"array {name!r} cannot be read: {error}")
