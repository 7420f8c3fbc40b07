from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from scale_video.store import array_rows
from scale_video.store.array_rows import chunk_keys, read_rows, take_rows
from scale_video.store.errors import DamagedBlockError
from scale_video.store.location import StoreLocation

VALUES = np.arange(10 * 2 * 3).reshape(10, 2, 3)
ABSENT = slice(4, 8)
"""Rows of a chunk that is never written; chunks of four rows, so the last one is of two."""


def make_array(root: Path, dtype: str, **options: Any) -> "zarr.Array[Any]":
    given: dict[str, Any] = {
        "shape": VALUES.shape,
        "chunks": (4, 2, 3),
        "dtype": dtype,
        "fill_value": 7,
        "compressors": [Crc32cCodec()],
        "chunk_key_encoding": {"name": "default", "separator": "."},
    }
    array = zarr.create_group(root).create_group("group").create_array("array", **{**given, **options})
    array[:4], array[8:] = VALUES[:4].astype(dtype), VALUES[8:].astype(dtype)
    return array


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, "zarr.Array[Any]"]:
    """The same values as this project's files and in three other ways, which are read through Zarr."""
    folder = tmp_path_factory.mktemp("arrays")
    return {
        "plain": make_array(folder / "plain", "float16"),
        "other keys": make_array(folder / "keys", "float16", chunk_key_encoding={"name": "default", "separator": "/"}),
        "bool": make_array(folder / "bool", "bool", fill_value=False),
        "zstd": make_array(folder / "zstd", "float16", compressors=[ZstdCodec(), Crc32cCodec()]),
        "big-endian": make_array(folder / "big", "float16", serializer=zarr.codecs.BytesCodec(endian="big")),
        "no checksum": make_array(folder / "none", "float16", compressors=None),
    }


def location_of(array: "zarr.Array[Any]") -> StoreLocation:
    return StoreLocation.of(str(array.store_path).removesuffix(f"/{array.path}"))


@pytest.mark.parametrize("name", ["plain", "other keys", "bool", "zstd", "big-endian", "no checksum"])
@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, 9)) | st.permutations(range(10)) | st.just(range(10)))
def test_rows_are_those_of_zarr(arrays: dict[str, "zarr.Array[Any]"], name: str, rows: list[int]) -> None:
    array = arrays[name]
    wanted = array[:][np.array(rows, dtype=np.int64)]
    assert (array[ABSENT] == array.fill_value).all()
    for found in (
        read_rows(array, np.array(rows, dtype=np.int64), location=location_of(array)),
        take_rows(array, np.array(rows, dtype=np.int64)),
    ):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, wanted)


def test_plain_files_are_read_directly_and_others_through_zarr(
    arrays: dict[str, "zarr.Array[Any]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    through_zarr: list[str] = []
    real: Callable[..., Any] = array_rows.take_rows
    monkeypatch.setattr(array_rows, "take_rows", lambda array, rows: through_zarr.append(name) or real(array, rows))
    for name in arrays:
        read_rows(arrays[name], np.arange(10), location=location_of(arrays[name]))
    assert through_zarr == ["zstd", "big-endian", "no checksum"]


def test_keys(arrays: dict[str, "zarr.Array[Any]"]) -> None:
    assert chunk_keys(arrays["plain"], [7, 0]) == ["c.7.0.0", "c.0.0.0"]
    assert chunk_keys(arrays["other keys"], [7]) == ["c/7/0/0"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[:-1], "it has 51 bytes instead of 52"),
        (lambda content: content + b"x", "it has 53 bytes instead of 52"),
        (lambda content: b"", "it has 0 bytes instead of 52"),
        (lambda content: b"x" + content[1:], "its checksum is not that of its bytes"),
        (lambda content: content[:-1] + b"x", "its checksum is not that of its bytes"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    array = make_array(tmp_path, "float16")
    chunk = tmp_path / "group/array/c.2.0.0"
    chunk.write_bytes(change(chunk.read_bytes()))
    np.testing.assert_array_equal(read_rows(array, np.arange(8), location=location_of(array))[:4], VALUES[:4])
    with pytest.raises(DamagedBlockError, match=f"^block 2 of group: array 'array' cannot be read: {reason}; delete"):
        read_rows(array, np.array([1, 9]), location=location_of(array))


def test_damage_that_zarr_finds_is_named(tmp_path: Path) -> None:
    array = make_array(tmp_path, "float16", compressors=[ZstdCodec(), Crc32cCodec()])
    chunk = tmp_path / "group/array/c.2.0.0"
    chunk.write_bytes(b"x" + chunk.read_bytes()[1:])
    with pytest.raises(DamagedBlockError, match=r"^block 2 of group: array 'array' cannot be read: .*checksum"):
        read_rows(array, np.array([1, 9]), location=location_of(array))
