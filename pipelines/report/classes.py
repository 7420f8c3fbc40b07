"""Which classes gain, and which are taken for which, under one protocol and by the lowest seed."""

from collections.abc import Iterator, Sequence
from typing import Final

from scale_video.evaluate.confusion import confusion_counts, most_confused
from scale_video.evaluate.outcomes import Outcomes
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.chosen_rows import (
    CLASS_METRIC,
    both_outcomes,
    class_gains,
    row_name,
    side_title,
    two_sides,
)
from scale_video.pipelines.comparison import outcomes_of
from scale_video.pipelines.draw_gains import MAX_EACH
from scale_video.pipelines.headings import metric_title, protocol_title
from scale_video.pipelines.report.draw import Predictions, draw_class_gains, draw_confusions
from scale_video.pipelines.report.section import Block, FigureBlock, NotThereError, Paragraph, TableBlock
from scale_video.pipelines.report.sources import ReportSources

_PREFERRED: Final = ("knn", "linear", "nonlinear")
"""The first of these that was run is looked at."""
_NUM_PAIRS: Final = 8
"""Of classes that are mixed up most."""


def gain_by_class(sources: ReportSources) -> Iterator[Block]:
    """Paired differences of the test videos of each class."""
    raw, learned = _closest_look(sources)
    gains = class_gains((raw, learned), _class_names(sources, raw), folder=sources.results_folder)
    unit = f"gain in {metric_title(CLASS_METRIC)} (points of percent)"
    many = " Of many classes, those that gain most and least, which by chance alone look more extreme than they are."
    yield FigureBlock(
        draw_class_gains(gains, unit=unit),
        f"{protocol_title(raw.protocol)}, {side_title(row_name(learned), learned.seed)} − {row_name(raw)}, class by "
        "class (test videos in brackets); lines: 95 % interval over the class's test groups."
        f"{many if len(gains) > 2 * MAX_EACH else ''}",
        "Gain of each class by aggregation.",
    )


def mixed_up(sources: ReportSources) -> Iterator[Block]:
    """Confusion matrices side by side, and the pairs that are mixed up most."""
    raw, learned = _closest_look(sources)
    names = _class_names(sources, raw)
    outcomes = both_outcomes((raw, learned), folder=sources.results_folder)
    titles = [side_title(row_name(record), record.seed) for record in (raw, learned)]
    sides = [Predictions(title, found.labels, found.predictions) for title, found in zip(titles, outcomes, strict=True)]
    yield FigureBlock(
        draw_confusions(sides, names),
        f"{protocol_title(raw.protocol)}: of the test videos of each class (row), how many were predicted to be of "
        "each class (column). Blue is right, orange is not; the stronger, the larger the share of the class.",
        "Two confusion matrices side by side, of raw and of aggregated features.",
    )
    for title, found in zip(titles, outcomes, strict=True):
        yield _most_confused(title, found, names)


def _most_confused(title: str, outcomes: Outcomes, names: Sequence[str]) -> Block:
    counts = confusion_counts(outcomes.labels, outcomes.predictions, num_classes=len(names))
    pairs = most_confused(counts, at_most=_NUM_PAIRS)
    if not pairs:
        return Paragraph(f"{title}: every test video is right.")
    rows = tuple(
        (names[pair.label], names[pair.predicted], f"{pair.num_videos} of {pair.num_of_class}") for pair in pairs
    )
    columns = ("true class", "predicted", "test videos")
    return TableBlock(columns, rows, numbers=1, caption=f"Most often mixed up by {title}", folded=True)


def _closest_look(sources: ReportSources) -> tuple[EvaluationRecord, EvaluationRecord]:
    """The rows of raw and of aggregated features whose classes are looked at.

    Raises:
        NotThereError: one of them is not there.
    """
    by_protocol = sources.class_rows
    for protocol in (*_PREFERRED, *by_protocol):
        match two_sides(by_protocol.get(protocol, [])):
            case [raw, learned] if raw.outcomes and learned.outcomes:
                return raw, learned
    raise NotThereError(
        "Raw and aggregated features were not both evaluated on videos of one class each.", sources.command("evaluate")
    )


def _class_names(sources: ReportSources, record: EvaluationRecord) -> tuple[str, ...]:
    """By number; the numbers themselves where the store, which has the names, is not here."""
    try:
        return sources.target.class_names
    except NotThereError:
        found = outcomes_of(record, sources.results_folder)
        return tuple(map(str, range(1 + int(max(found.labels.max(), found.predictions.max())))))
