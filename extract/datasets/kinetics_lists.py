"""The official lists of Kinetics: a csv for each part, ``label,youtube_id,time_start,time_end,split``.

Source: https://github.com/cvdfoundation/kinetics-dataset. Test lists may have no labels; some
lists have more columns, such as ``is_cc``.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.list_places import find_list_folder
from scale_video.extract.datasets.matched_list import NO_LABEL

# `kinetics_700_val.csv`, `k400train.csv`, `validate.csv`; not `trainval.csv`, which is neither.
_PART: Final = re.compile(r"(?<![a-z])(?:(train)|(val|validate|validation)|(test))(?![a-z])")
_PARTS: Final = ("train", "validation", "test")
_COLUMNS: Final = ("youtube_id", "time_start", "time_end")


def find_kinetics_lists(root: Path, *, dataset: str, split_lists: Path | None) -> dict[str, Path]:
    """Find the lists: in the folder given, or in one in or beside the root.

    Args:
        root: The folder of the videos.
        dataset: ``kinetics400`` or another, which is also a usual name of the lists' folder.
        split_lists: The folder that the user named.

    Returns:
        By part (``train``, ``validation``, ``test``); the first two are always there.

    Raises:
        ValueError: no list to train, none for validation, two for one part.
    """
    folder = find_list_folder(
        root,
        split_lists=split_lists,
        folder_names=("annotations", dataset, f"{dataset}_2020"),
        holds_lists=lambda folder: any(_part(path) == "train" for path in folder.glob("*.csv")),
        wanted="train.csv",
    )
    lists: dict[str, Path] = {}
    for path in sorted(folder.glob("*.csv")):
        part = _part(path)
        if part is None:
            continue
        if part in lists:
            raise ValueError(
                f"{str(folder)!r} holds two {part} lists, {lists[part].name!r} and {path.name!r}; leave one of them, "
                "or name a folder that holds one with --split-lists"
            )
        lists[part] = path
    if "validation" not in lists:
        raise ValueError(f"{str(folder)!r} holds {lists['train'].name!r}, but no val.csv or validate.csv; add it")
    return lists


def read_kinetics_list(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Read a list, line by line.

    Yields:
        The names that a video's file may have, without extension: ``<id>_<start>_<end>`` with six digits each, or the
        YouTube id alone; and its label, ``NO_LABEL`` where there is none.

    Raises:
        ValueError: columns are missing, or a line cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        if missing := [name for name in _COLUMNS if name not in header]:
            raise ValueError(
                f"{path}: the first line must name the columns label, {', '.join(_COLUMNS)}, but {', '.join(missing)} "
                f"is not in {','.join(header)!r}; take the official csv"
            )
        youtube_id, start, end = (header.index(name) for name in _COLUMNS)
        label = header.index("label") if "label" in header else None
        try:
            for line in lines:
                if not line:
                    continue
                name = f"{line[youtube_id]}_{_seconds(line[start])}_{_seconds(line[end])}"
                yield (name, line[youtube_id]), NO_LABEL if label is None else line[label].strip()
        except (csv.Error, IndexError, OverflowError, ValueError):
            raise ValueError(
                f"{path}:{lines.line_num}: cannot read this line; it must hold {','.join(header)!r}, with seconds as "
                "numbers"
            ) from None


def _seconds(text: str) -> str:
    """``84`` or ``84.0`` as six digits."""
    return f"{int(float(text)):06d}"


def _part(path: Path) -> str | None:
    """The one part that a file's name speaks of; none of a hidden file, such as macOS puts beside others."""
    if path.name.startswith("."):
        return None
    found = {
        part for match in _PART.findall(path.stem.lower()) for part, text in zip(_PARTS, match, strict=True) if text
    }
    return found.pop() if len(found) == 1 else None
