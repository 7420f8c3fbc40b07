"""The rows of a data set: which videos there are, and what is known of them before a pixel is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.names import check_name, check_relative_path, check_text

SPLIT_CODES: Final[Mapping[str, int]] = {"none": 0, "train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class VideoTable:
    """N videos in the order of their rows; all columns are as long as ``ids``."""

    ids: tuple[str, ...]
    """Unique, NFC-normalised relative POSIX paths (with ``#start-end`` for a part of a file); they seed every draw."""
    paths: tuple[str, ...]
    """Paths of the files as the file system spells them, relative to the data root, POSIX separators."""
    groups: tuple[str, ...]
    """Source film or recording; hold-outs and bootstraps keep a group together. Default: the video's own id."""
    labels: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    """Columns named ``label`` or ``label_<name>``: class indices, shape (N,), -1 where absent."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each label column, the name of each class index."""
    splits: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Columns by split name (without the prefix ``split_``): codes of ``SPLIT_CODES``, shape (N,)."""

    def __post_init__(self) -> None:
        """Check that every column has a value for every video.

        Raises:
            ValueError: no videos, columns of unequal length, repeated ids, paths that are absolute or lead out of the
                data root, text without UTF-8, columns that cannot be called so, labels without class names.
        """
        n = len(self.ids)
        if n == 0:
            raise ValueError("a data set needs at least one video, got none")
        columns = {"paths": self.paths, "groups": self.groups, **self.labels, **self.splits}
        for name, column in columns.items():
            if len(column) != n:
                raise ValueError(f"column {name!r} has {len(column)} values for {n} videos")
        if len(set(self.ids)) != n:
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"video id {twice!r} occurs twice; ids must be unique")
        for what, texts in (("id", self.ids), ("path", self.paths), ("group", self.groups)):
            for text in texts:
                check_text(text, what=what)
        for path in self.paths:
            check_relative_path(path)
        self._check_labels()
        for name, split in self.splits.items():
            check_name(name, what="split")
            if split.max() > max(SPLIT_CODES.values()):
                raise ValueError(f"split {name!r} has the unknown code {split.max()}")

    def _check_labels(self) -> None:
        if odd := self.class_names.keys() - self.labels.keys():
            raise ValueError(f"class_names of {', '.join(sorted(odd))}, but there is no such label column")
        for name, label in self.labels.items():
            if name != "label" and not name.startswith("label_"):
                raise ValueError(f"label column {name!r} must be called 'label' or 'label_<name>'")
            check_name(name, what="label column")
            class_names = self.class_names.get(name, ())
            for class_name in class_names:
                check_text(class_name, what="class name")
            if label.min() < -1 or label.max() >= len(class_names):
                raise ValueError(
                    f"column {name!r} has values in [{label.min()}, {label.max()}], but {len(class_names)} classes"
                )

    def take(self, rows: NDArray[np.int64]) -> "VideoTable":
        """The table of some of the videos, in the given order; class names stay as they are."""
        return VideoTable(
            ids=tuple(self.ids[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            labels={name: label[rows] for name, label in self.labels.items()},
            class_names=self.class_names,
            splits={name: split[rows] for name, split in self.splits.items()},
        )

    @property
    def num_videos(self) -> int:
        """The number of rows, N."""
        return len(self.ids)

    def in_split(self, split: str, part: str) -> NDArray[np.int64]:
        """Rows of one part (``train``, ``validation``, ``test``) of a named split, ascending.

        Raises:
            ValueError: there is no such split or part.
        """
        if split not in self.splits:
            known = ", ".join(sorted(self.splits)) or "none"
            raise ValueError(f"no split {split!r} in this data set; it has: {known}")
        if part not in SPLIT_CODES:
            raise ValueError(f"part {part!r} is none of {', '.join(SPLIT_CODES)}")
        return np.flatnonzero(self.splits[split] == SPLIT_CODES[part])


def video_row_index(ids: tuple[str, ...]) -> dict[str, int]:
    """Row of each id."""
    return {video_id: row for row, video_id in enumerate(ids)}
