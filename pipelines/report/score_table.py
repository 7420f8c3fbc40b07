"""The table of an experiment's scores, and its main part."""

from dataclasses import replace

from scale_video.evaluate.result import METRICS
from scale_video.pipelines.headings import is_part
from scale_video.pipelines.report.section import TableBlock
from scale_video.pipelines.table_formats import lay_out, method_title
from scale_video.pipelines.tables import Table, TableColumn


def main_part(table: Table) -> Table:
    """The columns of the first metric of each protocol with all clips and labels, and the rows that are in them."""
    metrics = tuple(METRICS)
    whole = [column for column in table.columns if not any(is_part(name) for name, _ in column.measured.options)]
    first: dict[tuple[str, str], str] = {}
    for column in whole:
        where = _probe(column)
        first[where] = min(first.get(where, column.measured.metric), column.measured.metric, key=metrics.index)
    return _columns(table, [column for column in whole if first[_probe(column)] == column.measured.metric])


def table_block(table: Table, *, caption: str = "", folded: bool = False) -> TableBlock:
    """A table as ``scale-video table`` has it, on a page."""
    lines = lay_out(table, intervals=True)
    several = len({row.backbone for row, _ in lines.rows}) > 1  # published figures may be of another name
    return TableBlock(
        (*(["backbone"] if several else []), "representation", *lines.headings),
        tuple((*([row.backbone] if several else []), method_title(row), *cells) for row, cells in lines.rows),
        numbers=len(lines.headings),
        caption=caption,
        notes=lines.notes,
        folded=folded,
    )


def _probe(column: TableColumn) -> tuple[str, str]:
    return column.measured.protocol, column.measured.target


def _columns(table: Table, columns: list[TableColumn]) -> Table:
    cells = {where: cell for where, cell in table.cells.items() if where[1] in columns}
    published = {where: figure for where, figure in table.published.items() if where[1] in columns}
    rows = {row for row, _ in (*cells, *published)}
    return replace(
        table,
        rows=tuple(row for row in table.rows if row in rows),
        columns=tuple(columns),
        cells=cells,
        published=published,
    )
