"""What the probes predict: a column of the table of videos."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from scale_video.evaluate.targets import TargetKind
from scale_video.store.video_table import VideoTable

DEFAULT_TARGET = "label"


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A column, as ``TargetKind`` describes it."""

    name: str
    kind: TargetKind
    values: NDArray[Any]
    """Of all videos of the store, in the order of its rows."""
    class_names: tuple[str, ...]
    """Empty where the target is a number."""


def usual_target(videos: VideoTable, *, split: str) -> str:
    """The column that is predicted when none is named: the one that is called after the split, or else ``label``."""
    return videos.own_column(split) or DEFAULT_TARGET


def read_target(videos: VideoTable, name: str, *, dataset: str) -> ProbeTarget:
    """A column by its name: ``label…`` of one class a video, ``labels…`` of several, ``target…`` of numbers.

    Args:
        videos: Of a store.
        name: Of the column.
        dataset: What the error calls it.

    Raises:
        ValueError: there is no such column; the message names those that are there.
    """
    if name in videos.labels:
        return ProbeTarget(name, "class", videos.labels[name], videos.class_names[name])
    if name in videos.label_sets:
        return ProbeTarget(name, "classes", videos.label_sets[name], videos.class_names[name])
    if name in videos.targets:
        return ProbeTarget(name, "number", videos.targets[name], ())
    there = (*videos.labels, *videos.label_sets, *videos.targets)
    if not there:
        raise ValueError(
            f"the probes need labels, and data set {dataset!r} has none; put the videos into one folder per class, or "
            "give them labels in a table (--dataset table), and extract again"
        )
    raise ValueError(f"data set {dataset!r} has no column {name!r} to predict; say --target {' or '.join(there)}")
