"""UCF101 in its original layout: class folders of ``v_Class_gNN_cNN.avi`` and the official ``ucfTrainTestlist``.

Source: https://www.crcv.ucf.edu/data/UCF101.php (Soomro, Zamir, Shah, 2012).
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.ucf101_lists import (
    ListedVideo,
    SplitLists,
    find_split_lists,
    read_split_lists,
    video_key,
)
from scale_video.extract.datasets.video_files import VideoFile, check_root, find_video_files
from scale_video.store.video_table import SPLIT_CODES, VideoTable

logger = logging.getLogger(__name__)

_VIDEO_NAME: Final = re.compile(r"v_(?P<group>.+_g\d+)_c\d+\.\w+")


def list_ucf101(root: Path, *, split_lists: Path | None = None) -> VideoTable:
    """List UCF101 with its official splits.

    Args:
        root: ``UCF-101`` itself, or the folder that holds it.
        split_lists: Folder of ``classInd.txt``, ``trainlist0N.txt`` and ``testlist0N.txt``; by default looked for in
            and beside the root.

    Returns:
        Videos sorted by id, which is ``<class folder>/<file>`` whichever root was given; classes in the order of
        ``classInd.txt``, from 0; splits ``1``, ``2``, ``3`` as far as there are lists. A video that no list names
        belongs to no split. A group is a class with its ``gNN``, as those numbers begin anew in each class.

    Raises:
        ValueError: no such root, no videos, no lists, a line that isn't understood, listed videos that don't exist, two
            files of one name, a video in both lists of a split.
    """
    files = _find_videos(root)
    lists = read_split_lists(find_split_lists(root, split_lists=split_lists))
    row_of_key = _index_by_key(files)
    _check_listed_videos_exist(lists, row_of_key=row_of_key, root=root)
    splits = {name: _split_codes(parts, row_of_key=row_of_key) for name, parts in lists.splits.items()}
    num_unlisted = int(np.all([codes == SPLIT_CODES["none"] for codes in splits.values()], axis=0).sum())
    if num_unlisted:
        logger.warning(
            "%d of %d videos are in no list of %s: they belong to no split", num_unlisted, len(files), lists.folder
        )
    return VideoTable(
        ids=tuple(file.id for file in files),
        paths=tuple(file.path for file in files),
        groups=tuple(_group(file) for file in files),
        labels={"label": _labels(files, lists=lists, row_of_key=row_of_key)},
        class_names={"label": lists.class_names},
        splits=splits,
    )


def _find_videos(root: Path) -> list[VideoFile]:
    """The videos with ids of class folder and file alone, so that their clips don't depend on where the root is."""
    check_root(root)
    inner = "UCF-101/" if (root / "UCF-101").is_dir() else ""
    files = find_video_files(root / inner)
    return sorted(VideoFile(id="/".join(file.id.split("/")[-2:]), path=inner + file.path) for file in files)


def _index_by_key(files: Sequence[VideoFile]) -> dict[str, int]:
    row_of_key: dict[str, int] = {}
    for row, file in enumerate(files):
        other = row_of_key.setdefault(video_key(file.id), row)
        if other != row:
            raise ValueError(
                f"{files[other].path!r} and {file.path!r} are the same video by name; leave one of them, or give the "
                "folder of one copy of UCF101"
            )
    return row_of_key


def _check_listed_videos_exist(lists: SplitLists, *, row_of_key: Mapping[str, int], root: Path) -> None:
    missing = {
        video.path: None  # an ordered set: most videos are in the lists of all three splits
        for parts in lists.splits.values()
        for videos in parts.values()
        for video in videos
        if video_key(video.path) not in row_of_key
    }
    if missing:
        raise ValueError(
            f"{len(missing)} videos of the lists in {str(lists.folder)!r} are not beneath {str(root)!r}: "
            f"{', '.join(list(missing)[:3])}{', …' if len(missing) > 3 else ''}; complete the download, or name lists "
            "of what is there with --split-lists"
        )


def _split_codes(parts: Mapping[str, Sequence[ListedVideo]], *, row_of_key: Mapping[str, int]) -> NDArray[np.uint8]:
    codes = np.zeros(len(row_of_key), dtype=np.uint8)
    for part, videos in parts.items():
        for video in videos:
            row = row_of_key[video_key(video.path)]
            if codes[row] not in (SPLIT_CODES["none"], SPLIT_CODES[part]):
                raise ValueError(f"{video.line}: {video.path!r} is in the training list of this split too; repair it")
            codes[row] = SPLIT_CODES[part]
    return codes


def _labels(files: Sequence[VideoFile], *, lists: SplitLists, row_of_key: Mapping[str, int]) -> NDArray[np.int32]:
    """Class indices: what the lists say, and for videos in none of them what their folder says, if it is a class."""
    index_of_class = {name.casefold(): index for index, name in enumerate(lists.class_names)}
    labels = np.array(
        [index_of_class.get(file.folders[-1].casefold(), -1) if file.folders else -1 for file in files], dtype=np.int32
    )
    for parts in lists.splits.values():
        for video in (video for videos in parts.values() for video in videos):
            labels[row_of_key[video_key(video.path)]] = video.class_index
    return labels


def _group(file: VideoFile) -> str:
    """``ApplyLipstick_g03`` of ``ApplyLipstick/v_ApplyLipstick_g03_c02.avi``; a video of another name is its own."""
    match = _VIDEO_NAME.fullmatch(file.id.split("/")[-1])
    return file.id if match is None else match["group"]
