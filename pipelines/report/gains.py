"""What each representation gains over the raw features, on the same test videos."""

from collections.abc import Iterator

import numpy as np

from scale_video.evaluate.result import LOWER_IS_BETTER
from scale_video.evaluate.spread import interval_of_mean
from scale_video.pipelines.cells import Cell
from scale_video.pipelines.chosen_rows import RAW
from scale_video.pipelines.comparison import in_order_of, outcomes_of
from scale_video.pipelines.headings import shown_difference
from scale_video.pipelines.report.draw import Interval, draw_differences
from scale_video.pipelines.report.score_table import main_part
from scale_video.pipelines.report.section import Block, FigureBlock, NotThereError, TableBlock
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.table_formats import method_title
from scale_video.pipelines.tables import Table, TableColumn, TableRow


def gain_over_raw(sources: ReportSources) -> Iterator[Block]:
    """A table and a figure of paired differences; of several seeds, of the mean score of each test video."""
    table = main_part(sources.own_table)
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


def _differences(sources: ReportSources, table: Table) -> dict[tuple[TableRow, TableColumn], Interval]:
    """Of each cell to the one of x in its column, as fractions; none where a metric is no mean over videos."""
    raw = next((row for row, _ in table.cells if row.representation == RAW), None)  # ours, not a published one
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
    if not np.isfinite((low, high)).all():  # a single group, which says nothing about others: as compare_paired
        high = max(1.0, *(float(one.scores[metric].max()) for one in (first, *seconds)))
        low = -high
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
