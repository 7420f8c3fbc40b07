"""The official lists of Something-Something v2: in JSON, the videos with their templates, and the numbers of these.

Source: https://www.qualcomm.com/developer/software/something-something-v-2-dataset; older copies call the files
``something-something-v2-train.json`` and so on.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scale_video.extract.datasets.list_places import find_list_folder
from scale_video.extract.datasets.matched_list import NO_LABEL

_FILE_NAME: Final = re.compile(r"(?:something-something-v2-)?(?P<what>labels|train|validation|test)\.json")


def find_something_lists(root: Path, *, split_lists: Path | None) -> dict[str, Path]:
    """Find the lists: in the folder given, or in one in or beside the root.

    Returns:
        ``labels``, ``train``, ``validation``, and ``test`` if it is there.

    Raises:
        ValueError: one of the first three is missing, or there are two of one.
    """
    folder = find_list_folder(
        root,
        split_lists=split_lists,
        folder_names=("labels", "annotations"),
        holds_lists=lambda folder: any(_what(path) == "labels" for path in folder.glob("*.json")),
        wanted="labels.json or something-something-v2-labels.json",
    )
    lists: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        what = _what(path)
        if what is None:
            continue
        if what in lists:
            raise ValueError(f"{str(folder)!r} holds both {lists[what].name!r} and {path.name!r}; leave one of them")
        lists[what] = path
    for what in ("train", "validation"):
        if what not in lists:
            prefix = lists["labels"].name.removesuffix("labels.json")
            raise ValueError(f"{str(folder)!r} holds {lists['labels'].name!r}, but no {prefix}{what}.json; add it")
    return lists


def read_class_names(path: Path) -> tuple[str, ...]:
    """The classes of ``labels.json`` in the order of their numbers.

    Raises:
        ValueError: it is no JSON, or not a number from 0 without gaps for each class.
    """
    numbers = _read_json(path)
    try:
        name_of_number = {int(number): name for name, number in numbers.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{path}: must give each class its number, as {{'Closing something': '5', …}}") from None
    if not numbers:
        raise ValueError(f"{path}: names no class; take the official file")
    if sorted(name_of_number) != list(range(len(numbers))):
        raise ValueError(f"{path}: class numbers must run from 0 to {len(numbers) - 1} without gaps; repair the file")
    return tuple(name_of_number[number] for number in range(len(numbers)))


def read_something_list(path: Path, *, class_names: frozenset[str]) -> Iterator[tuple[tuple[str], str]]:
    """Read a list.

    Yields:
        The name of a video's file without extension, and its class: the template without the brackets around what
        stands for things; ``NO_LABEL`` where there is no template, as in the test list.

    Raises:
        ValueError: it is no JSON, not a list of videos, or has a template that is no class.
    """
    videos = _read_json(path)
    if not isinstance(videos, list):
        raise ValueError(f"{path}: must be a list of videos, as [{{'id': '78687', 'template': …}}, …]")
    for number, video in enumerate(videos, start=1):
        if not isinstance(video, Mapping) or not isinstance(video.get("id"), str | int):
            raise ValueError(f"{path}: video {number} has no 'id'; take the official list")
        template = video.get("template", NO_LABEL)
        class_name = template.replace("[", "").replace("]", "") if isinstance(template, str) else None
        if class_name is None or (class_name != NO_LABEL and class_name not in class_names):
            raise ValueError(
                f"{path}: the template {template!r} of video {video['id']!r} is no class of the labels; the lists must "
                "be of one release"
            )
        yield (str(video["id"]),), class_name


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); download it again") from None


def _what(path: Path) -> str | None:
    match = _FILE_NAME.fullmatch(path.name)
    return None if match is None else match["what"]
