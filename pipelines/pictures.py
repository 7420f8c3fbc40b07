"""The pictures of an evaluation, as files beside its ``results.json``: what the numbers of a table do not show.

Confusion matrices, what each class gains, accuracy against the number of clips, and a map of the test videos, each with
the raw features beside what SCALE makes of them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.embedding_map import MIN_POINTS, embedding_map, sample_rows
from scale_video.evaluate.result import EvaluationRecord, read_results
from scale_video.pipelines.chosen_rows import (
    AGGREGATED,
    CLASS_METRIC,
    RAW,
    class_gains,
    clip_curves,
    row_name,
    side_title,
    two_sides,
)
from scale_video.pipelines.comparison import outcomes_of
from scale_video.pipelines.console import note
from scale_video.pipelines.draw_clips import draw_clips
from scale_video.pipelines.draw_confusion import Predictions, draw_confusion
from scale_video.pipelines.draw_gains import draw_gains
from scale_video.pipelines.draw_map import draw_map
from scale_video.pipelines.headings import metric_title, origin_title, protocol_title
from scale_video.pipelines.picture_style import new_figure, pictures_available, save
from scale_video.pipelines.preset import default_preset

if TYPE_CHECKING:
    from scale_video.pipelines.candidates import Candidate

FOLDER = "pictures"
"""Beside ``results.json``."""


class PictureBook:
    """Collects what pictures need while representations are probed, and draws them afterwards."""

    def __init__(self) -> None:
        self._vectors: dict[tuple[str, str], tuple[int | None, NDArray[np.float32]]] = {}
        self._labels: NDArray[np.integer[Any]] | None = None
        self._num_videos = 0

    @classmethod
    def if_wanted(cls, wanted: bool | None) -> "PictureBook | None":
        """A book, or None where no pictures are wanted; undecided, they are where they can be drawn.

        Raises:
            ValueError: they are wanted, and matplotlib is not installed.
        """
        if wanted is None and not pictures_available():
            note("no pictures: they need matplotlib (pip install 'scale-video[pictures]')")
            return None
        if wanted:
            new_figure(1, 1)  # so that what is missing is said before hours of probing
        return None if wanted is False else cls()

    def keep(self, candidate: "Candidate") -> None:
        """Keep the test vectors of the raw features, and of the first seed of each other representation and origin."""
        where = (candidate.name, candidate.pretrained_on)
        if candidate.name not in (RAW, *AGGREGATED) or where in self._vectors or candidate.tested.clips:
            return
        if candidate.tested.windows is not None:
            return  # one vector a window, not one a video
        labels = candidate.tested.labels
        if labels.ndim != 1 or labels.dtype.kind != "i":
            return  # a map is coloured by the one class of a video
        labelled = np.flatnonzero(labels >= 0)
        rows = labelled[sample_rows(len(labelled))]
        self._vectors[where] = (candidate.seed, candidate.test[rows])
        self._labels = labels[rows]
        self._num_videos = len(labelled)

    def draw(self, records: Sequence[EvaluationRecord], class_names: Sequence[str], *, folder: Path) -> list[Path]:
        """Draw all that the records allow, once for each origin of the aggregators.

        Args:
            records: Of one call of ``run_evaluation``; rows of other calls on the same features are drawn with them.
            class_names: Of what is predicted; empty where that is no class.
            folder: That of ``results.json``.

        Returns:
            The files, also of pictures that were there before.
        """
        if not class_names or not any(record.metric == CLASS_METRIC for record in records):
            return []
        chosen = _with_others(records, read_results(folder / "results.json"))
        title = _title(records[0])
        learned = [record for record in records if record.representation in AGGREGATED]
        figures: dict[str, Any] = {}
        for origin in dict.fromkeys(record.pretrained_on for record in learned or records[:1]):
            stem = _stem(records[0], origin)
            of_origin = [one for one in chosen if one.representation not in AGGREGATED or one.pretrained_on == origin]
            for protocol in dict.fromkeys(record.protocol for record in of_origin):
                of_protocol = [record for record in of_origin if record.protocol == protocol]
                heading = f"{title}: {protocol_title(protocol)}"
                figures |= {
                    f"{stem}-{protocol}-{name}": figure
                    for name, figure in _of_protocol(of_protocol, class_names, folder=folder, title=heading).items()
                }
            if (the_map := self._map(class_names, origin=origin, title=title)) is not None:
                figures[f"{stem}-map"] = the_map
        return [path for name, figure in figures.items() for path in save(figure, folder / FOLDER, name)]

    def _map(self, class_names: Sequence[str], *, origin: str, title: str) -> Any:
        """The map, where there are enough videos and both sides; else None."""
        raw, learned = (RAW, ""), next(((name, origin) for name in AGGREGATED if (name, origin) in self._vectors), None)
        if self._labels is None or len(self._labels) < MIN_POINTS or learned is None or raw not in self._vectors:
            return None
        sampled = f"{len(self._labels)} of {self._num_videos}" if len(self._labels) < self._num_videos else "all"
        num_videos = len(self._labels) if sampled == "all" else sampled
        sides = [(origin_title(*which), *self._vectors[which]) for which in (raw, learned)]
        maps = [(side_title(name, seed), embedding_map(vectors)) for name, seed, vectors in sides]
        return draw_map(maps, self._labels, class_names, title=f"{title}: t-SNE of {num_videos} test videos")


def _with_others(records: Sequence[EvaluationRecord], there: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """Rows of the picture's metric that differ from these in representation, seed and options alone."""
    origins = {_origin(record) for record in records}
    protocols = {record.protocol for record in records}
    return [
        record
        for record in there
        if record.metric == CLASS_METRIC and record.protocol in protocols and _origin(record) in origins
    ]


def _origin(record: EvaluationRecord) -> tuple[object, ...]:
    learned = record.representation in AGGREGATED
    features = (record.plan_digest, record.test_plan_digest, record.weights_digest, record.forward_digest)
    where = (record.dataset, record.split, record.preset, record.backbone, record.target, *features)
    return (*where, learned, record.pretrained_on)


def _of_protocol(
    records: Sequence[EvaluationRecord], class_names: Sequence[str], *, folder: Path, title: str
) -> Mapping[str, Any]:
    """Figures of one protocol by name."""
    figures: dict[str, Any] = {}
    if sides := two_sides(records):
        predictions = [
            Predictions(side_title(row_name(record), record.seed), found.labels, found.predictions)
            for record, found in ((record, outcomes_of(record, folder)) for record in sides)
        ]
        figures["confusion"] = draw_confusion(predictions, class_names, title=title)
    if len(sides) == 2:
        raw, learned = sides
        gains = class_gains((raw, learned), class_names, folder=folder)
        unit = f"gain in {metric_title(CLASS_METRIC)} (points of percent)"
        heading = f"{title}, {side_title(row_name(learned), learned.seed)} − {row_name(raw)}"
        figures["gains"] = draw_gains(gains, title=heading, unit=unit)
    if curves := clip_curves(records):
        figures["clips"] = draw_clips(curves, title=title, unit=f"{metric_title(CLASS_METRIC)} (%)")
    return figures


def _title(record: EvaluationRecord) -> str:
    return f"{record.dataset}, split {record.split}, {record.backbone}"


def _stem(record: EvaluationRecord, origin: str) -> str:
    """What tells the pictures of one evaluation and origin from those of others in the same folder."""
    parts = [record.backbone, f"split{record.split}"]
    if record.preset != default_preset(record.dataset):
        parts.append(record.preset)
    if origin:
        parts.append(f"from-{origin}")
    if record.target != "label":
        parts.append(record.target)
    return re.sub(r"[^\w.+@-]", "_", "-".join(parts))
