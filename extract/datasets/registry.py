"""The data sets that can be named on the command line."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from scale_video.extract.datasets.folder import list_folder
from scale_video.extract.datasets.hmdb51 import list_hmdb51
from scale_video.extract.datasets.kinetics import list_kinetics
from scale_video.extract.datasets.lvu import list_lvu
from scale_video.extract.datasets.something_something import list_something_something
from scale_video.extract.datasets.split_gaps import warn_of_gaps
from scale_video.extract.datasets.table import list_table
from scale_video.extract.datasets.ucf101 import list_ucf101
from scale_video.extract.datasets.video_files import check_root
from scale_video.store.names import check_name
from scale_video.store.video_table import VideoTable

_RENDERED: Final = ("demo", "demo-hard", "demo-control")
_LISTED: Final[Mapping[str, Callable[..., VideoTable]]] = {
    "ucf101": list_ucf101,
    "hmdb51": list_hmdb51,
    "kinetics400": partial(list_kinetics, dataset="kinetics400"),
    "kinetics600": partial(list_kinetics, dataset="kinetics600"),
    "kinetics700": partial(list_kinetics, dataset="kinetics700"),
    "ssv2": list_something_something,
    "lvu": list_lvu,
}
"""Those with official lists."""
_TABLE: Final = "table"
DATASETS: Final = (*_RENDERED, *_LISTED, "folder", _TABLE)
"""Names that ``list_dataset`` knows."""


def list_dataset(name: str, root: Path, *, split_lists: Path | None = None, table: Path | None = None) -> VideoTable:
    """List the videos of a data set.

    Args:
        name: One of ``DATASETS``; with a table ``table``, or any name that is none of them, so that the stores and runs
            of several tables have names of their own.
        root: The folder that holds its files; ``~`` is expanded.
        split_lists: Folder of the official lists, where they are neither in nor beside the root.
        table: The user's own table of videos.

    Returns:
        The videos, in the order of a store's rows.

    Raises:
        ValueError: no such data set, no such folder, no videos in it, and what the data set itself complains of.
    """
    if table is not None:
        _check_own_name(name)
    elif name == _TABLE:
        raise ValueError("data set 'table' needs a table of its videos; name it by --table (TABLE=)")
    elif name not in DATASETS:
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "one of your own needs its --table (TABLE=)"
        raise ValueError(f"no data set {name!r}; there are: {', '.join(DATASETS)}; {hint}")
    if split_lists is not None and name not in _LISTED:
        raise ValueError(f"--split-lists is for {', '.join(_LISTED)}; leave it out for data set {name!r}")
    root = root.expanduser()
    check_root(root)
    if table is not None:
        return list_table(root, table=table.expanduser())
    if name in _LISTED:
        videos = _LISTED[name](root, split_lists=None if split_lists is None else split_lists.expanduser())
        warn_of_gaps(videos)
        return videos
    if name == "folder":
        return list_folder(root)
    from scale_video.extract.datasets.demo import list_demo  # these pull in the renderer
    from scale_video.extract.datasets.edited_videos import read_manifest

    rendered = read_manifest(root).variant
    if rendered != name:
        raise ValueError(f"{str(root)!r} holds {rendered!r}, not {name!r}; name that data set, or another folder")
    return list_demo(root)


def _check_own_name(name: str) -> None:
    """Refuse to call a table like a data set that is something else: presets and default folders go by the name."""
    if name != _TABLE and (name in DATASETS or name.split("-")[0] == _RENDERED[0]):
        raise ValueError(
            f"{name!r} is a data set that needs no table; leave --table out, or call your own otherwise by --dataset "
            "(DATASET=)"
        )
    check_name(name, what="data set")
