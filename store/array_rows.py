"""Rows of an array that is chunked by blocks: straight from local files where that is safe, else through Zarr.

Zarr reads a chunk into fresh memory, checks and copies it in one thread, with 0.4 ms of its own per chunk. The format
fixes a chunk to little-endian values and their crc32c, so a local file can be read into place, and checked there: three
times as fast for features, ten times for marks (``benchmarks/bench_store.py``). An array that is stored otherwise,
say in a copy that some tool compressed, and every other file system is read through Zarr.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c  # type: ignore[import-untyped]  # Zarr's own implementation of its codec
import numpy as np
import zarr
from numpy.typing import NDArray

from scale_video.store.errors import DamagedBlockError
from scale_video.store.location import StoreLocation


def read_rows(array: "zarr.Array[Any]", rows: NDArray[np.int64], *, location: StoreLocation) -> NDArray[Any]:
    """Some rows of an array, in the given order; an absent chunk reads as the fill value.

    Args:
        array: chunked along its first dimension alone.
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
        return _read_zarr(array, rows)
    except OSError:
        raise
    except Exception:  # whatever a codec makes of foreign bytes: find the block
        for index in np.unique(rows // array.chunks[0]):
            _read_block(array, int(index))
        raise


def _is_plain(array: "zarr.Array[Any]") -> bool:
    """Whether chunks are files of values and checksum, in this machine's byte order."""
    metadata = array.metadata.to_dict()
    codecs = [codec["name"] for codec in metadata["codecs"]]
    endian = metadata["codecs"][0].get("configuration", {}).get("endian", "little")
    ...
