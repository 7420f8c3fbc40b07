"""Anyone's own table of videos: a row for each video or part of one, with labels, numbers and splits of any names."""

import logging
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.listed_path import check_listed_path
from scale_video.extract.datasets.split_gaps import warn_of_gaps
from scale_video.extract.datasets.table_file import TableFile, read_table_file
from scale_video.store.names import check_name
from scale_video.store.video_parts import part_suffix
from scale_video.store.video_table import SPLIT_CODES, VideoTable

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

SPLIT: Final = "1"
"""Name of the split in a column that is called just ``split``: the one that other commands take by default."""
CLASS_SEPARATOR: Final = ";"
"""Between the classes of a label set; alone in a cell it says that the video has none of them."""

_PARTS: Final[Mapping[str, str]] = {
    **{part: part for part in SPLIT_CODES},
    "": "none",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
"""Parts of a split by what people call them."""
_OTHER_NAMES: Final = {"start": "start_seconds", "end": "end_seconds", "split": f"split_{SPLIT}"}
_STEMS: Final = ("split", "label", "labels", "target")
_KNOWN: Final = (
    "path, group, split or split_<name>, label or label_<name>, labels or labels_<name>, target or target_<name>, "
    "start_seconds (start), end_seconds (end)"
)
_LARGEST: Final = float(np.finfo(np.float32).max)
_NUM_SHOWN: Final = 5
"""Names in a message."""


def list_table(root: Path, *, table: Path) -> VideoTable:
    """List the videos of a table.

    Args:
        root: Folder of the videos, to which paths are relative.
        table: A csv or Parquet file with a column ``path`` and any of those that ``_KNOWN`` names; others are left out,
            which is said.

    Returns:
        Videos in the order of the table. Ids are paths, with ``#start-end`` for a part of a file; a group is a file
        unless the table says otherwise. Classes are sorted, by number where all of them are numbers. Files that are not
        there are listed, too, to be recorded as missing.

    Raises:
        ValueError: the table cannot be read, or has no paths; a cell that isn't understood, by line; two rows of one
            video; a path that leads out of the root; not one of the files is there.
    """
    file = _renamed(read_table_file(table))
    paths = _parsed(file, "path", _path, root=root)
    starts = _parsed(file, "start_seconds", _seconds) if "start_seconds" in file.columns else None
    ends = _parsed(file, "end_seconds", _seconds) if "end_seconds" in file.columns else None
    _check_bounds(file, starts, ends)
    names = [unicodedata.normalize("NFC", path) for path in paths]
    ids = _ids(file, names, starts, ends)
    _report_missing(file, paths, root=root)
    groups = file.columns.get("group", [""] * len(ids))
    labels = {name: _labels(file.columns[name]) for name in _columns(file, "label")}
    label_sets = {name: _label_set(file.columns[name]) for name in _columns(file, "labels")}
    videos = VideoTable(
        ids=ids,
        paths=tuple(paths),
        groups=tuple(group or name for group, name in zip(groups, names, strict=True)),
        labels={name: column for name, (column, _) in labels.items()},
        class_names={name: class_names for name, (_, class_names) in (labels | label_sets).items()},
        splits={
            name.removeprefix("split_"): np.array(_parsed(file, name, _split_code), dtype=np.uint8)
            for name in _columns(file, "split")
        },
        label_sets={name: column for name, (column, _) in label_sets.items()},
        targets={name: np.array(_parsed(file, name, _target), dtype=np.float32) for name in _columns(file, "target")},
        start_seconds=_bounds(starts),
        end_seconds=_bounds(ends),
    )
    warn_of_gaps(videos)
    return videos


def _renamed(file: TableFile) -> TableFile:
    """The table with columns under their full names, without those that mean nothing here or hold nothing."""
    columns: dict[str, Sequence[str]] = {}
    unknown = []
    for given, cells in file.columns.items():
        name = _OTHER_NAMES.get(given, given)
        stem, _, rest = name.partition("_")
        if name not in ("path", "group", "start_seconds", "end_seconds"):
            if stem not in _STEMS or (not rest and name != stem):
                unknown.append(given)
                continue
            check_name(rest or stem, what=f"{file.path}: column {given!r}: the name of what it holds")
            if stem in ("label", "labels") and not any(cells):
                logger.warning("%s: column %r is empty and left out", file.path, given)
                continue
        if name in columns:
            raise ValueError(f"{file.path}: two columns are of {name!r}; leave one")
        columns[name] = cells
    if "path" not in columns:
        raise ValueError(f"{file.path}: no column is called 'path'; the first line must name the columns ({_KNOWN})")
    if unknown:
        shown = ", ".join(map(repr, unknown[:_NUM_SHOWN])) + (", …" if len(unknown) > _NUM_SHOWN else "")
        logger.warning("%s: columns that mean nothing here are left out: %s (known: %s)", file.path, shown, _KNOWN)
    return TableFile(file.path, columns, file.lines)


def _columns(file: TableFile, stem: str) -> list[str]:
    return sorted(name for name in file.columns if name.partition("_")[0] == stem)


def _parsed(file: TableFile, column: str, parse: Callable[..., Value], **given: object) -> list[Value]:
    """A column's values; each distinct cell is looked at once, as there may be a million.

    Raises:
        ValueError: a cell isn't understood; names its line.
    """
    values: dict[str, Value] = {}
    for row, cell in enumerate(file.columns[column]):
        if cell in values:
            continue
        try:
            values[cell] = parse(cell, **given)
        except ValueError as error:
            raise ValueError(f"{file.where(row)}: column {column!r}: {error}") from None
    return [values[cell] for cell in file.columns[column]]


def _path(cell: str, *, root: Path) -> str:
    if not cell:
        raise ValueError(f"is empty; name a file beneath {str(root)!r}")
    check_listed_path(cell, line="the path")
    return str(PurePosixPath(cell))


def _seconds(cell: str) -> float:
    """A bound of a part; NaN where none is given."""
    value = _number(cell, what="seconds, such as 12.5")
    if value < 0:
        raise ValueError(f"{cell!r} is before the beginning of the file")
    return value


def _target(cell: str) -> float:
    return _number(cell, what="a number to predict")


def _number(cell: str, *, what: str) -> float:
    try:
        value = float(cell or "nan")
    except ValueError:
        raise ValueError(f"{cell!r} is no number; it must be {what}, or empty") from None
    if abs(value) > _LARGEST:
        raise ValueError(f"{cell!r} is too large; it must be {what}, or empty")
    return value


def _split_code(cell: str) -> int:
    part = _PARTS.get(cell.lower())
    if part is None:
        raise ValueError(f"{cell!r} is no part of a split; write train, validation (val), test, or none")
    return SPLIT_CODES[part]


def _check_bounds(file: TableFile, starts: Sequence[float] | None, ends: Sequence[float] | None) -> None:
    for row, end in enumerate(ends or ()):
        start = starts[row] if starts is not None and starts[row] > 0 else 0.0
        if end <= start:
            raise ValueError(f"{file.where(row)}: the part ends at {end:g} s, but begins at {start:g} s; repair it")


def _bounds(values: Sequence[float] | None) -> NDArray[np.float64] | None:
    """A column of bounds; None where no row has one, so that whole files look the same however they are listed."""
    bounds = np.array(values or (), dtype=np.float64)
    bounds[bounds == 0] = np.nan  # a part that begins with its file
    return None if np.isnan(bounds).all() else bounds


def _ids(
    file: TableFile, names: Sequence[str], starts: Sequence[float] | None, ends: Sequence[float] | None
) -> tuple[str, ...]:
    row_of_id: dict[str, int] = {}
    for row, name in enumerate(names):
        start = starts[row] if starts is not None and starts[row] > 0 else 0.0
        end = ends[row] if ends is not None and not np.isnan(ends[row]) else np.inf
        video_id = name + part_suffix(start, end)
        other = row_of_id.setdefault(video_id, row)
        if other != row:
            raise ValueError(
                f"{file.where(row)}: {video_id!r} is in line {file.lines[other]} already; a video, or a part of one, "
                "has one row (several classes go into a column labels, separated by semicolons)"
            )
    return tuple(row_of_id)


def _report_missing(file: TableFile, paths: Sequence[str], *, root: Path) -> None:
    """Count the files that are not there: they are recorded as missing when they are looked at.

    Raises:
        ValueError: none is there.
    """
    distinct = dict.fromkeys(paths)
    missing = [path for path in distinct if not os.path.exists(f"{root}/{path}")]  # noqa: PTH110 - a million names
    shown = ", ".join(map(repr, missing[:_NUM_SHOWN])) + (", …" if len(missing) > _NUM_SHOWN else "")
    if len(missing) == len(distinct):
        raise ValueError(
            f"{file.path}: none of its {len(distinct)} files is beneath {str(root)!r}: {shown}; name the folder that "
            "the paths are relative to by --data (DATA=)"
        )
    if missing:
        logger.warning(
            "%s: %d of %d files are not beneath %s, and will be recorded as missing: %s",
            file.path, len(missing), len(distinct), root, shown,
        )  # fmt: skip


def _labels(cells: Sequence[str]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Class indices, -1 where a cell is empty, and the names of classes."""
    class_names = _sorted_classes({cell for cell in cells if cell})
    index_of_class = {name: index for index, name in enumerate(class_names)}
    return np.array([index_of_class.get(cell, -1) for cell in cells], dtype=np.int32), class_names


def _label_set(cells: Sequence[str]) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Shape (N, classes), and the names of classes; a video of an empty cell has no labels."""
    sets = [{name for part in cell.split(CLASS_SEPARATOR) if (name := part.strip())} for cell in cells]
    class_names = _sorted_classes(set().union(*sets))
    index_of_class = {name: index for index, name in enumerate(class_names)}
    labels = np.full((len(cells), len(class_names)), -1, dtype=np.int8)
    labels[[bool(cell) for cell in cells]] = 0
    for row, names in enumerate(sets):
        labels[row, [index_of_class[name] for name in names]] = 1
    return labels, class_names


def _sorted_classes(names: set[str]) -> tuple[str, ...]:
    """Classes in the order of their names; by number where all names are numbers, so that 10 comes after 9."""
    try:
        numbers = {name: float(name) for name in names}
    except ValueError:
        numbers = {}
    if numbers and np.isfinite(list(numbers.values())).all():
        return tuple(sorted(names, key=lambda name: (numbers[name], name)))
    return tuple(sorted(names))
