"""How a comparison of two runs looks on stdout."""

import click

from scale_video.pipelines.cells import Column
from scale_video.pipelines.compare_runs import RowComparison, RunComparison
from scale_video.pipelines.comparison import Comparison
from scale_video.pipelines.console import print_table
from scale_video.pipelines.headings import shown, shown_difference

ABOUT_P = "[95 % interval over test groups]; p of swapping the two within groups, two-sided, for each row by itself"


def runs_table(compared: RunComparison) -> None:
    """Print what two runs differ in, and one row per pair of rows."""
    click.echo(f"{compared.second} − {compared.first}; they differ in:")
    for field, values in compared.differ_in.items():
        unknown = "(its own data)" if field == "pretrained_on" else "(not said in old rows)"
        click.echo(f"  {field}: {' | '.join(value or unknown for value in values)}")
    places = {(row.dataset, row.split) for row in compared.rows}
    rows = [
        (
            *((f"{row.dataset}, split {row.split}",) if len(places) > 1 else ()),
            row.representation,
            "–" if row.seed is None else str(row.seed),
            Column(row.protocol, row.metric, row.target, tuple(sorted(row.options.items()))).title(with_metric=True),
            shown(row.first_value, row.metric),
            shown(row.second_value, row.metric),
            difference_text(row),
            f"{row.p:.4f}",
        )
        for row in compared.rows
    ]
    headings = ("representation", "seed", "of", compared.first, compared.second, "difference", "p")
    print_table("", (*(("data set",) if len(places) > 1 else ()), *headings), rows, numbers=4)
    click.echo(ABOUT_P)
    if compared.same:
        click.echo(f"the same on both sides: {', '.join(compared.same)}")
    if compared.num_unpaired:
        click.echo(f"rows of one side without a counterpart on the other: {compared.num_unpaired}")


def difference_text(found: Comparison | RowComparison) -> str:
    """``+4.2 [+1.0, +7.5]``, in points of percent where the metric is a share."""
    value, low, high = (
        shown_difference(number, found.metric) for number in (found.difference, found.ci_low, found.ci_high)
    )
    return f"{value} [{low}, {high}]"
