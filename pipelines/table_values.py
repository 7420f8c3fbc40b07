"""A table of results as plain values, one for each cell: what ``table --json`` prints."""

from collections.abc import Iterator
from dataclasses import dataclass

from scale_video.pipelines.tables import Table


@dataclass(frozen=True, slots=True)
class TableValue:
    """What was measured of one method in one column; shares are fractions."""

    dataset: str
    splits: tuple[str, ...]
    """That the value is the mean over."""
    backbone: str
    representation: str
    variant: str
    protocol: str
    metric: str
    target: str
    options: dict[str, float]
    value: float | None
    """None: not measured; there is a published figure only."""
    ci_low: float | None
    ci_high: float | None
    low: float | None
    high: float | None
    spread_of: str
    seen: bool
    """Whether an aggregator in it was pre-trained on test videos."""
    num_rows: int
    """Of results.json that it is made of."""
    note: str
    paper: float | None
    paper_source: str


def table_values(table: Table) -> Iterator[TableValue]:
    """The cells, row by row."""
    for row, column in ((row, column) for row in table.rows for column in table.columns):
        cell, figure = table.cells.get((row, column)), table.published.get((row, column))
        if cell is None and figure is None:
            continue
        yield TableValue(
            dataset=column.dataset,
            splits=cell.splits if cell else figure.splits if figure else (),
            backbone=row.backbone,
            representation=row.representation,
            variant=row.variant,
            protocol=column.measured.protocol,
            metric=column.measured.metric,
            target=column.measured.target,
            options=dict(column.measured.options),
            value=cell.value if cell else None,
            ci_low=cell.ci_low if cell else None,
            ci_high=cell.ci_high if cell else None,
            low=cell.low if cell else None,
            high=cell.high if cell else None,
            spread_of=cell.spread_of if cell else "",
            seen=cell.seen if cell else False,
            num_rows=len(cell.records) if cell else 0,
            note=cell.note if cell else "",
            paper=figure.value if figure else None,
            paper_source=f"{figure.source}; {figure.how}" if figure else "",
        )
