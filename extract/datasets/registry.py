"""The data sets that can be named on the command line."""

import difflib
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.folder import list_folder
from scale_video.extract.datasets.ucf101 import list_ucf101
from scale_video.extract.datasets.video_files import check_root
from scale_video.store.video_table import VideoTable

_RENDERED: Final = ("demo", "demo-hard", "demo-control")
DATASETS: Final = (*_RENDERED, "ucf101", "folder")
"""Names that ``list_dataset`` knows."""


def list_dataset(name: str, root: Path, *, split_lists: Path | None = None) -> VideoTable:
    """List the videos of a data set.

    Args:
        name: One of ``DATASETS``.
        root: The folder that holds its files; ``~`` is expanded.
        split_lists: Folder of the official lists, where they are neither in nor beside the root (``ucf101`` only).

    Returns:
        The videos, in the order of a store's rows.

    Raises:
        ValueError: no such data set, no such folder, no videos in it, and what the data set itself complains of.
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no data set {name!r}; there are: {', '.join(DATASETS)}{hint}")
    if split_lists is not None and name != "ucf101":
        raise ValueError(f"--split-lists is for ucf101; leave it out for data set {name!r}")
    root = root.expanduser()
    check_root(root)
    if name == "ucf101":
        return list_ucf101(root, split_lists=None if split_lists is None else split_lists.expanduser())
    if name == "folder":
        return list_folder(root)
    from scale_video.extract.datasets.demo import list_demo  # these pull in the renderer
    from scale_video.extract.datasets.edited_videos import read_manifest

    rendered = read_manifest(root).variant
    if rendered != name:
        raise ValueError(f"{str(root)!r} holds {rendered!r}, not {name!r}; name that data set, or another folder")
    return list_demo(root)
