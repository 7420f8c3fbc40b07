"""LVU, Long-form Video Understanding: scenes of films from YouTube, with nine tasks, each of its own videos and split.

Source: Wu and Krähenbühl, CVPR 2021 (arXiv 2106.11310); lists from https://github.com/chaoyuaw/lvu.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.lvu_lists import CLASS_TASKS, LvuLine, find_lvu_lists, read_lvu_list
from scale_video.extract.datasets.matched_list import (
    MatchedList,
    index_files,
    label_column,
    match_list,
    report_missing,
    report_unlisted,
    rows_of,
    split_codes,
)
from scale_video.extract.datasets.video_files import VideoFile, find_video_files
from scale_video.store.video_table import VideoTable

# yt-dlp calls a file `Title [id].mp4` unless it is told otherwise.
_BRACKETED: Final = re.compile(r".*\[(?P<youtube_id>[\w-]{11})\]")

Lines = Mapping[str, Sequence[LvuLine]]
"""Of one task, by part."""


def list_lvu(root: Path, *, split_lists: Path | None = None) -> VideoTable:
    """List the videos of LVU.

    Args:
        root: A folder with the videos anywhere beneath it, called after their YouTube ids.
        split_lists: Folder of the tasks' folders; by default looked for in and beside the root.

    Returns:
        A row for each video, sorted by id, which is the file's name whatever folder it is in; for each task the split
        ``<task>`` and the column ``label_<task>`` or ``target_<task>``; groups are films.

    Raises:
        ValueError: no such root, no videos, no lists, one of them missing or not understood, a class of two names, none
            of the listed videos is there, two files of one video.
    """
    files = sorted(VideoFile(id=file.id.rpartition("/")[2], path=file.path) for file in find_video_files(root))
    row_of_key = index_files(files, key=_youtube_id, dataset="lvu")
    paths = find_lvu_lists(root, split_lists=split_lists)
    lines = {
        task: {part: list(read_lvu_list(path, task=task)) for part, path in parts.items()}
        for task, parts in paths.items()
    }
    matched = {
        task: {part: _match(f"{task}, {part}", some, row_of_key=row_of_key) for part, some in parts.items()}
        for task, parts in lines.items()
    }
    every = [one for parts in matched.values() for one in parts.values()]
    report_missing([_together(task, list(parts.values())) for task, parts in matched.items()], root=root)
    folder = next(iter(next(iter(paths.values())).values())).parents[1]
    report_unlisted(rows_of(every, num_videos=len(files)), where=str(folder))
    class_names = {f"label_{task}": _class_names(task, lines[task]) for task in CLASS_TASKS if task in lines}
    return VideoTable(
        ids=tuple(file.id for file in files),
        paths=tuple(file.path for file in files),
        groups=_groups(files, lines),
        labels={
            name: label_column(
                matched[name.removeprefix("label_")].values(),
                index_of_class={class_name: index for index, class_name in enumerate(names)},
                num_videos=len(files),
            )
            for name, names in class_names.items()
        },
        class_names=class_names,
        splits={task: split_codes(task, parts, num_videos=len(files)) for task, parts in matched.items()},
        targets={
            f"target_{task}": _targets(lines[task], row_of_key=row_of_key, num_videos=len(files))
            for task in lines
            if task not in CLASS_TASKS
        },
    )


def _youtube_id(file: VideoFile) -> str:
    stem = file.id.rpartition(".")[0]
    match = _BRACKETED.fullmatch(stem)
    return stem if match is None else match["youtube_id"]


def _match(name: str, lines: Sequence[LvuLine], *, row_of_key: Mapping[str, int]) -> MatchedList:
    return match_list(name, (((line.youtube_id,), line.class_name) for line in lines), row_of_key=row_of_key)


def _together(task: str, parts: Sequence[MatchedList]) -> MatchedList:
    """The lists of a task as one, to be counted in one line."""
    return MatchedList(
        name=task,
        label_of_row={row: label for part in parts for row, label in part.label_of_row.items()},
        class_names=frozenset().union(*(part.class_names for part in parts)),
        num_listed=sum(part.num_listed for part in parts),
        num_missing=sum(part.num_missing for part in parts),
        example=next((part.example for part in parts if part.example), ""),
    )


def _class_names(task: str, lines: Lines) -> tuple[str, ...]:
    """Classes in the order of the official numbers, which have gaps in some tasks.

    Raises:
        ValueError: a number has two names, or a name two numbers.
    """
    name_of: dict[int, str] = {}
    for line in (line for some in lines.values() for line in some):
        if name_of.setdefault(line.class_id, line.class_name) != line.class_name:
            raise ValueError(
                f"the lists of {task} call class {line.class_id} both {name_of[line.class_id]!r} and "
                f"{line.class_name!r}; take the three lists of one release"
            )
    if len(set(name_of.values())) < len(name_of):
        raise ValueError(f"the lists of {task} give one class two numbers; take the three lists of one release")
    return tuple(name for _, name in sorted(name_of.items()))


def _groups(files: Sequence[VideoFile], lines: Mapping[str, Lines]) -> tuple[str, ...]:
    """The film of each video; a video that no list names is its own."""
    film_of = {line.youtube_id: line.film for parts in lines.values() for some in parts.values() for line in some}
    return tuple(film_of.get(_youtube_id(file), file.id) for file in files)


def _targets(lines: Lines, *, row_of_key: Mapping[str, int], num_videos: int) -> NDArray[np.float32]:
    targets = np.full(num_videos, np.nan, dtype=np.float32)
    for line in (line for some in lines.values() for line in some):
        if line.youtube_id in row_of_key:
            targets[row_of_key[line.youtube_id]] = line.target
    return targets
