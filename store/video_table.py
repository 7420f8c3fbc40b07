"""The rows of a data set: which videos there are, and what is known of them before a pixel is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.store.names import check_name, check_relative_paths, check_text, check_texts
from scale_video.store.video_parts import Floats, VideoParts, check_parts

SPLIT_CODES: Final[Mapping[str, int]] = {"none": 0, "train": 1, "validation": 2, "test": 3}
LABEL_SET_CODES: Final[Mapping[str, int]] = {"absent": -1, "no": 0, "yes": 1}


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
    """For each label column and each label set, the name of each class index."""
    splits: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Columns by split name (without the prefix ``split_``): codes of ``SPLIT_CODES``, shape (N,)."""
    label_sets: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    """Columns named ``labels`` or ``labels_<name>``, of several classes a video: shape (N, classes), codes of
    ``LABEL_SET_CODES``; a row of -1 has no labels, a row of 0 has none of the classes."""
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Columns named ``target`` or ``target_<name>``: numbers to predict, shape (N,), NaN where absent."""
    start_seconds: Floats | None = None
    """Shape (N,): where the part of its file that a row is begins, NaN for the file's beginning; None if for all."""
    end_seconds: Floats | None = None
    """Where it ends, which is excluded; NaN for the file's end; None if for all."""

    def __post_init__(self) -> None:
        """Check that every column has a value for every video.

        Raises:
            ValueError: no videos, columns of unequal length, repeated ids, paths that are absolute or lead out of the
                data root, text without UTF-8, columns that cannot be called so, labels without class names, infinite
                targets, parts that end before they begin.
        """
        n = len(self.ids)
        if n == 0:
            raise ValueError("a data set needs at least one video, got none")
        columns = {"paths": self.paths, "groups": self.groups, **self.labels, **self.splits}
        columns |= {**self.label_sets, **self.targets}
        bounds = {"start_seconds": self.start_seconds, "end_seconds": self.end_seconds}
        columns |= {name: column for name, column in bounds.items() if column is not None}
        for name, column in columns.items():
            if len(column) != n:
                raise ValueError(f"column {name!r} has {len(column)} values for {n} videos")
        if len(set(self.ids)) != n:
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"video id {twice!r} occurs twice; ids must be unique")
        for what, texts in (("id", self.ids), ("path", self.paths), ("group", self.groups)):
            check_texts(texts, what=what)
        check_relative_paths(self.paths)
        self._check_labels()
        self._check_label_sets()
        for name, target in self.targets.items():
            _check_column_name(name, stem="target")
            if np.isinf(target).any():
                raise ValueError(f"column {name!r} has an infinite target; leave it out (NaN)")
        check_parts(self.start_seconds, self.end_seconds)
        for name, split in self.splits.items():
            check_name(name, what="split")
            if split.max() > max(SPLIT_CODES.values()):
                raise ValueError(f"split {name!r} has the unknown code {split.max()}")

    def _check_labels(self) -> None:
        if odd := self.class_names.keys() - self.labels.keys() - self.label_sets.keys():
            raise ValueError(f"class_names of {', '.join(sorted(odd))}, but there is no such label column")
        for class_name in (class_name for names in self.class_names.values() for class_name in names):
            check_text(class_name, what="class name")
        for name, label in self.labels.items():
            _check_column_name(name, stem="label")
            class_names = self.class_names.get(name, ())
            if label.min() < -1 or label.max() >= len(class_names):
                raise ValueError(
                    f"column {name!r} has values in [{label.min()}, {label.max()}], but {len(class_names)} classes"
                )

    def _check_label_sets(self) -> None:
        for name, labels in self.label_sets.items():
            _check_column_name(name, stem="labels")
            num_classes = len(self.class_names.get(name, ()))
            if num_classes == 0 or labels.shape != (len(self.ids), num_classes):
                raise ValueError(
                    f"column {name!r} must be of shape (videos, classes), of at least one class, got {labels.shape} "
                    f"for {num_classes} class names"
                )
            if labels.min() < -1 or labels.max() > 1:
                raise ValueError(f"column {name!r} must hold -1, 0 or 1, got [{labels.min()}, {labels.max()}]")

    def take(self, rows: NDArray[np.int64]) -> "VideoTable":
        """The table of some of the videos, in the given order; class names stay as they are."""
        return VideoTable(
            ids=tuple(self.ids[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            labels={name: label[rows] for name, label in self.labels.items()},
            class_names=self.class_names,
            splits={name: split[rows] for name, split in self.splits.items()},
            label_sets={name: labels[rows] for name, labels in self.label_sets.items()},
            targets={name: target[rows] for name, target in self.targets.items()},
            start_seconds=None if self.start_seconds is None else self.start_seconds[rows],
            end_seconds=None if self.end_seconds is None else self.end_seconds[rows],
        )

    @property
    def num_videos(self) -> int:
        """The number of rows, N."""
        return len(self.ids)

    @property
    def parts(self) -> VideoParts:
        """Which part of its file each row is."""
        return VideoParts.of(self.start_seconds, self.end_seconds, num_videos=self.num_videos)

    def sizes_of_splits(self) -> dict[str, dict[str, int]]:
        """How many videos are in each part of each split."""
        return {split: {part: len(self.in_split(split, part)) for part in SPLIT_CODES} for split in sorted(self.splits)}

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

    def own_column(self, split: str) -> str | None:
        """The column to predict that is called after a split, of several tasks that task's; None where there is none.

        # LVU, split like_ratio: target_like_ratio
        """
        there = {*self.labels, *self.label_sets, *self.targets}
        return next((name for stem in ("label", "labels", "target") if (name := f"{stem}_{split}") in there), None)


def video_row_index(ids: tuple[str, ...]) -> dict[str, int]:
    """Row of each id."""
    return {video_id: row for row, video_id in enumerate(ids)}


def _check_column_name(name: str, *, stem: str) -> None:
    what = f"{stem} column"
    if name != stem and not name.startswith(f"{stem}_"):
        raise ValueError(f"{what} {name!r} must be called {stem!r} or '{stem}_<name>'")
    check_name(name, what=what)
