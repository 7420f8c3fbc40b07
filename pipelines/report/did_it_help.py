"""Section 2: the scores, what is gained over the raw features, with how few clips, on which classes, what is mixed up.

All of it is read from ``results.json`` and the outcomes beside it; nothing is probed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from scale_video.evaluate.confusion import confusion_counts, most_confused
from scale_video.evaluate.outcomes import Outcomes
from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import LOWER_IS_BETTER, PROTOCOLS, EvaluationRecord
from scale_video.evaluate.spread import interval_of_mean
from scale_video.pipelines.cells import Cell, Located
from scale_video.pipelines.chosen_rows import (
    CLASS_METRIC,
    RAW,
    both_outcomes,
    class_gains,
    clip_curves,
    row_name,
    side_title,
    two_sides,
)
from scale_video.pipelines.comparison import in_order_of, outcomes_of
from scale_video.pipelines.draw_gains import MAX_EACH
from scale_video.pipelines.headings import is_part, metric_title, protocol_title, shown_difference
from scale_video.pipelines.published import published_figures
from scale_video.pipelines.report.draw import (
    Interval,
    Predictions,
    draw_class_gains,
    draw_clip_curves,
    draw_confusions,
    draw_differences,
)
from scale_video.pipelines.report.section import (
    Block,
    FigureBlock,
    Missing,
    NotThereError,
    Outline,
    Paragraph,
    Part,
    TableBlock,
)
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.result_files import main_metrics
from scale_video.pipelines.table_formats import lay_out, method_title
from scale_video.pipelines.tables import DEFAULT_REPRESENTATIONS, Table, TableColumn, TableRow, make_table

_PREFERRED: Final = ("knn", "linear", "nonlinear")
"""The first of these that was run is the one whose classes are looked at."""
_NUM_PAIRS: Final = 8
"""Of classes that are mixed up most."""


def _scores(sources: ReportSources) -> Iterator[Block]:
    rows = _of_experiment(sources)
    whole = [one for one in rows if not any(map(is_part, one.record.options))]
    yield _table_block(main_metrics(whole))
    if not any(one.record.checkpoint for one in rows):
        yield Missing("No aggregator was evaluated.", f"{sources.command('pretrain')} && {sources.command('evaluate')}")
    yield _table_block(rows, caption="All metrics, and probes with fewer clips or labels", folded=True)
    if sources.num_of_other_features:
        yield Paragraph(
            f"{sources.num_of_other_features} rows of results.json are of other features than the store's, and left "
            "out."
        )


def _gain(sources: ReportSources) -> Iterator[Block]:
    whole = [one for one in _of_experiment(sources) if not any(map(is_part, one.record.options))]
    table = make_table(main_metrics(whole))
    differences = _differences(sources, table)
    if not differences:
        raise NotThereError("x was not evaluated beside another representation.", sources.command("evaluate"))
    columns = [column for column in table.columns if any(column == of for _, of in differences)]
    rows = [row for row in table.rows if any(row == of for of, _ in differences)]
    yield TableBlock(
        ("gain over x", *(column.measured.title(with_metric=True) for column in columns)),
        tuple((method_title(row), *(_difference_text(differences, row, column) for column in columns)) for row in rows),
        numbers=len(columns),
        notes=(
            "in points of percent, on the same test videos [95 % interval over test groups]; of several seeds, of the "
            "mean score of each video",
        ),
    )
    shares = [column for column in columns if column.measured.metric not in LOWER_IS_BETTER]
    if shares:
        found = {
            column.measured.title(with_metric=True): {
                method_title(row): _in_points(differences[row, column]) for row in rows if (row, column) in differences
            }
            for column in shares
        }
        yield FigureBlock(
            draw_differences(found, unit="gain over x (points of percent)"),
            "What each representation gains over the mean of the raw features x; lines: 95 % interval over test "
            "groups. The bins, x-whitened and init are what keeps the comparison honest: order without learning, "
            "better scaled axes, and the same aggregator before training.",
            "Gains over x by representation and protocol; the numbers are in the table above.",
        )


def _others(sources: ReportSources) -> Iterator[Block]:
    """The same features under other experiments: a preset as published, a label, aggregators from elsewhere."""
    rows = [
        Located(record, sources.results_folder)
        for record in sources.records
        if record.representation in DEFAULT_REPRESENTATIONS and not any(map(is_part, record.options))
    ]
    if len({(one.record.preset, one.record.pretrained_on) for one in rows if one.record.checkpoint}) < 2:
        other = "paper" if sources.experiment.experiment != "paper" else "honest"
        raise NotThereError(
            "No other experiment was evaluated on these features, such as the other preset.",
            f"{sources.command('pretrain', preset=other)} && "
            f"{sources.command('evaluate', '--allow-seen', preset=other)}",
        )
    yield _table_block(main_metrics(rows))


def _few_clips(sources: ReportSources) -> Iterator[Block]:
    there = False
    for protocol, records in _by_protocol(sources).items():
        if curves := clip_curves(records):
            there = True
            yield FigureBlock(
                draw_clip_curves(curves, unit=f"{metric_title(CLASS_METRIC)} (%)"),
                f"{protocol_title(protocol)} with so many random clips of each test video; bands: lowest to highest of "
                "seeds and draws; dashed: all clips.",
                f"Accuracy of {protocol_title(protocol)} against the number of clips of a test video.",
            )
    if not there:
        raise NotThereError(
            "Nothing was tested with fewer clips.",
            sources.command("evaluate", "--clips", "1,2,4,8", "--clip-draws", "3"),
        )


def _per_class(sources: ReportSources) -> Iterator[Block]:
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


def _confusion(sources: ReportSources) -> Iterator[Block]:
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
        yield _mixed_up(title, found, names)


def _mixed_up(title: str, outcomes: Outcomes, names: Sequence[str]) -> Block:
    counts = confusion_counts(outcomes.labels, outcomes.predictions, num_classes=len(names))
    pairs = most_confused(counts, at_most=_NUM_PAIRS)
    if not pairs:
        return Paragraph(f"{title}: every test video is right.")
    rows = tuple(
        (names[pair.label], names[pair.predicted], f"{pair.num_videos} of {pair.num_of_class}") for pair in pairs
    )
    columns = ("true class", "predicted", "test videos")
    return TableBlock(columns, rows, numbers=1, caption=f"Most often mixed up by {title}", folded=True)


def _of_experiment(sources: ReportSources) -> list[Located]:
    """Rows of this experiment; the raw features, which know of none, also where another one probed them."""
    name = sources.experiment.experiment
    return [
        Located(record, sources.results_folder)
        for record in sources.records
        if (record.preset == name or record.representation in RAW_REPRESENTATIONS) and not record.pretrained_on
    ]


def _table_block(rows: Sequence[Located], *, caption: str = "", folded: bool = False) -> TableBlock:
    lines = lay_out(make_table(rows, figures=published_figures()), intervals=True)
    several = len({row.backbone for row, _ in lines.rows}) > 1  # published figures may be of another name
    return TableBlock(
        (*(["backbone"] if several else []), "representation", *lines.headings),
        tuple((*([row.backbone] if several else []), method_title(row), *cells) for row, cells in lines.rows),
        numbers=len(lines.headings),
        caption=caption,
        notes=lines.notes,
        folded=folded,
    )


def _differences(sources: ReportSources, table: Table) -> dict[tuple[TableRow, TableColumn], Interval]:
    """Of each cell to the one of x in its column, as fractions; none where a metric is no mean over videos."""
    raw = next((row for row in table.rows if row.representation == RAW), None)
    found = {}
    for (row, column), cell in table.cells.items():
        beside = table.cells.get((raw, column)) if raw is not None and row != raw else None
        if beside is not None and (difference := _difference(sources, beside, cell)) is not None:
            found[row, column] = difference
    return found


def _difference(sources: ReportSources, raw: Cell, other: Cell) -> Interval | None:
    first = outcomes_of(raw.records[0], sources.results_folder)
    metric = raw.records[0].metric
    if metric not in first.scores:
        return None
    seconds = [
        in_order_of(first, outcomes_of(record, sources.results_folder), names=(RAW, record.representation))
        for record in other.records
    ]
    gains = np.mean([second.scores[metric] for second in seconds], axis=0) - first.scores[metric]
    low, high = interval_of_mean([gains], [first.groups])
    return Interval(float(gains.mean()), low, high)


def _difference_text(
    differences: dict[tuple[TableRow, TableColumn], Interval], row: TableRow, column: TableColumn
) -> str:
    if (row, column) not in differences:
        return "–"
    found = differences[row, column]
    value, low, high = (
        shown_difference(number, column.measured.metric) for number in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


def _in_points(difference: Interval) -> Interval:
    return Interval(100 * difference.value, 100 * difference.low, 100 * difference.high)


def _by_protocol(sources: ReportSources) -> dict[str, list[EvaluationRecord]]:
    """Rows of this experiment about videos of one class each."""
    found: dict[str, list[EvaluationRecord]] = defaultdict(list)
    for one in sorted(_of_experiment(sources), key=lambda one: PROTOCOLS.index(one.record.protocol)):
        if one.record.metric == CLASS_METRIC:
            found[one.record.protocol].append(one.record)
    return found


def _closest_look(sources: ReportSources) -> tuple[EvaluationRecord, EvaluationRecord]:
    """The rows of raw and of aggregated features whose classes are looked at.

    Raises:
        NotThereError: one of them is not there.
    """
    by_protocol = _by_protocol(sources)
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


DID_IT_HELP: Final = Outline(
    "Did it help",
    "did-it-help",
    (
        Part("Scores", _scores),
        Part("Gain over the raw features", _gain),
        Part("Beside other experiments", _others),
        Part("With fewer clips", _few_clips),
        Part("Gain by class", _per_class),
        Part("What is mixed up", _confusion),
    ),
)
