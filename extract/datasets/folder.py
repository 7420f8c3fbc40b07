"""Anyone's own videos: a folder of class folders, the same beneath train and test folders, or just files."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.video_files import VideoFile, find_video_files
from scale_video.store.video_table import SPLIT_CODES, VideoTable

logger = logging.getLogger(__name__)

SPLIT: Final = "1"
"""Name of the only split."""
TEST_FRACTION: Final = 0.2
"""Of each class, in a split that we draw ourselves."""

_NUM_SHOWN: Final = 5
"""Names in a message."""
_PART_OF_FOLDER: Final = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def list_folder(root: Path) -> VideoTable:
    """List the videos beneath a folder.

    - ``<class>/…/<file>``: the first folder is the class. Split ``1`` is *ours*: a fifth of each class, chosen by a
      hash of the videos' ids, is its test part; a class with a single video goes to train.
    - ``train/<class>/…`` with ``test/<class>/…``, ``val/<class>/…`` or both: split ``1`` is what the folders say, the
      class is the folder beneath. Without ``test``, ``val`` is the test part: data sets with secret test labels are
      evaluated so.
    - Anything else has no labels: most files directly in the root, or fewer than two classes. There is no split then,
      unless train and test folders make one.

    Where most files have a class, those that have none are strays: they get the label -1 and a warning, and train where
    the split is ours.

    Args:
        root: The folder.

    Returns:
        Videos sorted by id; each is its own group.

    Raises:
        ValueError: no such folder, no videos in it, two files of one id, a name that is no UTF-8, or train and test
            folders with something else beside them.
    """
    files = find_video_files(root)
    parts = _parts_of_folders(files, root=root)
    class_depth = 0 if parts is None else 1
    classes = [file.folders[class_depth] if len(file.folders) > class_depth else None for file in files]
    names = sorted({name for name in classes if name is not None})
    strays = [file.id for file, name in zip(files, classes, strict=True) if name is None]
    labelled = len(names) >= 2 and len(strays) < len(files) / 2
    if strays and len(names) >= 2:
        _warn_of_strays(strays, num_videos=len(files), labelled=labelled, root=root)
    index_of = {name: index for index, name in enumerate(names)}
    label = np.array([-1 if name is None else index_of[name] for name in classes], dtype=np.int32)
    ids = tuple(file.id for file in files)
    if parts is None and labelled:
        parts = _draw_parts(ids, label=label)
        logger.info("%s has no train and test folders: split %r is drawn by a hash, 80 : 20 in each class", root, SPLIT)
    codes = None if parts is None else np.array([SPLIT_CODES[part] for part in parts], dtype=np.uint8)
    return VideoTable(
        ids=ids,
        paths=tuple(file.path for file in files),
        groups=ids,
        labels={"label": label} if labelled else {},
        class_names={"label": tuple(names)} if labelled else {},
        splits={} if codes is None else {SPLIT: codes},
    )


def _warn_of_strays(strays: Sequence[str], *, num_videos: int, labelled: bool, root: Path) -> None:
    shown = ", ".join(map(repr, strays[:_NUM_SHOWN])) + (", …" if len(strays) > _NUM_SHOWN else "")
    consequence = "they get no label" if labelled else "so there are no labels at all: put most into class folders"
    logger.warning(
        "%s: %d of %d videos lie in no class folder (%s); %s", root, len(strays), num_videos, shown, consequence
    )


def _parts_of_folders(files: Sequence[VideoFile], *, root: Path) -> list[str] | None:
    """The part of each video where the first folders are train and test or val; None otherwise.

    Raises:
        ValueError: they are, but for something that would make classes of them all.
    """
    parts = [_PART_OF_FOLDER.get(file.folders[0].lower()) if file.folders else None for file in files]
    if "train" not in parts or set(parts) <= {"train", None}:
        return None
    odd = sorted({file.id.split("/")[0] for file, part in zip(files, parts, strict=True) if part is None})
    if odd:
        shown = ", ".join(map(repr, odd[:_NUM_SHOWN])) + (", …" if len(odd) > _NUM_SHOWN else "")
        raise ValueError(
            f"{str(root)!r} holds train and test folders, but {shown} beside them; move that into one of them or "
            "out of the folder (or, if train and test are names of classes, rename these)"
        )
    if "test" not in parts:
        return ["train" if part == "train" else "test" for part in parts]
    return [part for part in parts if part is not None]


def _draw_parts(ids: Sequence[str], *, label: NDArray[np.int32]) -> list[str]:
    """Order each class by a hash of its ids and take a fifth (at least one) for the test; all others train."""
    rows_of_class = defaultdict(list)
    for row, class_index in enumerate(label):
        if class_index >= 0:
            rows_of_class[int(class_index)].append(row)
    parts = ["train"] * len(ids)
    for rows in rows_of_class.values():
        rows.sort(key=lambda row: hashlib.blake2b(f"folder split\0{ids[row]}".encode(), digest_size=8).digest())
        num_test = max(1, round(TEST_FRACTION * len(rows))) if len(rows) > 1 else 0
        for row in rows[:num_test]:
            parts[row] = "test"
    return parts
