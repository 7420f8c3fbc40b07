"""Video-level vectors on disk: a plain Zarr v3 group or a Parquet file, readable without us, there whole or not at all.

Both hold a row per video: ``id``, ``path``, ``num_clips`` (those that were read), and ``x``, ``h`` and ``cls`` in
float32. What they are and where they come from stands in the group's attributes, or as JSON in the file's metadata.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from scale_video.store.clip_features import VideoRepresentations
from scale_video.store.create import consolidate
from scale_video.store.location import StoreLocation
from scale_video.store.schema import TEXT, VIDEO, ArrayLayout, create_array

SUFFIXES: Final = (".zarr", ".parquet")
FORMAT: Final = "scale-video-embeddings"
FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "scale_video"
"""Of a Parquet file's schema."""
ROWS_PER_CHUNK: Final = 4096
"""Videos in a chunk, or in a row group: 20 MB at the paper's sizes."""
_LAYOUTS: Final[Mapping[str, ArrayLayout]] = {
    "id": TEXT,
    "video": ArrayLayout("string", VIDEO, "", {"long_name": "the same as id"}),
    "path": TEXT,
    "num_clips": ArrayLayout("int32", VIDEO, 0, {"long_name": "valid clips, all of which were read"}),
    "x": ArrayLayout("float32", ("video", "feature"), float("nan"), {"long_name": "mean of the raw clip features"}),
    "h": ArrayLayout("float32", ("video", "channel"), float("nan"), {"long_name": "mean of the refined clips"}),
    "cls": ArrayLayout("float32", ("video", "channel"), float("nan"), {"long_name": "global token"}),
}


@dataclass(frozen=True, slots=True)
class EmbeddedVideos:
    """Vectors of N videos, as they are written."""

    vectors: VideoRepresentations
    paths: tuple[str, ...]
    """N paths."""
    num_clips: NDArray[np.int32]
    """Shape (N,): clips that were read."""

    def columns(self) -> dict[str, NDArray[Any]]:
        """By the names of ``_LAYOUTS``."""
        ids = np.array(self.vectors.video_ids, dtype=object)
        vectors = {name: getattr(self.vectors, name) for name in ("x", "h", "cls")}
        texts = {"id": ids, "video": ids, "path": np.array(self.paths, dtype=object)}
        return {**texts, "num_clips": self.num_clips, **vectors}


class _Writer(Protocol):
    def write(self, columns: Mapping[str, NDArray[Any]]) -> None: ...

    def finish(self, attributes: Mapping[str, Any]) -> None: ...


def check_output(output: Path) -> Path:
    """The place of an output, before slow work.

    Raises:
        ValueError: something is there, it is no local place, or its ending says no format.
    """
    if "://" in str(output) or ":/" in str(output):
        raise ValueError(f"--output must be a local path, got {str(output)!r}; copy it to its place afterwards")
    output = output.expanduser()
    if output.suffix not in SUFFIXES:
        raise ValueError(f"--output must end in {' or '.join(SUFFIXES)}, got {output.name!r}")
    if output.exists():
        raise ValueError(f"{str(output)!r} is there already; delete it, or choose another place by --output")
    if output.suffix == ".parquet":
        _pyarrow()
    return output


def write_embeddings(
    output: Path, batches: Iterable[EmbeddedVideos], *, describe: Any, feature_dim: int, channel_dim: int
) -> int:
    """Write vectors as they come, beside the place, which they take when all are there.

    Args:
        output: As ``check_output`` gave it.
        batches: Of any sizes; at most a chunk and a batch of them are in memory.
        describe: Called with the number of rows, after the last batch; gives the attributes, JSON values.
        feature_dim: Length of x, D.
        channel_dim: Length of h and cls, E.

    Returns:
        The number of rows.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    lengths = {"feature": feature_dim, "channel": channel_dim}
    num_rows = 0
    try:
        writer: _Writer = (_ZarrWriter if output.suffix == ".zarr" else _ParquetWriter)(partial, lengths)
        for columns in _in_chunks(batches):
            writer.write(columns)
            num_rows += len(columns["id"])
        writer.finish(describe(num_rows))
        partial.rename(output)
    finally:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)
    return num_rows


def _in_chunks(batches: Iterable[EmbeddedVideos]) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows of all batches in runs of ``ROWS_PER_CHUNK``; the last one is shorter."""
    held: list[dict[str, NDArray[Any]]] = []
    for batch in batches:
        held.append(batch.columns())
        while sum(len(columns["id"]) for columns in held) >= ROWS_PER_CHUNK:
            joined = {name: np.concatenate([columns[name] for columns in held]) for name in _LAYOUTS}
            yield {name: column[:ROWS_PER_CHUNK] for name, column in joined.items()}
            held = [{name: column[ROWS_PER_CHUNK:].copy() for name, column in joined.items()}]
    joined = {name: np.concatenate([columns[name] for columns in held]) for name in _LAYOUTS} if held else {}
    if joined and len(joined["id"]):
        yield joined


class _ZarrWriter:
    """A group that grows by chunks."""

    def __init__(self, folder: Path, lengths: Mapping[str, int]) -> None:
        self._folder = folder
        self._group = zarr.open_group(folder, mode="w-", zarr_format=3)
        self._arrays = {
            name: create_array(self._group, name, layout, lengths={"video": 0, **lengths}, chunk_rows=ROWS_PER_CHUNK)
            for name, layout in _LAYOUTS.items()
        }
        self._num_rows = 0

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        rows = slice(self._num_rows, self._num_rows + len(columns["id"]))
        for name, array in self._arrays.items():
            array.resize((rows.stop, *array.shape[1:]))
            array[rows] = columns[name]
        self._num_rows = rows.stop

    def finish(self, attributes: Mapping[str, Any]) -> None:
        self._group.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, **attributes})
        consolidate(self._folder)
        StoreLocation.of(self._folder).flush_tree()


class _ParquetWriter:
    """A file of row groups, with vectors as lists of fixed size."""

    def __init__(self, file: Path, lengths: Mapping[str, int]) -> None:
        arrow, parquet = _pyarrow()
        self._arrow = arrow
        types = {"string": arrow.string(), "int32": arrow.int32(), "float32": arrow.float32()}
        fields = []
        for name, layout in _LAYOUTS.items():
            if name != "video":
                kind = types[layout.dtype]
                of_list = [arrow.list_(kind, lengths[dimension]) for dimension in layout.dimensions[1:]]
                fields.append(arrow.field(name, of_list[0] if of_list else kind, nullable=False))
        self._schema = arrow.schema(fields)
        self._file = file
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        arrays = []
        for field in self._schema:
            values = columns[field.name]
            if values.ndim == 2:
                flat = self._arrow.array(values.reshape(-1))
                arrays.append(self._arrow.FixedSizeListArray.from_arrays(flat, type=field.type))
            else:
                arrays.append(self._arrow.array(values, type=field.type))
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def finish(self, attributes: Mapping[str, Any]) -> None:
        described = {"format": FORMAT, "format_version": FORMAT_VERSION, **attributes}
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(described, ensure_ascii=False)})
        self._writer.close()
        with self._file.open("rb+") as file:
            os.fsync(file.fileno())


def _pyarrow() -> tuple[Any, Any]:
    """Arrow and its Parquet module.

    Raises:
        ValueError: they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("a .parquet needs pyarrow; pip install 'scale-video[parquet]', or write a .zarr") from error
    return pyarrow, pyarrow.parquet


@dataclass(frozen=True, slots=True)
class EmbeddingGroup:
    """A Zarr group of vectors, opened for reading."""

    path: Path
    attributes: Mapping[str, Any]
    arrays: Mapping[str, "zarr.Array[Any]"]

    @classmethod
    def open(cls, path: Path) -> "EmbeddingGroup":
        """Open what ``write_embeddings`` wrote.

        Raises:
            ValueError: it is something else.
        """
        if path.suffix == ".parquet":
            raise ValueError(f"{str(path)!r} is for others to read; let `scale-video embed` write a .zarr for a search")
        try:
            group = zarr.open_group(path.expanduser(), mode="r", zarr_format=3, use_consolidated=False)
            attributes = dict(group.attrs)
            arrays = {name: group[name] for name in _LAYOUTS}
        except Exception as error:  # there is no list of what Zarr raises
            raise ValueError(
                f"no embeddings at {str(path)!r} ({type(error).__name__}); `scale-video embed` makes them"
            ) from error
        if attributes.get("format") != FORMAT or attributes.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"{str(path)!r} holds no embeddings of this release; `scale-video embed` makes them anew")
        columns = {name: array for name, array in arrays.items() if isinstance(array, zarr.Array)}
        lengths = {array.shape[:1] for array in columns.values()}
        ranks = {name: len(array.shape) for name, array in columns.items()}
        wanted = {name: len(layout.dimensions) for name, layout in _LAYOUTS.items()}
        if ranks != wanted or len(lengths) != 1 or lengths == {(0,)}:
            raise ValueError(f"{str(path)!r} is damaged; delete it, and `scale-video embed` makes it anew")
        return cls(path, attributes, columns)

    @property
    def num_videos(self) -> int:
        """Rows, N."""
        return int(self.arrays["id"].shape[0])

    def chunks(self, *names: str) -> Iterator[tuple[NDArray[Any], ...]]:
        """Some columns, a chunk at a time."""
        for first in range(0, self.num_videos, ROWS_PER_CHUNK):
            rows = slice(first, first + ROWS_PER_CHUNK)
            yield tuple(np.asarray(self.arrays[name][rows]) for name in names)
