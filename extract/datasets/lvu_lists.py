"""The official lists of LVU: ``<task>/train.csv``, ``val.csv`` and ``test.csv``, whose columns are parted by blanks.

Source: https://github.com/chaoyuaw/lvu, archive ``lvu_1.0``. The code there takes the first columns for the label and
the last but one for the YouTube id; so the name of a class may hold blanks here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.list_places import find_list_folder

CLASS_TASKS: Final = ("relationship", "way_speaking", "scene", "director", "writer", "year", "genre")
"""Tasks whose answer is one of a few classes."""
NUMBER_TASKS: Final = ("like_ratio", "view_count")
"""Tasks whose answer is a number."""
TASKS: Final = (*CLASS_TASKS, *NUMBER_TASKS)

_LIST_OF_PART: Final = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(CLASS_TASKS, ("class_id", "class_name", "youtube_id", "imdb_id")),
    "like_ratio": ("like_count", "dislike_count", "youtube_id", "imdb_id"),
    "view_count": ("view_count", "youtube_id", "imdb_id"),
}


@dataclass(frozen=True, slots=True)
class LvuLine:
    """One video of a list."""

    youtube_id: str
    film: str
    """IMDb's id of the film."""
    class_id: int
    """-1 where the task is a number."""
    class_name: str
    """Empty where the task is a number."""
    target: float
    """The number; NaN where the task is a class, or where nobody has seen or liked the video."""


def find_lvu_lists(root: Path, *, split_lists: Path | None) -> dict[str, dict[str, Path]]:
    """Find the lists: in the folder given, or in one in or beside the root.

    Args:
        root: The folder of the videos.
        split_lists: The folder that the user named, which holds those of the tasks.

    Returns:
        By task and part; of the tasks at least one, of the parts all three.

    Raises:
        ValueError: no lists, or a task without one of its three.
    """
    folder = find_list_folder(
        root,
        split_lists=split_lists,
        folder_names=("lvu_1.0", "lvu", "annotations"),
        holds_lists=lambda folder: any((folder / task / "train.csv").is_file() for task in TASKS),
        wanted="relationship/train.csv (or that of another task)",
    )
    lists = {
        task: {part: folder / task / name for part, name in _LIST_OF_PART.items()}
        for task in TASKS
        if (folder / task).is_dir()
    }
    for path in (path for parts in lists.values() for path in parts.values()):
        if not path.is_file():
            raise ValueError(f"{str(path)!r} is missing; unpack the official archive again")
    return lists


def read_lvu_list(path: Path, *, task: str) -> Iterator[LvuLine]:
    """Read a list, line by line.

    Raises:
        ValueError: other columns than the official ones, or a line that isn't understood.
    """
    columns = _COLUMNS[task]
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = tuple(next(file, "").split())
        if header != columns:
            raise ValueError(
                f"{path}: the first line must be {' '.join(columns)!r}, but is {' '.join(header)!r}; take the official "
                "list"
            )
        for number, line in enumerate(file, start=2):
            cells = line.split()
            if not cells:
                continue
            try:
                yield _read_line(cells, task=task, num_columns=len(columns))
            except ValueError:
                raise ValueError(
                    f"{path}:{number}: cannot read {line.strip()!r}; a line is {' '.join(columns)!r}"
                ) from None


def _read_line(cells: list[str], *, task: str, num_columns: int) -> LvuLine:
    if len(cells) < num_columns or (len(cells) > num_columns and task in NUMBER_TASKS):
        raise ValueError
    *answer, youtube_id, film = cells
    if task in CLASS_TASKS:
        return LvuLine(youtube_id, film, int(answer[0]), " ".join(answer[1:]), math.nan)
    counts = [float(cell) for cell in answer]
    if not all(0 <= count < math.inf for count in counts):
        raise ValueError
    return LvuLine(youtube_id, film, -1, "", _like_ratio(*counts) if task == "like_ratio" else _view_count(*counts))


def _like_ratio(likes: float, dislikes: float) -> float:
    """Likes among likes and dislikes, out of ten, as the official code has it."""
    return 10 * likes / (likes + dislikes) if likes + dislikes > 0 else math.nan


def _view_count(views: float) -> float:
    """The natural logarithm, as the official code has it."""
    return math.log(views) if views > 0 else math.nan
