"""The official lists of HMDB51: ``<class>_test_split<n>.txt``, a video a line, and 1 (train), 2 (test) or 0 (neither).

Source: https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, ``test_train_splits.rar``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.list_places import find_list_folder
from scale_video.extract.datasets.listed_path import check_listed_path

FOLDER_NAMES: Final = ("testTrainMulti_7030_splits", "test_train_splits", "splits", "annotations")
"""What the folder of the lists is called as it comes out of the archive, and in the wild."""

_FILE_NAME: Final = re.compile(r"(?P<class_name>[^.].*)_test_split(?P<split>\d+)\.txt")
_LINE: Final = re.compile(r"(?P<file>\S.*?)\s+(?P<flag>[012])")
_PART_OF_FLAG: Final[Mapping[str, str | None]] = {"0": None, "1": "train", "2": "test"}


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A line of a list."""

    class_name: str
    """Of the list's name."""
    file: str
    """As it stands there."""
    part: str | None
    """``train``, ``test``, or None: in neither of them."""


@dataclass(frozen=True, slots=True)
class Hmdb51Lists:
    """All that the lists say."""

    folder: Path
    class_names: tuple[str, ...]
    """In alphabetical order."""
    splits: Mapping[str, tuple[ListedVideo, ...]]
    """By split: ``1``, ``2``, ``3``."""


def find_split_lists(root: Path, *, split_lists: Path | None) -> Path:
    """Find the folder of the lists: the one given, or one in or beside the root.

    Raises:
        ValueError: there is none.
    """
    return find_list_folder(
        root,
        split_lists=split_lists,
        folder_names=FOLDER_NAMES,
        holds_lists=lambda folder: any(_FILE_NAME.fullmatch(path.name) for path in folder.glob("*.txt")),
        wanted="<class>_test_split1.txt",
    )


def read_split_lists(folder: Path) -> Hmdb51Lists:
    """Read all lists of a folder.

    Raises:
        ValueError: a class that one split has and another lacks, a line that isn't understood, a video listed twice.
    """
    found = {
        (match["split"], match["class_name"]): path
        for path in folder.glob("*.txt")
        if (match := _FILE_NAME.fullmatch(path.name))
    }
    class_names = tuple(sorted({class_name for _, class_name in found}))
    splits = {}
    for split in sorted({split for split, _ in found}, key=int):
        videos: list[ListedVideo] = []
        for class_name in class_names:
            if (split, class_name) not in found:
                raise ValueError(
                    f"split {split} has no {class_name}_test_split{split}.txt in {str(folder)!r}, but another "
                    "split has one; add it, or take that class out of all splits"
                )
            videos += _read_list(found[split, class_name], class_name=class_name)
        splits[split] = tuple(videos)
    return Hmdb51Lists(folder=folder, class_names=class_names, splits=splits)


def _read_list(path: Path, *, class_name: str) -> Iterator[ListedVideo]:
    line_of_file: dict[str, int] = {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"{path}:{number}: cannot read {line.strip()!r}; a line is '<file> <flag>' with the flag 1 (training), "
                "2 (test) or 0 (neither)"
            )
        check_listed_path(match["file"], line=f"{path}:{number}")
        first = line_of_file.setdefault(match["file"], number)
        if first != number:
            raise ValueError(f"{path}:{number}: {match['file']!r} is in line {first} already; leave one of them")
        yield ListedVideo(class_name=class_name, file=match["file"], part=_PART_OF_FLAG[match["flag"]])
