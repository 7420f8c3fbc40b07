"""The table of videos in memory: filtered, sorted and counted in some hundredths of a second, at any number of rows."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.explorer.url_state import TableState
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore
from scale_video.store.video_parts import VideoParts
from scale_video.store.video_probe import FAILURES, VideoStatus
from scale_video.store.video_table import SPLIT_CODES

SORTS: Final = ("row", "path", "class", "split", "status", "duration")
UNKNOWN: Final = 255
"""In the place of a status that has not been read yet."""
FAILED: Final = "failed"
"""In the place of the name of a status: all failures."""
_SPLIT_NAMES: Final = {code: name for name, code in SPLIT_CODES.items()}


class Catalogue:
    """What is known of every video before features are read."""

    def __init__(self, store: ReadableStore) -> None:
        """Read the columns that the table shows; of a large store, texts are most of the time that it takes.

        Raises:
            StoreError: they cannot be read.
            ValueError: a column is not what it must be.
        """
        names = store.column_names
        members = (store,) if isinstance(store, FeatureStore) else store.stores
        parts = [one.parts() for one in members]
        bounds = VideoParts(
            np.concatenate([part.begin_seconds for part in parts]), np.concatenate([part.end_seconds for part in parts])
        )
        self.num_videos = store.num_videos
        self.paths: Sequence[str] = store.column("path").tolist()
        self.names: Sequence[str] = self.paths
        """What videos are called: the path, with ``#start-end`` for a part of a file."""
        if bounds.any:
            self.names = [f"{path}{bounds.suffix(row)}" for row, path in enumerate(self.paths)]
        self.durations = np.maximum(bounds.durations(store.column("duration_seconds")), 0)
        """Seconds, shape (N,); 0 where the file could not be read, or ends before the part begins."""
        self.class_names = store.class_names
        self.labels: Mapping[str, NDArray[Any]] = {
            name: store.column(name) for name in names if name.startswith("label")
        }
        """Class of each video, shape (N,), or for sets which classes it has, shape (N, classes)."""
        self.splits = {name.removeprefix("split_"): store.column(name) for name in names if name.startswith("split_")}
        self.targets = {name: store.column(name) for name in names if name.startswith("target")}
        for name, values in self.labels.items():
            if values.ndim == 1 and not -1 <= values.min() <= values.max() < len(self.class_names.get(name, ())):
                raise ValueError(f"column {name!r} has classes without a name; the store is damaged, make it anew")

    def label_column(self, wanted: str) -> str | None:
        """The column of labels that is meant: the first where none is named; None where there is none.

        Raises:
            ValueError: there is no such column.
        """
        if wanted and wanted not in self.labels:
            raise ValueError(f"there is no column of labels {wanted!r}; there are: {', '.join(self.labels) or 'none'}")
        return wanted or next(iter(self.labels), None)

    def classes(self, row: int, label: str | None) -> tuple[str, ...]:
        """Names of the classes of a video; none where it has no label."""
        if label is None:
            return ()
        values, names = self.labels[label], self.class_names[label]
        if values.ndim == 1:
            return (names[values[row]],) if values[row] >= 0 else ()
        return tuple(names[index] for index in np.flatnonzero(values[row] == 1))

    def has_class(self, label: str | None, class_name: str) -> NDArray[np.bool_]:
        """Which videos are of a class, shape (N,).

        Raises:
            ValueError: there is no such class.
        """
        names = self.class_names[label] if label is not None else ()
        if class_name not in names or label is None:
            raise ValueError(f"there is no class {class_name[:80]!r} in column {label!r}")
        values, index = self.labels[label], names.index(class_name)
        found: NDArray[np.bool_] = values == index if values.ndim == 1 else values[:, index] == 1
        return found

    def shares_class(self, row: int, label: str | None) -> NDArray[np.bool_]:
        """Which videos have a class in common with one, shape (N,)."""
        shared = np.zeros(self.num_videos, np.bool_)
        for class_name in self.classes(row, label):
            shared |= self.has_class(label, class_name)
        return shared

    def split_text(self, row: int) -> str:
        """``train``; where there are several splits ``1 train, 2 test``; without those that leave the video out."""
        parts = [(name, _SPLIT_NAMES[int(codes[row])]) for name, codes in self.splits.items() if codes[row]]
        return ", ".join(part if len(self.splits) == 1 else f"{name} {part}" for name, part in parts)

    def split_choices(self) -> list[str]:
        """``1:train``, for every part of a split that has videos."""
        return [f"{name}:{_SPLIT_NAMES[int(code)]}" for name, codes in self.splits.items() for code in np.unique(codes)]

    def is_class_elsewhere(self, label: str | None, class_name: str) -> bool:
        """Whether it is a class of another column of labels alone."""
        having = [column for column in self.labels if class_name in self.class_names[column]]
        return bool(having) and label not in having

    def select(self, state: TableState, statuses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The rows that a page's filters leave, but for that of statuses, in the order that it asks for.

        Args:
            state: Filters and order.
            statuses: Of every video, by which rows may be sorted.

        Raises:
            ValueError: there is no such class, split or order.
        """
        kept = np.ones(self.num_videos, np.bool_)
        if state.class_name:
            kept &= self.has_class(self.label_column(state.label), state.class_name)
        if state.split:
            kept &= self._in_split(state.split)
        rows = np.flatnonzero(kept)
        if state.search:
            wanted = state.search.casefold()
            rows = np.array([row for row in rows.tolist() if wanted in self._folded_names[row]], np.int64)
        return self._sorted(rows, state, statuses)

    def _in_split(self, text: str) -> NDArray[np.bool_]:
        name, _, part = text.partition(":")
        if name not in self.splits or part not in SPLIT_CODES:
            raise ValueError(f"there is no split {text[:80]!r}; there are: {', '.join(self.split_choices()) or 'none'}")
        chosen: NDArray[np.bool_] = self.splits[name] == SPLIT_CODES[part]
        return chosen

    def _sorted(self, rows: NDArray[np.int64], state: TableState, statuses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Equal ones stay in the order of rows, whichever way the others are sorted."""
        name, falling = state.sort.removeprefix("-"), state.sort.startswith("-")
        if name not in SORTS:
            raise ValueError(f"there is no order by {name[:40]!r}; there is: {', '.join(SORTS)}")
        if name == "row":
            return rows[::-1] if falling else rows
        key = self._key(name, self.label_column(state.label), statuses)[rows].astype(np.float64)
        return rows[np.argsort(-key if falling else key, kind="stable")]

    def _key(self, name: str, label: str | None, statuses: NDArray[np.uint8]) -> NDArray[Any]:
        """Numbers that sort videos, shape (N,)."""
        if name == "path":
            return self._path_ranks
        if name == "duration":
            return self.durations
        if name == "status":
            return statuses
        if name == "split":
            return next(iter(self.splits.values()), np.zeros(self.num_videos))
        if label is None:
            return np.zeros(self.num_videos)
        values = self.labels[label]
        classes = values if values.ndim == 1 else np.where((values == 1).any(axis=1), (values == 1).argmax(axis=1), -1)
        ranks: NDArray[np.int64] = _ranks(self.class_names[label])[classes]
        return ranks

    @cached_property
    def _folded_names(self) -> list[str]:
        return [name.casefold() for name in self.names]

    @cached_property
    def _path_ranks(self) -> NDArray[np.int64]:
        return _ranks(self.names)[:-1]


def status_filter(name: str) -> frozenset[int]:
    """Codes of the statuses that a filter means.

    Raises:
        ValueError: there is none of this name.
    """
    by_name = {status.name.lower(): frozenset({int(status)}) for status in VideoStatus} | {FAILED: frozenset(FAILURES)}
    if name not in by_name:
        raise ValueError(f"there is no status {name[:40]!r}; there is: {', '.join(by_name)}")
    return by_name[name]


def _ranks(texts: Sequence[str]) -> NDArray[np.int64]:
    """The place of each text in alphabetical order; a last entry of -1 is for the index -1."""
    ranks = np.full(len(texts) + 1, -1, np.int64)
    ranks[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return ranks
