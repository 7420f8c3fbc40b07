"""Groups, arrays and attributes of a store, checked where they are taken: metadata is a claim, not a fact."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import zarr

from scale_video.store.errors import MissingArrayError, StoreError
from scale_video.store.names import is_name
from scale_video.store.schema import ArrayLayout


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """A group's attributes as plain values."""
    return dict(group.attrs)


def require_count(group: zarr.Group, key: str) -> int:
    """An attribute that is a whole number of at least 1.

    Raises:
        StoreError: it is absent or something else.
    """
    value = group.attrs.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StoreError(
            f"attribute {key!r} of {group.store_path} must be a count, got {value!r}; the store is damaged"
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
            f"attribute {key!r} of {group.store_path} must be a digest, got {value!r}; the store is damaged"
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
    group: zarr.Group, name: str, layout: ArrayLayout, *, lengths: Mapping[str, int], chunk_rows: int | None = None
) -> "zarr.Array[Any]":
    """An array of a group, as the format demands it.

    Args:
        group: where it is.
        name: its name.
        layout: the dtype and the dimensions that it must have.
        lengths: the length that each dimension must have.
        chunk_rows: length that its chunks must have along the first dimension, with one chunk along every other; any
            chunks when None.

    Raises:
        MissingArrayError: it is absent, or has another shape, dtype, dimensions or chunks.
    """
    array = member(group, name)
    if not isinstance(array, zarr.Array):
        raise MissingArrayError(f"array {name!r} is missing in {group.store_path}; the store is damaged, make it anew")
    shape = tuple(lengths[dimension] for dimension in layout.dimensions)
    found = array.metadata.to_dict()
    wanted: dict[str, Any] = {"shape": shape, "data_type": layout.dtype, "dimension_names": layout.dimensions}
    differing = {key: (found.get(key), value) for key, value in wanted.items() if found.get(key) != value}
    if chunk_rows is not None and array.chunks != (chunk_rows, *shape[1:]):
        differing["chunks"] = (array.chunks, (chunk_rows, *shape[1:]))
    for key, (has, demanded) in differing.items():
        raise MissingArrayError(
            f"array {name!r} in {group.store_path} has {key} {has}, the format demands {demanded}; "
            "the store is damaged, make it anew"
        )
    return array


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what JSON and Zarr make of foreign bytes into one line that says what cannot be read.

    Raises:
        StoreError: in place of an error of the body.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{what} cannot be read, the store is damaged: {error}") from error


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence two reminders of Zarr that tell a user of this package nothing."""
    with warnings.catch_warnings():
        # A lock, a .DS_Store or an empty folder beside groups is no fault.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr hierarchy")
        # Consolidation is not part of the v3 core; every reader here opens without it as well.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield
