"""Names, versions and array layouts of the format; ``FORMAT.md`` says the same in words and is normative."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from scale_video.store.errors import MissingArrayError
from scale_video.store.video_probe import VideoStatus
from scale_video.store.video_table import SPLIT_CODES

FORMAT_NAME: Final = "scale-video-features"
FORMAT_VERSION: Final = 1

VIDEOS: Final = "videos"
TABLE_CHUNK: Final = 4096
"""Rows in a chunk of a column of ``videos``: 64 rows cost little to read, and 10 million make 2 500 files."""

VIDEO: Final = ("video",)
CLIP: Final = ("video", "clip")


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """How one array of the format is stored."""

    dtype: str
    """Zarr v3 data type; ``string`` is UTF-8 of variable length."""
    dimensions: tuple[str, ...]
    fill_value: Any
    attributes: dict[str, Any]


def _flags(codes: dict[str, int]) -> dict[str, Any]:
    """CF attributes that explain integer codes to any reader."""
    return {"flag_values": list(codes.values()), "flag_meanings": " ".join(codes)}


TEXT: Final = ArrayLayout("string", VIDEO, "", {})
STATUS_FLAGS: Final = _flags({status.name.lower(): int(status) for status in VideoStatus})
SPLIT_FLAGS: Final = _flags(dict(SPLIT_CODES))

# The arrays of a backbone group that a block consists of, in the order of the digest.
BLOCK_ARRAYS: Final[dict[str, ArrayLayout]] = {
    "features": ArrayLayout("float16", (*CLIP, "feature"), float("nan"), {}),
    "valid": ArrayLayout("bool", CLIP, False, {"long_name": "the clip was decoded in full and has a feature"}),
    "status": ArrayLayout("uint8", VIDEO, 0, STATUS_FLAGS),
    "error": ArrayLayout("string", VIDEO, "", {}),
}
COMMIT: Final = ArrayLayout("uint64", ("block",), 0, {"long_name": "digest of the committed block, 0 = not committed"})

# Columns that a probe fills, beside those of the VideoTable.
PROBE_ARRAYS: Final[dict[str, ArrayLayout]] = {
    "duration_seconds": ArrayLayout("float64", VIDEO, float("nan"), {"units": "s"}),
    "frames_per_second": ArrayLayout("float64", VIDEO, float("nan"), {"units": "s-1"}),
    "num_frames": ArrayLayout("int64", VIDEO, 0, {}),
    "height": ArrayLayout("int32", VIDEO, 0, {"units": "pixel", "long_name": "of the upright frame"}),
    "width": ArrayLayout("int32", VIDEO, 0, {"units": "pixel", "long_name": "of the upright frame"}),
    "rotation_degrees": ArrayLayout("int32", VIDEO, 0, {"units": "degree", "long_name": "clockwise, to upright"}),
    "variable_frame_rate": ArrayLayout("bool", VIDEO, False, {}),
    "content_digest": ArrayLayout("uint64", VIDEO, 0, {"long_name": "blake2b-8 of size, first and last MiB"}),
    "probe_status": ArrayLayout("uint8", VIDEO, 0, STATUS_FLAGS),
    "probe_error": ArrayLayout("string", VIDEO, "", {}),
}


def create_array(
    group: zarr.Group, name: str, layout: ArrayLayout, *, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> "zarr.Array[Any]":
    """Create one array as the format demands: little-endian bytes, crc32c on every chunk, all-fill chunks written.

    Args:
        group: where to put it.
        name: name of the array.
        layout: dtype, dimension names, fill value and attributes.
        shape: lengths of the dimensions.
        chunks: lengths of a chunk; at least 1 each.
    """
    return group.create_array(
        name,
        shape=shape,
        chunks=tuple(max(1, c) for c in chunks),
        dtype=layout.dtype,
        fill_value=layout.fill_value,
        dimension_names=layout.dimensions,
        attributes=layout.attributes,
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


def write_column(group: zarr.Group, name: str, layout: ArrayLayout, values: Any) -> None:
    """Create a one-dimensional array and fill it at once."""
    column = np.asarray(values, dtype=object if layout.dtype == "string" else layout.dtype)
    create_array(group, name, layout, shape=column.shape, chunks=(TABLE_CHUNK,))[:] = column


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """A group's attributes as plain values."""
    return dict(group.attrs)


def require_array(group: zarr.Group, name: str, *, shape: tuple[int, ...] | None = None) -> "zarr.Array[Any]":
    """An array of a group.

    Raises:
        MissingArrayError: it is absent, or has another shape than ``shape``.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise MissingArrayError(f"array {name!r} is missing in {group.store_path}; the store is damaged, make it anew")
    if shape is not None and array.shape != shape:
        raise MissingArrayError(
            f"array {name!r} in {group.store_path} has shape {array.shape}, the format demands {shape}"
        )
    return array
