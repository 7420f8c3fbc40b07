"""Where the official lists of a data set are: named by the user, or in or beside the folder of its videos."""

from collections.abc import Callable, Sequence
from pathlib import Path


def find_list_folder(
    root: Path,
    *,
    split_lists: Path | None,
    folder_names: Sequence[str],
    holds_lists: Callable[[Path], bool],
    wanted: str,
) -> Path:
    """Find the folder of the lists.

    Args:
        root: The folder of the videos.
        split_lists: The one that the user named; nothing else is looked at then.
        folder_names: What the folder is usually called; it may lie in the places that are searched.
        holds_lists: Whether a folder is the one.
        wanted: What it must hold, for the message.

    Returns:
        The first that fits of the root, the folder above it, and the folders of those names in either.

    Raises:
        ValueError: there is none; says where it looked.
    """
    places = [root, root.absolute().parent] if split_lists is None else [split_lists]
    for folder in (folder for place in places for folder in (place, *(place / name for name in folder_names))):
        if folder.is_dir() and holds_lists(folder):
            return folder
    looked = ", ".join(repr(str(place)) for place in places)
    raise ValueError(
        f"no {wanted} in {looked}, nor in a folder {' or '.join(folder_names)} there; name the folder of the official "
        "lists with --split-lists"
    )
