"""Which row of a store a user means: by id, by path, or by number; and where its data root is."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scale_video.pipelines.cli_options import default_data
from scale_video.store.read import FeatureStore

NUM_SUGGESTED: Final = 3
_MAX_COMPARED: Final = 20_000
"""Names that are compared letter by letter, in about two seconds."""


def resolve_data_root(store: FeatureStore, given: Path | None) -> Path:
    """The folder that a store's paths are relative to.

    Raises:
        ValueError: it is not given, and the data set has no usual place; or it is no folder.
    """
    dataset = str(store.attributes.get("dataset"))
    root = given or default_data(dataset)
    if root is None:
        raise ValueError(f"the videos of data set {dataset!r} have no usual place; name their folder by --data (DATA=)")
    root = root.expanduser()
    if not root.is_dir():
        raise ValueError(f"no such folder: {str(root)!r}; name the folder of the videos by --data (DATA=)")
    return root


def find_video(store: FeatureStore, text: str, *, data_root: Path | None = None) -> int | None:
    """The row that a text means.

    Args:
        store: where to look.
        text: a video's id, or its path (relative to the data root, or beneath it).
        data_root: folder of the videos, if it is known.

    Returns:
        The row; None when there is no such video.

    Raises:
        ValueError: it is the path of a file of which several rows are parts.
    """
    ids = store.ids
    names = {text}
    if data_root is not None:
        root = str(data_root.expanduser().absolute())
        names.add(Path(os.path.relpath(Path(text).expanduser().absolute(), root)).as_posix())
    for column in (ids, tuple(store.column("path"))):
        found = [row for row, name in enumerate(column) if name in names]
        if len(found) > 1 and store.parts().any:
            shown = ", ".join(repr(ids[row]) for row in found[:NUM_SUGGESTED])
            raise ValueError(f"{text!r} has {len(found)} parts in store {store.url!r}; name one of them: {shown}, …")
        if found:
            return found[0]
    return None


def find_in_stores(
    stores: Sequence[FeatureStore], text: str, *, data_root: Path | None = None
) -> tuple[FeatureStore, int] | None:
    """The store that holds a video, and its row there; ids and paths of all stores come before numbers of rows.

    Args:
        stores: one, or those of a union in order.
        text: as ``find_video`` takes it, or a row of the union.
        data_root: folder of the videos, if it is known.
    """
    for store in stores:
        row = find_video(store, text, data_root=data_root)
        if row is not None:
            return store, row
    number = int(text) if text.isdecimal() else -1
    for store in stores:
        if 0 <= number < store.num_videos:
            return store, number
        number -= store.num_videos
    return None


def close_matches(ids: Sequence[str], text: str) -> list[str]:
    """Ids that look like a text: those that contain it, else those that are spelled similarly; at most three."""
    wanted = text.casefold()
    containing = [video_id for video_id in ids if wanted in video_id.casefold()]
    if containing:
        return containing[:NUM_SUGGESTED]
    folder, _, name = wanted.rpartition("/")
    neighbours = [video_id for video_id in ids if video_id.casefold().startswith(f"{folder}/")] if folder else []
    compared = (neighbours or ids)[:_MAX_COMPARED]
    spelled = {video_id.casefold(): video_id for video_id in compared}
    spelled |= {video_id.rpartition("/")[2].casefold(): video_id for video_id in compared}
    close = difflib.get_close_matches(wanted, spelled, n=NUM_SUGGESTED)
    close += difflib.get_close_matches(name, spelled, n=NUM_SUGGESTED)
    return list(dict.fromkeys(spelled[match] for match in close))[:NUM_SUGGESTED]
