"""The official train/test lists of UCF101: ``classInd.txt``, ``trainlist0N.txt``, ``testlist0N.txt``.

Source: https://www.crcv.ucf.edu/data/UCF101.php, ``UCF101TrainTestSplits-RecognitionTask.zip``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.listed_path import check_listed_path

_FOLDER: Final = "ucfTrainTestlist"
_CLASS_LINE: Final = re.compile(r"(?P<number>[1-9]\d*)\s+(?P<name>\S+)")
_VIDEO_LINE: Final = re.compile(r"(?P<path>(?P<folder>[^\s/]+)/[^\s/]+\.\w+)(?:\s+(?P<number>\d+))?")
_FILE_NAME: Final = re.compile(r"(?P<part>train|test)list0*(?P<split>\d+)\.txt")


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A line of a train or test list."""

    path: str
    """As it stands there: class folder and file."""
    class_index: int
    """Of its folder, from 0."""
    line: str
    """``<file>:<number>``, for messages."""


@dataclass(frozen=True, slots=True)
class SplitLists:
    """All that the lists say."""

    folder: Path
    class_names: tuple[str, ...]
    """In the order of their numbers."""
    splits: Mapping[str, Mapping[str, tuple[ListedVideo, ...]]]
    """By split (``1``, ``2``, ``3``) and part (``train``, ``test``)."""


def video_key(path: str) -> str:
    """What a file and a line must have in common: the file's name without case and extension.

    The lists spell one class ``HandstandPushups`` while its files say ``v_HandStandPushups``, and other releases
    changed the folders or the extension. The name alone is unique: it holds class, source and clip.
    """
    return path.rpartition("/")[2].rpartition(".")[0].casefold()


def find_split_lists(root: Path, *, split_lists: Path | None) -> Path:
    """Find the folder of the lists: the one given, or one in or beside the root.

    Raises:
        ValueError: there is no ``classInd.txt``; says where it looked.
    """
    places = [root, root / "UCF-101", root.absolute().parent] if split_lists is None else [split_lists]
    for folder in (folder for place in places for folder in (place, place / _FOLDER)):
        if (folder / "classInd.txt").is_file():
            return folder
    looked = ", ".join(repr(str(place)) for place in places)
    raise ValueError(
        f"no classInd.txt in {looked}, nor in a {_FOLDER} there; name the folder of UCF101's lists with --split-lists"
    )


def read_split_lists(folder: Path) -> SplitLists:
    """Read all lists of a folder.

    Raises:
        ValueError: no lists, one half of a split, a line that isn't understood.
    """
    class_names = _read_classes(folder / "classInd.txt")
    index_of_class = {name.casefold(): index for index, name in enumerate(class_names)}
    found = {(m["split"], m["part"]): path for path in folder.iterdir() if (m := _FILE_NAME.fullmatch(path.name))}
    if not found:
        raise ValueError(f"{str(folder)!r} holds classInd.txt, but no trainlist01.txt and testlist01.txt; add them")
    splits: dict[str, dict[str, tuple[ListedVideo, ...]]] = {}
    for split in sorted({split for split, _ in found}, key=int):
        splits[split] = {}
        for part in ("train", "test"):
            if (split, part) not in found:
                raise ValueError(f"split {split} has no {part}list{split:0>2}.txt in {str(folder)!r}; add it")
            splits[split][part] = tuple(_read_videos(found[split, part], index_of_class=index_of_class))
    return SplitLists(folder=folder, class_names=class_names, splits=splits)


def _read_classes(path: Path) -> tuple[str, ...]:
    """Class names in the order of their numbers, which must run from 1 without gaps."""
    name_of_number: dict[int, str] = {}
    for line, text in _lines(path):
        match = _CLASS_LINE.fullmatch(text)
        if match is None:
            raise ValueError(f"{line}: cannot read {text!r}; a line is '<number> <class>'")
        number = int(match["number"])
        if number in name_of_number:
            raise ValueError(f"{line}: class {number} is {name_of_number[number]!r} already; repair the file")
        name_of_number[number] = match["name"]
    if sorted(name_of_number) != list(range(1, len(name_of_number) + 1)):
        raise ValueError(
            f"{path}: class numbers must run from 1 to {len(name_of_number)} without gaps; repair the file"
        )
    return tuple(name for _, name in sorted(name_of_number.items()))


def _read_videos(path: Path, *, index_of_class: Mapping[str, int]) -> Iterator[ListedVideo]:
    for line, text in _lines(path):
        check_listed_path(text.split(maxsplit=1)[0], line=line)
        match = _VIDEO_LINE.fullmatch(text.replace("\\", "/"))
        if match is None:
            raise ValueError(f"{line}: cannot read {text!r}; a line is '<class>/<file>', then its class number or not")
        class_index = index_of_class.get(match["folder"].casefold())
        if class_index is None:
            raise ValueError(f"{line}: class {match['folder']!r} is not in classInd.txt; add it there")
        if match["number"] is not None and int(match["number"]) != class_index + 1:
            raise ValueError(
                f"{line}: {match['folder']!r} is class {match['number']} here, but {class_index + 1} in classInd.txt; "
                "the lists must be of one release"
            )
        yield ListedVideo(path=match["path"], class_index=class_index, line=line)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where it stands, and what it says, for each line that is not blank; any line ends, with or without a BOM."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()
