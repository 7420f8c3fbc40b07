"""How results of training and evaluation look on stdout."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from scale_video.evaluate.result import LOWER_IS_BETTER, EvaluationRecord
from scale_video.pipelines.cells import Cell, Column, Located, column_of, make_cell, spread_notes
from scale_video.pipelines.comparison import Comparison
from scale_video.pipelines.console import line, note, print_table
from scale_video.pipelines.demo import DemoResult
from scale_video.pipelines.headings import TABLE_ORDER, metric_title, origin_title, shown
from scale_video.pipelines.per_class import ClassScore
from scale_video.pipelines.show_runs import ABOUT_P, difference_text
from scale_video.store.amounts import time_text

MAIN_METRICS = ("top1", "r@1", "map", "mse")
"""Shown where there is more than one protocol; of a single one all metrics are."""


def records_table(records: Sequence[EvaluationRecord], *, title: str, folder: Path | None = None) -> None:
    """Print one row per representation and one column per protocol and metric; seeds and draws are averaged.

    Aggregators from elsewhere have rows of their own, for each training.

    Args:
        records: Of one data set, split and experiment.
        title: Above the table.
        folder: That of ``results.json``; with it, means over seeds and draws have their interval too.
    """
    records = list({record.key: record for record in records}.values())  # `init` is probed for each checkpoint
    columns = _columns(records)
    located: dict[tuple[tuple[str, str], Column], list[Located]] = defaultdict(list)
    for record in records:
        located[(record.representation, record.pretrained_on), column_of(record)].append(Located(record, folder))
    names = sorted({name for name, _ in located}, key=lambda name: (TABLE_ORDER.index(name[0]), name[1]))
    cells = {where: make_cell(found) for where, found in located.items() if where[1] in columns}
    rows = [(origin_title(*name), *(_text(cells.get((name, column))) for column in columns)) for name in names]
    [metric, *others] = dict.fromkeys(column.metric for column in columns)
    headings = ("representation", *(column.title(with_metric=bool(others)) for column in columns))
    unit = "" if others else f": {metric_title(metric, with_unit=True)}"
    print_table(f"{title}{unit}", headings, rows, numbers=len(columns))
    for spread in spread_notes(cells.values()):
        line(spread)
    for text in dict.fromkeys(record.note for record in records if record.note):
        line(f"note: {text}")


def comparisons_table(comparisons: Sequence[Comparison]) -> None:
    """Print one row per comparison: the difference, its interval, and p."""
    rows = [
        (
            origin_title(f"{found.second} − {found.first}", found.pretrained_on),
            "–" if found.seed is None else str(found.seed),
            _column(found).title(with_metric=True),
            difference_text(found),
            f"{found.p:.4f}",
        )
        for found in comparisons
    ]
    errors = [
        metric_title(metric) for metric in LOWER_IS_BETTER if any(found.metric == metric for found in comparisons)
    ]
    shares = any(found.metric not in LOWER_IS_BETTER for found in comparisons)
    units = [*(["in points of percent"] if shares else []), *(f"of {title}, where less is better" for title in errors)]
    print_table(f"differences {'; '.join(units)}", ("pair", "seed", "of", "difference", "p"), rows, numbers=2)
    click.echo(ABOUT_P)


def classes_table(scores: Sequence[ClassScore]) -> None:
    """Print one table per protocol and main metric, with one row per class."""
    columns = dict.fromkeys(_column(score) for score in scores if score.metric in MAIN_METRICS)
    for column in columns:
        chosen = [score for score in scores if _column(score) == column]
        probed = list(dict.fromkeys(_probed(score) for score in chosen))
        cells = {(score.class_name, _probed(score)): score for score in chosen}
        num_test = {score.class_name: score.num_test for score in chosen}
        rows = []
        for name, number in num_test.items():
            of_class = [cells[name, which] for which in probed]
            rows.append((name, str(number), *(_class_text(score) for score in of_class)))
        headings = [name if seed is None else f"{name}, seed {seed}" for name, seed in probed]
        title = f"{column.title(with_metric=True)} by class"
        print_table(title, ("class", "videos", *headings), rows, numbers=1 + len(probed))


def demo_result(result: DemoResult) -> None:
    """Print a table per experiment, and where the numbers are."""
    experiments = list(dict.fromkeys((record.dataset, record.preset) for record in result.records))
    for dataset, preset in experiments:
        chosen = [record for record in result.records if (record.dataset, record.preset) == (dataset, preset)]
        title = dataset if preset == "demo" else f"{dataset}, {preset}"
        records_table(chosen, title=title, folder=result.results.parent)
    click.echo(f"{result.results} ({time_text(result.seconds)})")
    note(f"pictures of it, on one page: {_report_command(result.results.parents[2])}")


def _report_command(root: Path) -> str:
    """What draws the demo's report, given where its ``runs/`` are."""
    if root == Path():
        return "make report DATASET=demo"
    places = {"store": "features/demo.zarr", "data": "data/demo", "runs": "runs"}
    options = (f"--{option} {shlex.quote(str(root / place))}" for option, place in places.items())
    return f"scale-video report --dataset demo {' '.join(options)}"


def _columns(records: Sequence[EvaluationRecord]) -> list[Column]:
    """In their usual order; only main metrics where there are several protocols."""
    single = len({record.protocol for record in records}) == 1
    found = {column_of(record) for record in records if single or record.metric in MAIN_METRICS}
    return sorted(found, key=lambda column: column.order)


def _column(found: Comparison | ClassScore) -> Column:
    """Of single rows, so that draws are told apart."""
    return Column(found.protocol, found.metric, found.target, tuple(sorted(found.options.items())))


def _probed(score: ClassScore) -> tuple[str, int | None]:
    return origin_title(score.representation, score.pretrained_on), score.seed


def _text(cell: Cell | None) -> str:
    return "–" if cell is None else cell.text()


def _class_text(score: ClassScore) -> str:
    value, low, high = (shown(number, score.metric) for number in (score.value, score.ci_low, score.ci_high))
    return f"{value} [{low}, {high}]"
