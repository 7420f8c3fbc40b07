"""A table of results as text: Markdown, LaTeX with booktabs, or CSV with one line a value."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby

from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.cells import spread_notes
from scale_video.pipelines.headings import shown
from scale_video.pipelines.tables import Table, TableColumn, TableRow, missing_splits

NOT_MEASURED = "not measured"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "ρ": r"$\rho$",
    "*": r"$^*$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
} | {character: f"\\{character}" for character in "&%$#_{}"}


@dataclass(frozen=True, slots=True)
class TableLines:
    """A table as text, before any markup."""

    datasets: tuple[str, ...]
    """Heading above each column of numbers; equal neighbours belong together."""
    headings: tuple[str, ...]
    rows: tuple[tuple[TableRow, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def as_markdown(table: Table, *, intervals: bool = True) -> str:
    """A table whose columns are aligned, with notes below."""
    lines = lay_out(table, intervals=intervals)
    headings = ["backbone", "method", *(", ".join(pair) for pair in zip(lines.datasets, lines.headings, strict=True))]
    texts = [[row.backbone, method_title(row), *cells] for row, cells in lines.rows]
    cells = [[_markdown(text) for text in line] for line in (headings, *texts)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    padded = [
        [
            text.ljust(width) if index < 2 else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (cells[0], rule, *cells[1:])
    ]
    notes = [f"- {_markdown(note)}" for note in lines.notes]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in padded), *([""] if notes else []), *notes]) + "\n"


def as_latex(table: Table, *, intervals: bool = True) -> str:
    """A ``tabular`` for the package booktabs; a data set spans its columns, backbones are set apart."""
    lines = lay_out(table, intervals=intervals)
    num_columns = len(lines.headings)
    spans, rules, first = [], [], 3
    for dataset, group in groupby(lines.datasets):
        width = len(list(group))
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    text = [
        "% \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{ll{'r' * num_columns}}}",
        r"\toprule",
        rf" & & {' & '.join(spans)} \\",
        "".join(rules),
        rf"backbone & method & {' & '.join(map(_latex, lines.headings))} \\",
    ]
    for backbone, of_backbone in groupby(lines.rows, key=lambda line: line[0].backbone):
        text.append(r"\midrule")
        for index, (row, cells) in enumerate(of_backbone):
            name = _latex(backbone) if index == 0 else ""
            text.append(rf"{name} & {_latex(method_title(row))} & {' & '.join(map(_latex, cells))} \\")
    text.append(r"\bottomrule")
    whole_width = rf"\multicolumn{{{2 + num_columns}}}{{@{{}}p{{\linewidth}}@{{}}}}"
    text += [rf"{whole_width}{{\footnotesize {_latex(note)}}} \\" for note in lines.notes]
    return "\n".join([*text, r"\end{tabular}"]) + "\n"


def as_csv(table: Table) -> str:
    """One line for each row of results that a cell is made of, with all of its fields as they are in the file.

    Shares are fractions here. ``paper`` and ``paper_source`` hold a published figure; a line with nothing but these and
    ``not measured`` as its note stands for a figure that we have no row for.
    """
    names = [field.name for field in fields(EvaluationRecord)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*names, "paper", "paper_source"], lineterminator="\n", restval="")
    writer.writeheader()
    for where in ((row, column) for row in table.rows for column in table.columns):
        figure = table.published.get(where)
        published = {} if figure is None else {"paper": figure.value, "paper_source": f"{figure.source}; {figure.how}"}
        if where in table.cells:
            for record in table.cells[where].records:
                writer.writerow({name: _csv(value) for name, value in asdict(record).items()} | published)
        elif figure is not None:
            row, column = where
            writer.writerow(
                {"dataset": column.dataset, "backbone": row.backbone, "representation": row.representation}
                | {"protocol": column.measured.protocol, "metric": column.measured.metric, "note": NOT_MEASURED}
                | published
            )
    return stream.getvalue()


def _csv(value: object) -> object:
    if value is None:
        return ""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def lay_out(table: Table, *, intervals: bool) -> TableLines:
    """Put a table into words: for each column ours and, where any is known, the paper's."""
    sources = list(dict.fromkeys(f"{figure.source}: {figure.how}" for figure in table.published.values()))
    datasets, headings, columns = [], [], []
    for column in table.columns:
        with_paper = any((row, column) in table.published for row in table.rows)
        metric = column.measured.title(with_metric=True)
        datasets += [_dataset(table, column)] * (1 + with_paper)
        headings += [metric, *(["paper"] if with_paper else [])]
        columns.append([_ours(table, row, column, intervals=intervals) for row in table.rows])
        if with_paper:
            columns.append([_papers(table, row, column, sources) for row in table.rows])
    rows = tuple((row, tuple(cells)) for row, *cells in zip(table.rows, *columns, strict=True))
    notes = [
        *spread_notes(table.cells.values(), intervals=intervals),
        *(f"paper ({number}): {source}" for number, source in enumerate(sources, start=1)),
        *dict.fromkeys(record.note for cell in table.cells.values() for record in cell.records if record.note),
    ]
    return TableLines(tuple(datasets), tuple(headings), rows, tuple(notes))


def _dataset(table: Table, column: TableColumn) -> str:
    """With the split where it is not the usual one, and with those that a mean is over where all rows lack some."""
    if column.split:
        return column.dataset if column.split == "1" else f"{column.dataset}, split {column.split}"
    splits = _common_splits(table, column)
    return f"{column.dataset}, {_splits(splits)}" if splits else column.dataset


def _common_splits(table: Table, column: TableColumn) -> tuple[str, ...]:
    """The splits of every cell of a column, where these are the same few; else none."""
    missing = missing_splits(table, column)
    num_cells = sum((row, column) in table.cells for row in table.rows)
    same = len(set(missing.values())) == 1 and len(missing) == num_cells
    return next(iter(missing.values())) if same else ()


def _splits(names: Sequence[str]) -> str:
    return f"split{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _ours(table: Table, row: TableRow, column: TableColumn, *, intervals: bool) -> str:
    cell = table.cells.get((row, column))
    if cell is None:
        return NOT_MEASURED
    text = cell.text(intervals=intervals)
    if column.split or _common_splits(table, column):
        return text
    splits = missing_splits(table, column).get(row)
    return f"{text}, {_splits(splits)}" if splits else text


def _papers(table: Table, row: TableRow, column: TableColumn, sources: Sequence[str]) -> str:
    figure = table.published.get((row, column))
    if figure is None:
        return ""
    text = f"{shown(figure.value, figure.metric)} ({1 + sources.index(f'{figure.source}: {figure.how}')})"
    cell = table.cells.get((row, column))
    ours = cell.splits if cell is not None else _common_splits(table, column) or figure.splits
    return text if set(ours) == set(figure.splits) else f"{text}, {_splits(figure.splits)}"


def method_title(row: TableRow) -> str:
    """The representation, and what tells its row from others of it."""
    return f"{row.representation} ({row.variant})" if row.variant else row.representation


def _markdown(text: str) -> str:
    """Escape what Markdown would take for markup; an underscore within a word is none."""
    return re.sub(r"[\\|*`<]|(?<!\w)_|_(?!\w)", lambda found: f"\\{found.group()}", text)


def _latex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return "".join(_LATEX.get(character, character) for character in text)
