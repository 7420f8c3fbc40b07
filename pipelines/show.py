"""How results of training and evaluation look on stdout."""

from collections import defaultdict
from collections.abc import Sequence

import click

from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.candidates import LEARNED
from scale_video.pipelines.console import print_table
from scale_video.pipelines.demo import DemoResult

TABLE_ORDER = (*RAW_REPRESENTATIONS, "init", *LEARNED)
"""From what costs nothing to what is learned."""
PROTOCOL_TITLES = {"knn": "k-NN", "linear": "linear", "nonlinear": "nonlinear"}


def records_table(records: Sequence[EvaluationRecord], *, title: str) -> None:
    """Print one row per representation: top-1 in percent, by protocol, with the interval or the seeds' range."""
    protocols = [name for name in PROTOCOL_TITLES if any(record.protocol == name for record in records)]
    cells: dict[tuple[str, str], list[EvaluationRecord]] = defaultdict(list)
    for record in records:
        cells[record.representation, record.protocol].append(record)
    names = [name for name in TABLE_ORDER if any(record.representation == name for record in records)]
    rows = [(name, *(_cell(cells[name, protocol]) for protocol in protocols)) for name in names]
    columns = ("representation", *(PROTOCOL_TITLES[name] for name in protocols))
    print_table(f"{title}: top-1 %", columns, rows, numbers=len(protocols))
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
