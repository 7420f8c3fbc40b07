"""``scale-video table`` and ``compare``: what one does with results that are there."""

from pathlib import Path

import click

from scale_video.pipelines import cli_options, completions
from scale_video.pipelines.cli_options import comma_separated

_RESULTS = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, type=_RESULTS)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["markdown", "latex", "csv"]),
    default="markdown",
    show_default=True,
    help="latex: a tabular for booktabs; csv: one line a value, with all fields.",
)
@click.option(
    "--protocols",
    callback=comma_separated,
    metavar="A,B",
    shell_complete=completions.several(completions.PROTOCOLS[:-1]),
    help="Of these protocols.  [default: all that are there]",
)
@click.option(
    "--representations",
    default="x,cls,x+cls",
    show_default=True,
    callback=comma_separated,
    metavar="A,B",
    shell_complete=completions.several(completions.REPRESENTATIONS),
    help="Of these; or all.",
)
@click.option(
    "--metric", "metrics", callback=comma_separated, metavar="A,B", help="These; or all.  [default: top1 or its like]"
)
@click.option("--split", "splits", callback=comma_separated, metavar="A,B", help="Of these splits.  [default: all]")
@click.option("--intervals/--no-intervals", default=True, show_default=True, help="Over test groups.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Instead of stdout.")
@cli_options.json_output
def table(
    runs: tuple[Path, ...],
    layout: str,
    protocols: tuple[str, ...],
    representations: tuple[str, ...],
    metrics: tuple[str, ...],
    splits: tuple[str, ...],
    intervals: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Put the results of RUNS into one table.

    RUNS are folders with a results.json, or such files; all of runs/ where none is named. Rows are backbones and
    methods, columns data sets and protocols. Seeds, draws of clips or labels, and the official splits of ucf101 and
    hmdb51 are averaged; what else a cell says is below the table.

    \b
    scale-video table --format latex --output table.tex
    scale-video table runs/ucf101 --protocols knn --representations all
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.paths import write_whole
    from scale_video.pipelines.table_formats import as_csv, as_latex, as_markdown
    from scale_video.pipelines.table_values import table_values
    from scale_video.pipelines.tables import TableRequest, run_table

    if as_json and output is not None:
        raise click.UsageError("--json prints on stdout, --output writes one of --format; name one of them")
    found = run_table(TableRequest(runs, protocols, representations, metrics, splits))
    if as_json:
        print_json(list(table_values(found)))
        return
    if layout == "csv":
        text = as_csv(found)
    else:
        text = (as_latex if layout == "latex" else as_markdown)(found, intervals=intervals)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text)


@click.command()
@click.argument("first", type=_RESULTS)
@click.argument("second", type=_RESULTS, required=False)
@click.option(
    "--of",
    callback=comma_separated,
    metavar="A,B",
    help="The label or preset, backbone, origin of the aggregators (or own), or data set of the first and second rows.",
)
@click.option(
    "--protocols",
    callback=comma_separated,
    metavar="A,B",
    shell_complete=completions.several(completions.PROTOCOLS[:-1]),
    help="Of these protocols.  [default: all]",
)
@click.option(
    "--representations",
    callback=comma_separated,
    metavar="A,B",
    shell_complete=completions.several(completions.REPRESENTATIONS[:-1]),
    help="Of these.  [default: all]",
)
@click.option(
    "--metric", "metrics", callback=comma_separated, metavar="A,B", help="These; or all.  [default: top1 or its like]"
)
@cli_options.json_output
def compare(
    first: Path,
    second: Path | None,
    of: tuple[str, ...],
    protocols: tuple[str, ...],
    representations: tuple[str, ...],
    metrics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare the results of two runs on the same test videos.

    FIRST and SECOND are folders with a results.json, or such files; without SECOND both are of FIRST. Rows go together
    where they agree in all but what the two differ in as a whole, which is said. For each pair: the difference, second
    minus first, with its interval, and p.

    \b
    scale-video compare runs/demo --of demo,demo-shuffled
    scale-video compare runs/ucf101 --of videomae-base,svt
    scale-video compare old/runs/ucf101 runs/ucf101
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.pipelines.compare_runs import CompareRequest, run_comparison
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.show_runs import runs_table

    if len(of) not in (0, 2):
        raise ValueError(f"--of takes two names, A,B, got {','.join(of)!r}")
    chosen = (of[0], of[1]) if of else None
    found = run_comparison(CompareRequest(first, second or first, chosen, protocols, representations, metrics))
    print_json(found) if as_json else runs_table(found)
