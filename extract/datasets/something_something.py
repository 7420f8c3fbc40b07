"""Something-Something v2: ``<id>.webm`` files in one folder, and JSON lists that give each a template.

Source: Goyal et al., ICCV 2017 (arXiv 1706.04261), https://www.qualcomm.com/developer/software/something-something-v-2-dataset.
"""

from pathlib import Path
from typing import Final

from scale_video.extract.datasets.matched_list import (
    index_files,
    label_column,
    match_list,
    report_missing,
    report_unlisted,
    rows_of,
    split_codes,
)
from scale_video.extract.datasets.something_something_lists import (
    find_something_lists,
    read_class_names,
    read_something_list,
)
from scale_video.extract.datasets.video_files import VideoFile, find_video_files
from scale_video.store.video_table import VideoTable

SPLIT: Final = "1"
"""Train against validation: the test labels are not among the JSON lists."""


def list_something_something(root: Path, *, split_lists: Path | None = None) -> VideoTable:
    """List Something-Something v2.

    Args:
        root: A folder with the videos anywhere beneath it, such as ``20bn-something-something-v2``.
        split_lists: Folder of the JSON lists; by default looked for in and beside the root.

    Returns:
        Videos sorted by id, which is the file's name whatever folder it is in; classes in the order of ``labels.json``;
        split ``1``, whose test part is the official validation part. The official test videos are in no split. Each
        video is its own group, as who recorded it isn't published. Listed videos that are not there are counted in a
        warning, and so are files that no list names.

    Raises:
        ValueError: no such root, no videos, no lists or two for one part, a list that isn't understood, none of the
            listed videos is there, two files of one name.
    """
    files = sorted(VideoFile(id=file.id.rpartition("/")[2], path=file.path) for file in find_video_files(root))
    row_of_key = index_files(files, key=lambda file: file.id.rpartition(".")[0], dataset="Something-Something v2")
    paths = find_something_lists(root, split_lists=split_lists)
    class_names = read_class_names(paths.pop("labels"))
    lists = {
        part: match_list(
            path.name, read_something_list(path, class_names=frozenset(class_names)), row_of_key=row_of_key
        )
        for part, path in paths.items()
    }
    num_videos = len(files)
    report_missing([matched for part, matched in lists.items() if part != "test" or matched.label_of_row], root=root)
    report_unlisted(rows_of(lists.values(), num_videos=num_videos), where=str(paths["train"].parent))
    index_of_class = {name: index for index, name in enumerate(class_names)}
    ids = tuple(file.id for file in files)
    return VideoTable(
        ids=ids,
        paths=tuple(file.path for file in files),
        groups=ids,
        labels={"label": label_column(lists.values(), index_of_class=index_of_class, num_videos=num_videos)},
        class_names={"label": class_names},
        splits={
            SPLIT: split_codes(SPLIT, {"train": lists["train"], "test": lists["validation"]}, num_videos=num_videos)
        },
    )
