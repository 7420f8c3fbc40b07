"""Names, versions and array layouts of the format; ``FORMAT.md`` says the same in words and is normative."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from scale_video.store.video_probe import VideoStatus
from scale_video.store.video_table import LABEL_SET_CODES, SPLIT_CODES

FORMAT_NAME: Final = "scale-video-features"
FORMAT_VERSION: Final = 1

VIDEOS: Final = "videos"
TABLE_CHUNK: Final = 4096
"""Most rows in a chunk of a column of ``videos``: it costs little to read, and 10 million videos make 2 500 files."""

MAX_CHUNK_BYTES: Final = 2**31
"""A reader takes this much memory at most for one chunk, whatever the metadata say."""
MAX_TEXT_CHUNK_BYTES: Final = 2**26

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


STATUS_FLAGS: Final = _flags({status.name.lower(): int(status) for status in VideoStatus})

TEXT: Final = ArrayLayout("string", VIDEO, "", {})
LABEL: Final = ArrayLayout("int32", VIDEO, -1, {"long_name": "class, -1 = absent"})
SPLIT: Final = ArrayLayout("uint8", VIDEO, 0, _flags(dict(SPLIT_CODES)))
TARGET: Final = ArrayLayout("float32", VIDEO, float("nan"), {"long_name": "to predict, NaN = absent"})
# Rows that are parts of files; the columns are absent where all rows are whole files.
PART_ARRAYS: Final[dict[str, ArrayLayout]] = {
    "start_seconds": ArrayLayout("float64", VIDEO, float("nan"), {"units": "s", "long_name": "NaN = file's beginning"}),
    "end_seconds": ArrayLayout(
        "float64", VIDEO, float("nan"), {"units": "s", "long_name": "excluded; NaN = file's end"}
    ),
}

# Columns that a probe fills, beside those of the VideoTable, in the order of the digest.
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

PLAN_ARRAYS: Final[dict[str, ArrayLayout]] = {
    "coordinates": ArrayLayout(
        "float32",
        (*CLIP, "coordinate"),
        float("nan"),
        {"long_name": "box edges are fractions of the upright frame, start and end are seconds"},
    ),
    "valid": ArrayLayout("bool", CLIP, False, {"long_name": "the clip is planned"}),
    "planned": ArrayLayout("bool", VIDEO, False, {"long_name": "the view covers the video"}),
}
COORDINATE: Final = ArrayLayout("string", ("coordinate",), "", {})

AUGMENTATION_ARRAY: Final = "augmentation"
"""Beside those of a plan, in a view that changes colours or sharpness."""
AUGMENTATION: Final = ArrayLayout(
    "float32", (*CLIP, "parameter"), float("nan"), {"long_name": "changes of colour and sharpness, NaN if not planned"}
)
PARAMETER: Final = ArrayLayout("string", ("parameter",), "", {})

# The arrays of a backbone group that a block consists of, in the order of the digest.
BLOCK_ARRAYS: Final[dict[str, ArrayLayout]] = {
    "features": ArrayLayout("float16", (*CLIP, "feature"), float("nan"), {"long_name": "NaN where valid is false"}),
    "valid": ArrayLayout("bool", CLIP, False, {"long_name": "the clip was decoded in full and has a feature"}),
    "status": ArrayLayout("uint8", VIDEO, 0, STATUS_FLAGS),
    "error": ArrayLayout("string", VIDEO, "", {}),
}
COMMIT: Final = ArrayLayout("uint64", ("block",), 0, {"long_name": "digest of the committed block, 0 = not committed"})

RESERVED_IN_VIEW: Final = frozenset({*PLAN_ARRAYS, AUGMENTATION_ARRAY, "video", "coordinate", "parameter"})
"""Names beside the backbones of a view."""


def column_layout(name: str) -> ArrayLayout | None:
    """The layout of a column of ``videos``; None for one that this version does not know."""
    if name in ("id", "path", "group", "video"):
        return TEXT
    if name == "label" or name.startswith("label_"):
        return LABEL
    if name == "labels" or name.startswith("labels_"):
        return label_set_layout(name)
    if name == "target" or name.startswith("target_"):
        return TARGET
    if name.startswith("split_"):
        return SPLIT
    return (PROBE_ARRAYS | PART_ARRAYS).get(name)


def label_set_layout(name: str) -> ArrayLayout:
    """The layout of ``labels`` or ``labels_<name>``.

    Label sets differ in their classes, and xarray wants dimensions of one name to be of one length.
    """
    dimension = "class" + name.removeprefix("labels")
    return ArrayLayout("int8", (*VIDEO, dimension), -1, _flags(dict(LABEL_SET_CODES)))


def plan_chunk_rows(*, num_videos: int, block_size: int) -> int:
    """Rows in a chunk of a view's arrays: whole blocks, about as many rows as in a chunk of ``videos``.

    >>> plan_chunk_rows(num_videos=10_000, block_size=10), plan_chunk_rows(num_videos=7, block_size=3)
    (4090, 9)
    """
    num_blocks = -(-num_videos // block_size)
    return min(max(1, TABLE_CHUNK // block_size), num_blocks) * block_size


def check_chunk_bytes(what: str, layout: ArrayLayout, *, lengths: Mapping[str, int], chunk_rows: int) -> None:
    """Refuse chunks of more than 2 GiB, which a reader would not take memory for; texts have no length to check.

    Args:
        what: the array, for the message.
        layout: its dtype and dimensions.
        lengths: length of each dimension.
        chunk_rows: length of a chunk along the first dimension.

    Raises:
        ValueError: its chunks are larger.
    """
    if layout.dtype == "string":
        return
    row_values = math.prod(lengths[dimension] for dimension in layout.dimensions[1:])
    num_bytes = chunk_rows * row_values * np.dtype(layout.dtype).itemsize
    if num_bytes > MAX_CHUNK_BYTES:
        raise ValueError(
            f"{what} would have chunks of {num_bytes / 2**30:.1f} GiB, the format allows {MAX_CHUNK_BYTES // 2**30}; "
            "make blocks smaller (--block-size), or plan fewer clips"
        )


def create_array(
    group: zarr.Group, name: str, layout: ArrayLayout, *, lengths: Mapping[str, int], chunk_rows: int
) -> "zarr.Array[Any]":
    """Create one array as the format demands: little-endian bytes, crc32c on every chunk, all-fill chunks written.

    Args:
        group: where to put it.
        name: name of the array.
        layout: dtype, dimension names, fill value and attributes.
        lengths: length of each dimension.
        chunk_rows: length of a chunk along the first dimension; along the others there is one chunk.
    """
    shape = tuple(lengths[dimension] for dimension in layout.dimensions)
    return group.create_array(
        name,
        shape=shape,
        chunks=(chunk_rows, *shape[1:]),
        dtype=layout.dtype,
        fill_value=layout.fill_value,
        dimension_names=layout.dimensions,
        attributes=layout.attributes,
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
    )


def write_column(group: zarr.Group, name: str, layout: ArrayLayout, values: Any) -> None:
    """Create an array with a value, or a row of values, for each video, and fill it at once."""
    column = np.asarray(values, dtype=object if layout.dtype == "string" else layout.dtype)
    lengths = dict(zip(layout.dimensions, column.shape, strict=True))
    create_array(group, name, layout, lengths=lengths, chunk_rows=min(TABLE_CHUNK, len(column)))[:] = column
