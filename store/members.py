"""Groups, arrays and attributes of a store, checked where they are taken: metadata is a claim, not a fact."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import zarr

from scale_video.store.errors import MissingArrayError, StoreError
from scale_video.store.location import StoreLocation
from scale_video.store.names import is_name
from scale_video.store.schema import ArrayLayout, check_chunk_bytes
from scale_video.store.stored_array import StoredArray

MAX_COUNT: Final = 2**40
"""No store has more of anything; larger numbers are a lie that arithmetic would not survive."""


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """A group's attributes as plain values."""
    return dict(group.attrs)


def require_count(group: zarr.Group, key: str) -> int:
    """An attribute that is a whole number from 1 to 2⁴⁰.

    Raises:
        StoreError: it is absent or something else.
    """
    value = group.attrs.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_COUNT:
        raise StoreError(
            f"attribute {key!r} of {group.store_path} must be a count, got {value!r:.100}; the store is damaged"
        )
    return value


def require_digest(group: zarr.Group, key: str) -> str:
    """An attribute that is a digest of 16 bytes, hexadecimal.

    Raises:
        StoreError: it is absent or something else.
    """
    value = group.attrs.get(key)
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise StoreError(
            f"attribute {key!r} of {group.store_path} must be a digest, got {value!r:.100}; the store is damaged"
        )
    return value


def member(group: zarr.Group, name: str) -> "zarr.Group | zarr.Array[Any] | None":
    """A child of a group, or None.

    Raises:
        StoreError: its metadata cannot be read.
    """
    if not is_name(name):  # Zarr would follow a path
        return None
    with readable(f"the metadata of {name!r} in {group.store_path}"):
        return group.get(name)


def finished_group(parent: zarr.Group, name: str) -> zarr.Group | None:
    """A child group whose creation finished, or None.

    Raises:
        StoreError: its metadata cannot be read.
    """
    group = member(parent, name)
    return group if isinstance(group, zarr.Group) and group.attrs.get("created") is True else None


def finished_groups(parent: zarr.Group) -> tuple[str, ...]:
    """Names of the child groups whose creation finished, sorted.

    Raises:
        StoreError: the metadata of one of them cannot be read.
    """
    with readable(f"the metadata beneath {parent.store_path}"), quiet_zarr():
        groups = list(parent.groups())
    return tuple(sorted(name for name, group in groups if is_name(name) and group.attrs.get("created") is True))


def require_array(
    group: zarr.Group,
    name: str,
    layout: ArrayLayout,
    *,
    location: StoreLocation,
    lengths: Mapping[str, int],
    chunk_rows: int,
    by_blocks: bool = False,
) -> StoredArray:
    """An array of a group, as the format demands it.

    Args:
        group: where it is.
        name: its name.
        layout: the dtype and the dimensions that it must have.
        location: where the store is.
        lengths: the length that each dimension must have.
        chunk_rows: length that its chunks must have along the first dimension, with one chunk along every other.
        by_blocks: whether a chunk is a block, and may be absent.

    Raises:
        MissingArrayError: it is absent, or has another shape, dtype, dimensions, chunks, codecs or keys.
    """
    array = member(group, name)
    if not isinstance(array, zarr.Array):
        raise MissingArrayError(f"array {name!r} is missing in {group.store_path}; the store is damaged, make it anew")
    shape = tuple(lengths[dimension] for dimension in layout.dimensions)
    with readable(f"the metadata of array {array.path!r}"):
        found = _layout_of(array)
    wanted = {
        "shape": shape,
        "data_type": layout.dtype,
        "dimension_names": layout.dimensions,
        "chunks": (chunk_rows, *shape[1:]),
        "codecs": _codecs_of(layout),
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
    }
    for key, demanded in wanted.items():
        if found.get(key) != demanded:
            raise MissingArrayError(
                f"array {name!r} in {group.store_path} has {key} {found.get(key)}, the format demands {demanded}; "
                "the store is damaged, make it anew"
            )
    dtype = np.dtype(object if layout.dtype == "string" else layout.dtype)
    with readable(f"array {array.path!r}"):
        check_chunk_bytes(f"array {name!r}", layout, lengths=lengths, chunk_rows=chunk_rows)
    return StoredArray(
        location=location,
        path=array.path,
        shape=shape,
        chunk_rows=chunk_rows,
        dtype=dtype,
        fill_value=layout.fill_value,
        by_blocks=by_blocks,
    )


def _layout_of(array: "zarr.Array[Any]") -> dict[str, Any]:
    """What the format says of an array, as its metadata have it."""
    found: dict[str, Any] = dict(array.metadata.to_dict())
    grid = found["chunk_grid"]
    found["chunks"] = tuple(grid["configuration"]["chunk_shape"]) if grid["name"] == "regular" else grid["name"]
    found["codecs"] = [
        {key: value for key, value in codec.items() if key == "name" or value} if isinstance(codec, Mapping) else codec
        for codec in found["codecs"]
    ]
    return found


def _codecs_of(layout: ArrayLayout) -> list[dict[str, Any]]:
    """The codecs that the format demands; of one-byte types no endianness."""
    if layout.dtype == "string":
        return [{"name": "vlen-utf8"}, {"name": "crc32c"}]
    if np.dtype(layout.dtype).itemsize == 1:
        return [{"name": "bytes"}, {"name": "crc32c"}]
    return [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what JSON and Zarr make of foreign bytes into one line that says what cannot be read.

    Raises:
        StoreError: in place of an error of the body.
    """
    try:
        yield
    except (StoreError, OSError):
        raise
    except MemoryError as error:
        raise StoreError(f"{what} does not fit into memory ({error})") from error
    except Exception as error:  # there is no list of what Zarr raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{what} cannot be read, the store is damaged: {reason[:500]}") from error


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence two reminders of Zarr that tell a user of this package nothing."""
    with warnings.catch_warnings():
        # A lock, a .DS_Store or an empty folder beside groups is no fault.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr hierarchy")
        # Consolidation is not part of the v3 core; every reader here opens without it as well.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield
