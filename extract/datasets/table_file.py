"""A table of videos as people keep it: csv with one of three separators, or Parquet. Every cell becomes text."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PARQUET_SUFFIXES: Final = (".parquet", ".pq")

_SEPARATORS: Final = ",;\t"
_LIST_SEPARATOR: Final = ";"


@dataclass(frozen=True, slots=True)
class TableFile:
    """The cells of a table of R rows."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    """By name in lower case, each R cells without blanks around them; ``""`` where nothing is said."""
    lines: Sequence[int]
    """R numbers: the line of each row, from 1; of Parquet the row's own number, from 1."""

    def where(self, row: int) -> str:
        """``<file>:<line>``, for messages."""
        return f"{self.path}:{self.lines[row]}"


def read_table_file(path: Path) -> TableFile:
    """Read a table whole: csv, or Parquet by its extension.

    Args:
        path: UTF-8, with or without a BOM, separated by commas, semicolons or tabs, whichever the first line holds most
            of; that line names the columns. Blank lines are left out.

    Raises:
        ValueError: no such file, none of these formats, no rows, a column without a name or named twice, a row of more
            or fewer cells than columns, a list of which an element holds a semicolon.
    """
    if not path.is_file():
        raise ValueError(f"no such table: {str(path)!r}; name a csv or Parquet file by --table (TABLE=)")
    names, rows, lines = _read_parquet(path) if path.suffix.lower() in PARQUET_SUFFIXES else _read_csv(path)
    names = [name.strip().lower() for name in names]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; rename one")
    if not rows:
        raise ValueError(f"{path}: holds no rows; a row is a video, or a part of one")
    return TableFile(path, dict(zip(names, zip(*rows, strict=True), strict=True)), lines)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of columns, rows of cells, and the line in which each row ends."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 (byte {error.start}); save it as csv in UTF-8") from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=first.count), strict=True)
    rows, lines = [], []
    try:
        names = next(reader, [])
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"{path}:{reader.line_num}: has {len(cells)} cells, but the first line names {len(names)} columns; "
                    "put quotes around a cell that holds the separator"
                )
            rows.append([cell.strip() for cell in cells])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: is not csv: {error}") from None
    return names, rows, lines


def _read_parquet(path: Path) -> tuple[list[str], list[list[str]], Sequence[int]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError(
            f"{path}: Parquet is read by pyarrow: pip install 'scale-video[parquet]', or write the table as csv"
        ) from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())}") from None
    columns = [
        _texts(column.to_pylist(), where=path, name=name)
        for name, column in zip(table.column_names, table.itercolumns(), strict=True)
    ]
    return table.column_names, [list(cells) for cells in zip(*columns, strict=True)], range(1, table.num_rows + 1)


def _texts(values: Sequence[Any], *, where: Path, name: str) -> list[str]:
    """The cells of a column; of lists, none of whose elements may be read as two."""
    for row, value in enumerate(values, start=1):
        for element in value if isinstance(value, list) else ():
            if _LIST_SEPARATOR in _text(element):
                raise ValueError(
                    f"{where}:{row}: column {name!r}: {_text(element)!r} holds {_LIST_SEPARATOR!r}, which stands "
                    "between the classes of a video; rename the class"
                )
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    """A value as csv would have it: nothing for null and NaN, ``3`` for 3.0, a list with semicolons."""
    if value is None or value != value:
        return ""
    if isinstance(value, list):
        return (
            _LIST_SEPARATOR.join(map(_text, value)) or _LIST_SEPARATOR
        )  # a list that is there and empty says: none of the classes
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
