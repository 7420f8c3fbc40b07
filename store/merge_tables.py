"""Tables of videos, one after the other, as a single table: columns must agree, classes are merged by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.store.errors import PlanMismatchError
from scale_video.store.video_table import VideoTable


@dataclass(frozen=True, slots=True)
class MergedTable:
    """Several tables as one."""

    videos: VideoTable
    """All rows, in order."""
    new_classes: Mapping[str, Mapping[str, NDArray[np.int32]]]
    """By label column or label set, and table: the class in ``videos`` that each class of the table is; a last entry of
    -1, so that -1 stays -1."""

    def relabel(self, column: str, table: str, values: NDArray[Any]) -> NDArray[Any]:
        """A table's values of a column as the merged table has them: labels change, all else stays."""
        if column not in self.new_classes:
            return values
        classes = self.new_classes[column][table]
        if column in self.videos.label_sets:
            return _spread(values, classes, num_classes=len(self.videos.class_names[column]))
        relabelled: NDArray[Any] = classes[values]
        return relabelled


def merge_tables(tables: Mapping[str, VideoTable]) -> MergedTable:
    """Put tables one after the other.

    A class that a table lacks, or has at another place, is the class of that name.

    Args:
        tables: by the name that messages call them by.

    Raises:
        PlanMismatchError: label columns, label sets, targets or splits differ, a table has two classes of one name, or
            two tables have a video in common.
    """
    labels = _same("label columns", {name: table.labels for name, table in tables.items()})
    splits = _same("splits", {name: table.splits for name, table in tables.items()})
    label_sets = _same("label sets", {name: table.label_sets for name, table in tables.items()})
    targets = _same("targets", {name: table.targets for name, table in tables.items()})
    _check_ids(tables)
    class_names = {column: _merge_classes(column, tables) for column in (*labels, *label_sets)}
    new_classes = {column: _new_classes(column, names, tables) for column, names in class_names.items()}
    merged = VideoTable(
        ids=tuple(video_id for table in tables.values() for video_id in table.ids),
        paths=tuple(path for table in tables.values() for path in table.paths),
        groups=tuple(group for table in tables.values() for group in table.groups),
        labels={
            column: np.concatenate([new_classes[column][name][table.labels[column]] for name, table in tables.items()])
            for column in labels
        },
        class_names=class_names,
        splits={split: np.concatenate([table.splits[split] for table in tables.values()]) for split in splits},
        label_sets={
            column: np.concatenate(
                [
                    _spread(table.label_sets[column], new_classes[column][name], num_classes=len(class_names[column]))
                    for name, table in tables.items()
                ]
            )
            for column in label_sets
        },
        targets={column: np.concatenate([table.targets[column] for table in tables.values()]) for column in targets},
        start_seconds=_bounds("start_seconds", tables),
        end_seconds=_bounds("end_seconds", tables),
    )
    return MergedTable(merged, new_classes)


def _spread(labels: NDArray[np.int8], classes: NDArray[np.int32], *, num_classes: int) -> NDArray[np.int8]:
    """A label set in the classes of the merged table; a labelled video is of none that its own table does not know."""
    spread = np.full((len(labels), num_classes), -1, dtype=np.int8)
    spread[(labels >= 0).any(axis=1)] = 0
    spread[:, classes[:-1]] = labels
    return spread


def _bounds(name: str, tables: Mapping[str, VideoTable]) -> NDArray[np.float64] | None:
    """Bounds of parts; those of a table of whole files are NaN, if any table has some."""
    bounds = [getattr(table, name) for table in tables.values()]
    if all(found is None for found in bounds):
        return None
    return np.concatenate(
        [
            np.full(table.num_videos, np.nan) if found is None else found
            for table, found in zip(tables.values(), bounds, strict=True)
        ]
    )


def _same(what: str, columns: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The names of columns, which must be the same in all tables."""
    (first, names), *others = ((table, set(names)) for table, names in columns.items())
    for table, found in others:
        if found != names:
            lists = (", ".join(sorted(some)) or "none" for some in (names, found))
            raise PlanMismatchError(
                f"stores {first!r} and {table!r} do not go together: their {what} are {' and '.join(lists)}"
            )
    return tuple(sorted(names))


def _check_ids(tables: Mapping[str, VideoTable]) -> None:
    owner: dict[str, str] = {}
    for name, table in tables.items():
        for video_id in table.ids:
            if video_id in owner:
                raise PlanMismatchError(
                    f"stores {owner[video_id]!r} and {name!r} do not go together: both hold the video {video_id!r}"
                )
        owner.update(dict.fromkeys(table.ids, name))


def _merge_classes(column: str, tables: Mapping[str, VideoTable]) -> tuple[str, ...]:
    """Names of classes in the order in which they first occur."""
    merged: dict[str, None] = {}
    for name, table in tables.items():
        found = table.class_names.get(column, ())
        if len(set(found)) != len(found):
            twice = next(class_name for class_name in found if found.count(class_name) > 1)
            raise PlanMismatchError(
                f"store {name!r} cannot be used with others: {column!r} has two classes called {twice!r}, and classes "
                "are merged by name"
            )
        merged.update(dict.fromkeys(found))
    return tuple(merged)


def _new_classes(
    column: str, class_names: tuple[str, ...], tables: Mapping[str, VideoTable]
) -> dict[str, NDArray[np.int32]]:
    number = {class_name: index for index, class_name in enumerate(class_names)}
    return {
        name: np.array([*(number[old] for old in table.class_names.get(column, ())), -1], dtype=np.int32)
        for name, table in tables.items()
    }
