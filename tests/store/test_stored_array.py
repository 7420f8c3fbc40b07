import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec

from scale_video.store import stored_array
from scale_video.store.errors import DamagedBlockError, StoreError
from scale_video.store.location import StoreLocation
from scale_video.store.stored_array import StoredArray

VALUES = np.arange(10 * 2 * 3).reshape(10, 2, 3)
TEXTS = np.array(["", "a", "ß", "视频", "", "", "", "", "long " * 50, "\U0001f600"], dtype=object)
ABSENT = slice(4, 8)
"""Rows of a chunk that is never written; chunks of four rows, so the last one is of two."""


def make_arrays(root: Path | str, dtype: str, *, by_blocks: bool = True) -> "tuple[zarr.Array[Any], StoredArray]":
    """One array, for Zarr and for us."""
    is_text = dtype == "string"
    values = TEXTS if is_text else VALUES.astype(dtype)
    array = zarr.create_group(str(root)).create_array(
        "group/array",
        shape=values.shape,
        chunks=(4, *values.shape[1:]),
        dtype=dtype,
        fill_value="?" if is_text else dtype != "bool" and 7,
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
    )
    array[:4], array[8:] = values[:4], values[8:]
    if not by_blocks:
        array[4:8] = values[4:8]
    ours = StoredArray(
        location=StoreLocation.of(root),
        path="group/array",
        shape=values.shape,
        chunk_rows=4,
        dtype=np.dtype(object if is_text else dtype),
        fill_value=array.fill_value,
        by_blocks=by_blocks,
    )
    return array, ours


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> "dict[str, tuple[zarr.Array[Any], StoredArray]]":
    folder = tmp_path_factory.mktemp("arrays")
    return {
        f"{place}{dtype}": make_arrays(f"{place}{folder}/{dtype}", dtype)
        for place in ("", "memory://")
        for dtype in ("float16", "uint64", "bool", "string")
    }


@pytest.mark.parametrize("dtype", ["float16", "uint64", "bool", "string"])
@pytest.mark.parametrize("place", ["", "memory://"])
@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, 9)) | st.permutations(range(10)) | st.just(range(10)))
def test_rows_are_those_of_zarr(
    arrays: "dict[str, tuple[zarr.Array[Any], StoredArray]]", place: str, dtype: str, rows: list[int]
) -> None:
    array, ours = arrays[place + dtype]
    everything = np.asarray(array[:]).astype(ours.dtype)
    assert (everything[ABSENT] == array.fill_value).all()
    found = ours.rows(np.array(rows, dtype=np.int64))
    assert found.dtype == ours.dtype
    np.testing.assert_array_equal(found, everything[np.array(rows, dtype=np.int64)])


def test_indexing(arrays: "dict[str, tuple[zarr.Array[Any], StoredArray]]") -> None:
    array, ours = arrays["float16"]
    np.testing.assert_array_equal(ours[:], array[:])
    np.testing.assert_array_equal(ours[2:9], array[2:9])
    np.testing.assert_array_equal(ours[9], array[9])
    np.testing.assert_array_equal(ours[np.array([9, 0])], np.asarray(array[:])[[9, 0]])
    assert ours[5:5].shape == (0, 2, 3)
    for rows in (np.array([-1]), np.array([10])):
        with pytest.raises(ValueError, match=r"rows must be in \[0, 10\), got"):
            ours.rows(rows)


@pytest.mark.parametrize("place", ["", "memory://"])
def test_keys_and_sizes(arrays: "dict[str, tuple[zarr.Array[Any], StoredArray]]", place: str) -> None:
    ours = arrays[f"{place}float16"][1]
    assert ours.keys([7, 0]) == ["group/array/c.7.0.0", "group/array/c.0.0.0"]
    assert ours.sizes([0, 1, 2, 900]).tolist() == [52, 0, 52, 0]
    assert ours.sizes([*range(3, 20), 2]).tolist() == [0] * 17 + [52]  # so many are looked up in a listing
    ours.check_sizes(np.array([0, 2]))
    with pytest.raises(DamagedBlockError, match=r"block 1 of group: array 'array' .*it has 0 bytes instead of 52"):
        ours.check_sizes(np.array([0, 1]))
    texts = arrays[f"{place}string"][1]
    texts.check_sizes(np.array([0, 1]))


def test_many_chunks_are_asked_for_at_once_but_not_all(
    arrays: "dict[str, tuple[zarr.Array[Any], StoredArray]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = StoreLocation.read_ranges

    def count(location: StoreLocation, files: list[str], *, limit: int) -> list[bytes | None]:
        asked.append(len(files))
        return read(location, files, limit=limit)

    monkeypatch.setattr(StoreLocation, "read_ranges", count)
    array, ours = arrays["memory://float16"]
    np.testing.assert_array_equal(ours[:], array[:])
    monkeypatch.setattr(stored_array, "_BATCH_BYTES", 110)
    np.testing.assert_array_equal(ours[:], array[:])
    assert asked == [3, 2, 1]


DAMAGES: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda content: content[:-1], "it has 51 bytes instead of 52"),
    (lambda content: content + b"x", "it has 53 bytes instead of 52"),
    (lambda content: b"", "it has 0 bytes instead of 52"),
    (lambda content: b"x" + content[1:], "its checksum is not that of its bytes"),
    (lambda content: content[:-1] + b"x", "its checksum is not that of its bytes"),
]


@pytest.mark.parametrize("place", ["", "memory://"])
@pytest.mark.parametrize(("change", "reason"), DAMAGES)
def test_damaged_chunks_are_named(tmp_path: Path, place: str, change: Callable[[bytes], bytes], reason: str) -> None:
    ours = make_arrays(f"{place}{tmp_path}", "float16")[1]
    files, path = ours.location.file_system, f"{ours.location.root}/group/array/c.2.0.0"
    files.pipe_file(path, change(files.cat_file(path)))
    np.testing.assert_array_equal(ours[:8][:4], VALUES[:4])
    with pytest.raises(DamagedBlockError, match=f"^block 2 of group: array 'array' cannot be read: {reason}; delete"):
        ours.rows(np.array([1, 9]))


@pytest.mark.parametrize("place", ["", "memory://"])
@pytest.mark.parametrize("dtype", ["float16", "string"])
def test_a_table_lacks_no_chunk(tmp_path: Path, place: str, dtype: str) -> None:
    array, ours = make_arrays(f"{place}{tmp_path}", dtype, by_blocks=False)
    np.testing.assert_array_equal(ours[:], np.asarray(array[:]).astype(ours.dtype))
    ours.location.file_system.rm(f"{ours.location.root}/{ours.keys([1])[0]}")
    with pytest.raises(StoreError, match=r"^chunk 1 of array 'group/array' in store .* cannot be read: it is missing"):
        ours[:]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    ours = make_arrays(tmp_path, "float16")[1]
    chunk = tmp_path / ours.keys([2])[0]
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(DamagedBlockError, match="it is no file"):
        ours[8:]
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(DamagedBlockError, match="it is no file"):
        ours[8:]


def test_of_a_file_that_is_too_long_little_is_read(tmp_path: Path) -> None:
    values, texts = (make_arrays(tmp_path / dtype, dtype)[1] for dtype in ("float16", "string"))
    for ours in (values, texts):
        with (Path(ours.location.root) / ours.keys([2])[0]).open("r+b") as file:
            file.truncate(2**40)  # takes no space
        with pytest.raises(DamagedBlockError):
            ours[8:]


def test_rows_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    ours = make_arrays(tmp_path, "float16")[1]
    huge = StoredArray(
        location=ours.location,
        path=ours.path,
        shape=(10, 2**30, 2**20),
        chunk_rows=4,
        dtype=ours.dtype,
        fill_value=0,
        by_blocks=True,
    )
    with pytest.raises(StoreError, match="10 rows of array 'group/array' do not fit into memory"):
        huge[:]


@pytest.fixture(autouse=True, scope="module")
def forget_memory() -> "Any":
    yield
    fsspec.filesystem("memory").store.clear()
