"""HMDB51 in its original layout: class folders of ``.avi`` files, and three official splits.

Source: https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/ (Kuehne, Jhuang, Garrote, Poggio,
Serre, ICCV 2011).
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from scale_video.extract.datasets.hmdb51_lists import ListedVideo, find_split_lists, read_split_lists
from scale_video.extract.datasets.matched_list import (
    index_files,
    match_list,
    report_missing,
    report_unlisted,
    rows_of,
    split_codes,
)
from scale_video.extract.datasets.video_files import VideoFile, check_root, find_video_files
from scale_video.store.video_table import VideoTable

_VIDEOS_FOLDER: Final = "hmdb51_org"
# What follows film and action in a name: visible body parts, camera motion, people, viewpoint, quality, clip.
_TAGS: Final = re.compile(r"_[a-z]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+$")


def list_hmdb51(root: Path, *, split_lists: Path | None = None) -> VideoTable:
    """List HMDB51 with its official splits.

    Args:
        root: The folder of the class folders, or the one that holds it as ``hmdb51_org``. A class folder may hold
            another one of its name, as some unpackers make it.
        split_lists: Folder of ``<class>_test_split<n>.txt``; by default looked for in and beside the root.

    Returns:
        Videos sorted by id, which is ``<class folder>/<file>`` whichever root was given; classes in alphabetical order;
        splits ``1``, ``2``, ``3`` as far as there are lists. A group is a film, over all classes. Videos that are
        listed and not there, or there and not listed, are counted in a warning.

    Raises:
        ValueError: no such root, no videos, no lists, a line that isn't understood, none of the listed videos is there,
            two files of one name.
    """
    files = _find_videos(root)
    num_videos = len(files)
    lists = read_split_lists(find_split_lists(root, split_lists=split_lists))
    where = str(lists.folder)
    row_of_key = index_files(files, key=lambda file: _key(_class_folder(file), file.id), dataset="HMDB51")
    each_once = dict.fromkeys(_entry(video) for videos in lists.splits.values() for video in videos)
    everything = match_list(where, each_once, row_of_key=row_of_key)
    report_missing([everything], root=root)
    report_unlisted(rows_of([everything], num_videos=num_videos), where=where)
    splits = {}
    for split, videos in lists.splits.items():
        parts = {
            part: match_list(where, (_entry(video) for video in videos if video.part == part), row_of_key=row_of_key)
            for part in ("train", "test")
        }
        splits[split] = split_codes(split, parts, num_videos=num_videos)
    # The lists go by class folder, so that a video that no list names has the label of its folder as well.
    index_of_class = {name: index for index, name in enumerate(lists.class_names)}
    labels = [index_of_class.get(_class_folder(file), -1) for file in files]
    return VideoTable(
        ids=tuple(file.id for file in files),
        paths=tuple(file.path for file in files),
        groups=tuple(_film(file, class_names=lists.class_names) for file in files),
        labels={"label": np.array(labels, dtype=np.int32)},
        class_names={"label": lists.class_names},
        splits=splits,
    )


def _find_videos(root: Path) -> list[VideoFile]:
    """The videos with ids of class folder and file alone, so that their clips don't depend on where the root is."""
    check_root(root)
    inner = f"{_VIDEOS_FOLDER}/" if (root / _VIDEOS_FOLDER).is_dir() else ""
    files = find_video_files(root / inner)
    return sorted(VideoFile(id="/".join(file.id.split("/")[-2:]), path=inner + file.path) for file in files)


def _class_folder(file: VideoFile) -> str:
    return file.folders[-1] if file.folders else ""


def _key(class_name: str, file: str) -> str:
    """``wave/winKen_wave_u_cm_np1_ri_bad_1``: without the extension, as other releases were encoded anew."""
    return f"{class_name}/{unicodedata.normalize('NFC', file).rpartition('/')[2].rpartition('.')[0]}"


def _entry(video: ListedVideo) -> tuple[tuple[str, ...], str]:
    return (_key(video.class_name, video.file),), video.class_name


def _film(file: VideoFile, *, class_names: Sequence[str]) -> str:
    """``April_09`` of ``brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi``; a video of another name is its own.

    The action is the folder's as a rule; where a name says another one, the longest class that it ends in.
    """
    stem = file.id.split("/")[-1].rpartition(".")[0]
    tags = _TAGS.search(stem)
    if tags is None:
        return file.id
    film_and_action = stem[: tags.start()]
    for action in (_class_folder(file), *sorted(class_names, key=len, reverse=True)):
        if action and film_and_action.endswith(f"_{action}"):
            return film_and_action.removesuffix(f"_{action}") or file.id
    return film_and_action
