"""``scale-video table``: results of many runs in the layout of the paper's tables.

A row is a backbone with a method (``x``, the backbone alone, or what SCALE makes of it), a column a data set with a
protocol. Cells are means over seeds, draws and the official splits; published figures stand beside ours where one is
known. What is shown comes from ``results.json`` and the outcomes beside it; nothing is computed anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.result import METRICS, PROTOCOLS, EvaluationRecord
from scale_video.pipelines.cells import Cell, Column, Located, column_of, make_cell
from scale_video.pipelines.headings import TABLE_ORDER, is_part
from scale_video.pipelines.preset import default_preset
from scale_video.pipelines.published import PublishedFigure, published_figures
from scale_video.pipelines.result_files import choose, find_results, main_metrics, read_located

OFFICIAL_SPLITS: Mapping[str, tuple[str, ...]] = {"ucf101": ("1", "2", "3"), "hmdb51": ("1", "2", "3")}
"""Data sets whose splits are repetitions of one measurement, which papers average."""
DEFAULT_REPRESENTATIONS = ("x", "cls", "x+cls")
_DIGESTS = ("clips", "test clips", "weights", "preprocessing")


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What a user wants to see."""

    runs: tuple[Path, ...] = ()
    """Run folders or results files; none: all below ``runs/``."""
    protocols: tuple[str, ...] = ()
    """None: all that are there."""
    representations: tuple[str, ...] = DEFAULT_REPRESENTATIONS
    metrics: tuple[str, ...] = ()
    """None: the first of ``METRICS`` that a protocol has; ``all``."""
    splits: tuple[str, ...] = ()
    """None, or ``all``: every split."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """Whose features."""

    backbone: str
    representation: str
    variant: str = ""
    """What tells rows apart that differ in more: the experiment, where its aggregator is from, which features."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """Measured on what, and how."""

    dataset: str
    split: str
    """Its name; empty where the official splits are averaged."""
    measured: Column

    @property
    def order(self) -> tuple[object, ...]:
        """By data set, then as within one."""
        return self.dataset, self.split, self.measured.order


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by row and column; a pair without one was not measured."""

    rows: tuple[TableRow, ...]
    columns: tuple[TableColumn, ...]
    cells: Mapping[tuple[TableRow, TableColumn], Cell]
    published: Mapping[tuple[TableRow, TableColumn], PublishedFigure]


def run_table(request: TableRequest) -> Table:
    """Read results and put them in order.

    Raises:
        FileNotFoundError: no results.
        ValueError: a damaged file, an unknown name, or nothing that was asked for.
    """
    located = read_located(find_results(request.runs))
    splits = tuple(dict.fromkeys(one.record.split for one in located))
    for what, names, known in (
        ("protocol", request.protocols, PROTOCOLS),
        ("representation", request.representations, REPRESENTATIONS),
        ("split", request.splits, splits),
        ("metric", request.metrics, METRICS),
    ):
        located = choose(located, what=what, names=names, known=tuple(known))
    if not request.metrics:
        located = main_metrics(located)
    if not located:
        raise ValueError("no rows to show; `scale-video evaluate` makes them")
    return make_table(located, figures=published_figures())


def make_table(located: Sequence[Located], *, figures: Iterable[PublishedFigure] = ()) -> Table:
    """Sort rows of results into cells, and published figures beside them."""
    variants = _variants([one.record for one in located])
    found: dict[tuple[TableRow, TableColumn], dict[object, Located]] = defaultdict(dict)
    for one in located:
        record = one.record
        where = (_row(record, features=variants[_features(record)]), _column(record))
        # Raw features know of no experiment: their rows under several are one.
        replicate = (record.split, record.seed, tuple(sorted(record.options.items())), record.training)
        found[where].setdefault(replicate, one)
    cells = {where: make_cell(list(rows.values())) for where, rows in found.items()}
    columns = sorted({column for _, column in cells}, key=lambda column: column.order)
    published = _beside(columns, figures, measured=[row for row, _ in cells])
    rows = {row for row, _ in (*cells, *published)}
    return Table(tuple(sorted(rows, key=_row_order)), tuple(columns), cells, published)


def missing_splits(table: Table, column: TableColumn) -> dict[TableRow, tuple[str, ...]]:
    """Rows whose mean in a column is over some of the official splits only, with those that it is over."""
    official = OFFICIAL_SPLITS.get(column.dataset, ())
    of_column = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
    return {row: cell.splits for row, cell in of_column.items() if not set(official) <= set(cell.splits)}


def _features(record: EvaluationRecord) -> tuple[str, ...]:
    digests = (record.plan_digest, record.test_plan_digest, record.weights_digest, record.forward_digest)
    return record.dataset, record.backbone, *digests


def _variants(records: Sequence[EvaluationRecord]) -> dict[tuple[str, ...], str]:
    """A name for features of one backbone and data set, where there are several."""
    named = {}
    for features in sorted({_features(record) for record in records}):
        others = {_features(record) for record in records if _features(record)[:2] == features[:2]}
        digests = [
            f"{what} {digest[:8] or 'unknown'}"
            for index, (what, digest) in enumerate(zip(_DIGESTS, features[2:], strict=True))
            if len({other[2 + index] for other in others}) > 1
        ]
        named[features] = ", ".join(digests)
    return named


def _row(record: EvaluationRecord, *, features: str) -> TableRow:
    parts = [features]
    if record.representation not in RAW_REPRESENTATIONS:
        if record.preset != default_preset(record.dataset):
            parts.append(record.preset)
        if record.pretrained_on:
            parts.append(f"pre-trained on {record.pretrained_on}")
    return TableRow(record.backbone, record.representation, ", ".join(part for part in parts if part))


def _column(record: EvaluationRecord) -> TableColumn:
    averaged = record.split in OFFICIAL_SPLITS.get(record.dataset, ())
    return TableColumn(record.dataset, "" if averaged else record.split, column_of(record))


def _beside(
    columns: Sequence[TableColumn], figures: Iterable[PublishedFigure], *, measured: Sequence[TableRow]
) -> dict[tuple[TableRow, TableColumn], PublishedFigure]:
    """Figures of these columns, at the rows of their backbones; at a row of its own where there is none."""
    placed = {}
    for figure in figures:
        for column in columns:
            of_column = (column.dataset, column.measured.metric, column.measured.target)
            whole = not any(is_part(name) or name in ("k", "temperature") for name, _ in column.measured.options)
            same_split = not column.split or (column.split,) == figure.splits
            if of_column != (figure.dataset, figure.metric, "label") or not same_split or not whole:
                continue
            if column.measured.protocol not in figure.beside:
                continue
            names = [row for row in measured if row.backbone in figure.backbones]
            rows = [row for row in names if row.representation == figure.representation]
            for row in dict.fromkeys(rows or [TableRow(figure.backbones[0], figure.representation)]):
                placed[row, column] = figure
    return placed


def _row_order(row: TableRow) -> tuple[object, ...]:
    """By backbone; what needs no aggregator first, then experiment by experiment."""
    raw = row.representation in RAW_REPRESENTATIONS
    return row.backbone, not raw, row.variant, TABLE_ORDER.index(row.representation)
