"""How results of training and evaluation look on stdout."""

from collections import defaultdict
from collections.abc import Sequence

import click

from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import EvaluationRecord
from scale_video.evaluate.retrieval import RECALL_DEPTHS
from scale_video.pipelines.candidates import LEARNED
from scale_video.pipelines.comparison import Comparison
from scale_video.pipelines.console import print_table
from scale_video.pipelines.demo import DemoResult
from scale_video.pipelines.per_class import ClassScore

TABLE_ORDER = (*RAW_REPRESENTATIONS, "init", *LEARNED)
"""From what costs nothing to what is learned."""
PROTOCOL_TITLES = {"knn": "k-NN", "linear": "linear", "nonlinear": "nonlinear", "retrieval": "retrieval"}
METRIC_TITLES = {"top1": "top-1", "top5": "top-5", "map": "mAP"} | {f"r@{k}": f"R@{k}" for k in RECALL_DEPTHS}
MAIN_METRICS = ("top1", "r@1", "map")
"""Shown where there is more than one protocol; of a single one all metrics are."""

_Column = tuple[str, tuple[tuple[str, float], ...], str]  # protocol, options, metric


def records_table(records: Sequence[EvaluationRecord], *, title: str) -> None:
    """Print one row per representation: percent by protocol and metric, with the interval or the seeds' range."""
    columns = _columns(records)
    cells: dict[tuple[str, _Column], list[EvaluationRecord]] = defaultdict(list)
    for record in records:
        cells[record.representation, _column(record)].append(record)
    names = [name for name in TABLE_ORDER if any(record.representation == name for record in records)]
    rows = [(name, *(_cell(cells[name, column]) for column in columns)) for name in names]
    metrics = {metric for _, _, metric in columns}
    [metric, *others] = metrics
    headings = ("representation", *(_heading(column, with_metric=bool(others)) for column in columns))
    print_table(f"{title}: {'%' if others else f'{METRIC_TITLES[metric]} %'}", headings, rows, numbers=len(columns))
    num_seeds = max(len(cell) for cell in cells.values())
    click.echo(
        "[95 % interval over test groups]"
        if num_seeds == 1
        else f"mean of {num_seeds} seeds (lowest – highest), or "
        "[95 % interval over test groups] where there is one value"
    )
    if any(record.seen for record in records):
        click.echo("* pre-trained on test videos of this split")
    for text in dict.fromkeys(record.note for record in records if record.note):
        click.echo(f"note: {text}")


def comparisons_table(comparisons: Sequence[Comparison]) -> None:
    """Print one row per comparison: the difference in points of percent, its interval, and p."""
    rows = [
        (
            f"{found.second} − {found.first}",
            "–" if found.seed is None else str(found.seed),
            _heading((found.protocol, tuple(sorted(found.options.items())), found.metric), with_metric=True),
            f"{100 * found.difference:+.1f} [{100 * found.ci_low:+.1f}, {100 * found.ci_high:+.1f}]",
            f"{found.p:.4f}",
        )
        for found in comparisons
    ]
    print_table("differences in points of percent", ("pair", "seed", "of", "difference", "p"), rows, numbers=2)
    click.echo(
        "[95 % interval over test groups]; p of swapping the two within groups, two-sided, for each row by itself"
    )


def classes_table(scores: Sequence[ClassScore]) -> None:
    """Print one table per protocol and main metric, with one row per class."""
    columns = dict.fromkeys(_column(score) for score in scores if score.metric in MAIN_METRICS)
    for column in columns:
        chosen = [score for score in scores if _column(score) == column]
        probed = list(dict.fromkeys((score.representation, score.seed) for score in chosen))
        cells = {(score.class_name, score.representation, score.seed): score for score in chosen}
        num_test = {score.class_name: score.num_test for score in chosen}
        rows = []
        for name, number in num_test.items():
            of_class = [cells[name, *which] for which in probed]
            values = [f"{100 * s.value:.1f} [{100 * s.ci_low:.1f}, {100 * s.ci_high:.1f}]" for s in of_class]
            rows.append((name, str(number), *values))
        headings = [name if seed is None else f"{name}, seed {seed}" for name, seed in probed]
        title = f"{_heading(column, with_metric=True)} % by class"
        print_table(title, ("class", "videos", *headings), rows, numbers=1 + len(probed))


def _column(record: EvaluationRecord | ClassScore) -> _Column:
    return record.protocol, tuple(sorted(record.options.items())), record.metric


def _columns(records: Sequence[EvaluationRecord]) -> list[_Column]:
    """By protocol, then as the records come."""
    single = len({record.protocol for record in records}) == 1
    found = dict.fromkeys(_column(record) for record in records if single or record.metric in MAIN_METRICS)
    return sorted(found, key=lambda column: list(PROTOCOL_TITLES).index(column[0]))


def _heading(column: _Column, *, with_metric: bool) -> str:
    protocol, options, metric = column
    named = dict(options)
    parts = [PROTOCOL_TITLES[protocol] + (f" {METRIC_TITLES[metric]}" if with_metric else "")]
    if "k" in named:
        parts.append(f"k={named['k']:g}")
    if "temperature" in named:
        parts.append(f"T={named['temperature']:g}")
    if "train_share" in named:
        parts.append(f"{100 * named['train_share']:g} % of labels")
    if named.get("share_seed"):
        parts.append(f"draw {named['share_seed']:g}")
    return ", ".join(parts)


def _cell(records: Sequence[EvaluationRecord]) -> str:
    if not records:
        return "–"
    values = [100 * record.value for record in records]
    mark = "*" if any(record.seen for record in records) else ""
    if len(records) == 1:
        return f"{values[0]:.1f}{mark} [{100 * records[0].ci_low:.1f}, {100 * records[0].ci_high:.1f}]"
    return f"{sum(values) / len(values):.1f}{mark} ({min(values):.1f} – {max(values):.1f})"


def demo_result(result: DemoResult) -> None:
    """Print a table per experiment, and where the numbers are."""
    experiments = list(dict.fromkeys((record.dataset, record.preset) for record in result.records))
    for dataset, preset in experiments:
        chosen = [record for record in result.records if (record.dataset, record.preset) == (dataset, preset)]
        records_table(chosen, title=dataset if preset == "demo" else f"{dataset}, {preset}")
    click.echo(f"{result.results} ({result.seconds:.0f} s)")
