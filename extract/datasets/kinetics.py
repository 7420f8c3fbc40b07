"""Kinetics-400, -600 and -700: files named ``<YouTube id>_<start>_<end>.mp4`` in any folders, and a csv for each part.

Source: Kay et al., 2017 (arXiv 1705.06950); Carreira et al., 2018 and 2019 (arXiv 1808.01340, 1907.06987); the files as
https://github.com/cvdfoundation/kinetics-dataset distributes them.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.kinetics_lists import find_kinetics_lists, read_kinetics_list
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

logger = logging.getLogger(__name__)

NUM_CLASSES: Final[Mapping[str, int]] = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700}
"""By name of the data set."""
SPLIT: Final = "1"
"""Train against validation, as Kinetics is commonly evaluated."""
TEST_SPLIT: Final = "official_test"
"""The three official parts, where the test list has labels and its videos are there."""

_CLIP_NAME: Final = re.compile(r"(?P<youtube_id>.+)_\d{6}_\d{6}")
_REPLACEMENT: Final = "replacement"


def list_kinetics(root: Path, *, dataset: str, split_lists: Path | None = None) -> VideoTable:
    """List a release of Kinetics.

    Args:
        root: A folder with the videos anywhere beneath it: side by side, in class folders, in folders of the parts.
            Where a file is there twice and one copy is in a folder called ``replacement…``, that one is taken.
        dataset: ``kinetics400``, ``kinetics600`` or ``kinetics700``.
        split_lists: Folder of the csv files; by default looked for in and beside the root.

    Returns:
        Videos sorted by id, which is the file's name whatever folder it is in; classes in alphabetical order; split
        ``1``, whose test part is the official validation part, and perhaps ``official_test``. A group is a YouTube
        video. Listed videos that are not there are counted in a warning, and so are files that no list names.

    Raises:
        ValueError: no such root, no videos, no lists or two for one part, a line that isn't understood, more classes
            than the release has, none of the listed videos is there, two files of one name.
    """
    files = _find_videos(root)
    row_of_key = index_files(files, key=_stem, dataset=dataset)
    paths = find_kinetics_lists(root, dataset=dataset, split_lists=split_lists)
    lists = {
        part: match_list(path.name, read_kinetics_list(path), row_of_key=row_of_key) for part, path in paths.items()
    }
    folder = paths["train"].parent
    report_missing([matched for part, matched in lists.items() if part != "test" or matched.label_of_row], root=root)
    report_unlisted(rows_of(lists.values(), num_videos=len(files)), where=str(folder))
    class_names = _class_names(lists, dataset=dataset, folder=folder)
    return VideoTable(
        ids=tuple(file.id for file in files),
        paths=tuple(file.path for file in files),
        groups=tuple(_youtube_id(file) for file in files),
        labels={"label": _labels(files, lists=lists, class_names=class_names)},
        class_names={"label": class_names},
        splits=_splits(lists, num_videos=len(files)),
    )


def _find_videos(root: Path) -> list[VideoFile]:
    """The videos with their names as ids, without those that have a replacement."""
    files = find_video_files(root)
    replaced = {_stem(file) for file in files if _is_replacement(file)}
    kept = [file for file in files if _is_replacement(file) or _stem(file) not in replaced]
    if len(kept) < len(files):
        logger.info("%s: %d videos are read from their replacements", root, len(files) - len(kept))
    return sorted(VideoFile(id=file.id.rpartition("/")[2], path=file.path) for file in kept)


def _is_replacement(file: VideoFile) -> bool:
    return any(folder.lower().startswith(_REPLACEMENT) for folder in file.folders)


def _stem(file: VideoFile) -> str:
    return file.id.rpartition("/")[2].rpartition(".")[0]


def _youtube_id(file: VideoFile) -> str:
    match = _CLIP_NAME.fullmatch(_stem(file))
    return _stem(file) if match is None else match["youtube_id"]


def _class_names(lists: Mapping[str, MatchedList], *, dataset: str, folder: Path) -> tuple[str, ...]:
    names = sorted(set().union(*(matched.class_names for matched in lists.values())))
    if not names:
        raise ValueError(f"the lists in {str(folder)!r} have no labels; take the official csv")
    if len(names) > NUM_CLASSES[dataset]:
        raise ValueError(
            f"the lists in {str(folder)!r} name {len(names)} classes, but {dataset} has {NUM_CLASSES[dataset]}; name "
            "the lists of that release with --split-lists, or its data set with --dataset"
        )
    return tuple(names)


def _labels(
    files: Sequence[VideoFile], *, lists: Mapping[str, MatchedList], class_names: Sequence[str]
) -> NDArray[np.int32]:
    """What the lists say, and for videos in none of them what their folder says, if it is a class."""
    index_of_class = {name: index for index, name in enumerate(class_names)}
    index_of_folder = {_as_folder(name): index for index, name in enumerate(class_names)}
    of_lists = label_column(lists.values(), index_of_class=index_of_class, num_videos=len(files))
    of_folders = np.array(
        [index_of_folder.get(_as_folder(file.path.split("/")[-2]), -1) if "/" in file.path else -1 for file in files],
        dtype=np.int32,
    )
    num_other = int(((of_lists >= 0) & (of_folders >= 0) & (of_lists != of_folders)).sum())
    if num_other:
        logger.warning("%d videos lie in the folder of another class than the lists say; the lists count", num_other)
    return np.where(of_lists < 0, of_folders, of_lists)


def _as_folder(class_name: str) -> str:
    """``playing guitar`` and ``playing_guitar`` are one class; so folders are called by some tools."""
    return class_name.replace(" ", "_").casefold()


def _splits(lists: Mapping[str, MatchedList], *, num_videos: int) -> dict[str, NDArray[np.uint8]]:
    parts = {"train": lists["train"], "test": lists["validation"]}
    splits = {SPLIT: split_codes(SPLIT, parts, num_videos=num_videos)}
    test = lists.get("test")
    if test is not None and test.class_names and test.label_of_row:
        parts = {"train": lists["train"], "validation": lists["validation"], "test": test}
        splits[TEST_SPLIT] = split_codes(TEST_SPLIT, parts, num_videos=num_videos)
    return splits
