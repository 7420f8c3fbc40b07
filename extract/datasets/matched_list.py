"""What of an official list is there: its lines matched to the files that were found.

Large data sets are never complete: what was taken off the web since is counted, and the rest is used.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.video_files import VideoFile
from scale_video.store.video_table import SPLIT_CODES

logger = logging.getLogger(__name__)

NO_LABEL: Final = ""
"""Label of a video that a list names without one."""


@dataclass(frozen=True, slots=True)
class MatchedList:
    """One list, as far as its videos are there."""

    name: str
    """For messages."""
    label_of_row: Mapping[int, str]
    """Class name, or ``NO_LABEL``, of each video that is there, by its row."""
    class_names: frozenset[str]
    """Those of all videos of the list, there or not."""
    num_listed: int
    num_missing: int
    example: str
    """A missing video."""


def index_files(files: Sequence[VideoFile], *, key: Callable[[VideoFile], str], dataset: str) -> dict[str, int]:
    """Row of each file by what its line in a list says.

    Raises:
        ValueError: two files of one key.
    """
    row_of_key: dict[str, int] = {}
    for row, file in enumerate(files):
        other = row_of_key.setdefault(key(file), row)
        if other != row:
            raise ValueError(
                f"{files[other].path!r} and {file.path!r} are the same video by name; leave one of them, or give the "
                f"folder of one copy of {dataset}"
            )
    return row_of_key


def match_list(
    name: str, entries: Iterable[tuple[Sequence[str], str]], *, row_of_key: Mapping[str, int]
) -> MatchedList:
    """Match a list to the files.

    Args:
        name: The list's, for messages.
        entries: Of each line the keys that its file may have, the likeliest first, and its class name or ``NO_LABEL``.
            Read once, as there may be a million.
        row_of_key: From ``index_files``.

    Returns:
        The list; where it names a video twice, the first line counts.
    """
    label_of_row: dict[int, str] = {}
    class_names: set[str] = set()
    num_listed = num_missing = num_contradictions = 0
    example = ""
    for keys, label in entries:
        num_listed += 1
        class_names.add(label)
        row = next((row_of_key[key] for key in keys if key in row_of_key), None)
        if row is None:
            num_missing += 1
            example = example or keys[0]
        elif label_of_row.setdefault(row, label) != label:
            num_contradictions += 1
    if num_contradictions:
        logger.warning(
            "%s: %d lines give a video another label than a line before; the first counts", name, num_contradictions
        )
    return MatchedList(
        name=name,
        label_of_row=label_of_row,
        class_names=frozenset(class_names - {NO_LABEL}),
        num_listed=num_listed,
        num_missing=num_missing,
        example=example,
    )


def report_missing(lists: Sequence[MatchedList], *, root: Path) -> None:
    """Count the listed videos that are not there, in a line for each list.

    Raises:
        ValueError: none of them is there.
    """
    if not any(matched.label_of_row for matched in lists):
        names = ", ".join(matched.name for matched in lists)
        example = next((repr(matched.example) for matched in lists if matched.example), "no video at all")
        raise ValueError(
            f"none of the videos that {names} name (such as {example}) is beneath {str(root)!r}; give the folder of "
            "the videos with --data, or their own lists with --split-lists"
        )
    for matched in lists:
        if matched.num_missing:
            logger.warning(
                "%s: %d of %d videos are not beneath %s (such as %s); the others are used",
                matched.name, matched.num_missing, matched.num_listed, root, matched.example,
            )  # fmt: skip


def report_unlisted(listed: NDArray[np.bool_], *, where: str) -> None:
    """Count the files that no list names."""
    num_unlisted = int((~listed).sum())
    if num_unlisted:
        logger.warning(
            "%d of %d videos are in no list of %s: they belong to no split", num_unlisted, len(listed), where
        )


def rows_of(lists: Iterable[MatchedList], *, num_videos: int) -> NDArray[np.bool_]:
    """Which videos any of the lists names, shape (N,)."""
    listed = np.zeros(num_videos, dtype=bool)
    for matched in lists:
        listed[_rows(matched)] = True
    return listed


def split_codes(split: str, parts: Mapping[str, MatchedList], *, num_videos: int) -> NDArray[np.uint8]:
    """The column of a split, shape (N,).

    Args:
        split: Its name, for messages.
        parts: The list of each part. A video of several is in the last of them alone: with the test part last, no test
            video is trained on.
        num_videos: N.
    """
    codes = np.zeros(num_videos, dtype=np.uint8)
    for part, matched in parts.items():
        rows = _rows(matched)
        num_twice = int(np.count_nonzero(codes[rows]))
        if num_twice:
            logger.warning(
                "split %r: %d videos of %s are in the list of another part too; they count as %s",
                split, num_twice, matched.name, part,
            )  # fmt: skip
        codes[rows] = SPLIT_CODES[part]
    return codes


def label_column(
    lists: Iterable[MatchedList], *, index_of_class: Mapping[str, int], num_videos: int
) -> NDArray[np.int32]:
    """Class indices by the lists, shape (N,); -1 where none gives one. Of two lists, the later one counts."""
    labels = np.full(num_videos, -1, dtype=np.int32)
    for matched in lists:
        for row, label in matched.label_of_row.items():
            if label != NO_LABEL:
                labels[row] = index_of_class[label]
    return labels


def _rows(matched: MatchedList) -> NDArray[np.int64]:
    return np.fromiter(matched.label_of_row, dtype=np.int64, count=len(matched.label_of_row))
