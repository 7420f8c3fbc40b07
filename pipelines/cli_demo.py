"""``scale-video demo`` and ``ablations``: everything, on rendered videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scale_video.pipelines import cli_options
from scale_video.pipelines.cli_options import options

if TYPE_CHECKING:
    from scale_video.pipelines.demo import DemoRequest


_AGAIN = "run the same command again to go on"
_DEMO = options(
    click.option("--data-seed", default=0, show_default=True, type=click.IntRange(min=0), help="Another rendering."),
    click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per core]"),
    click.option(
        "--backbone",
        type=click.Choice([cli_options.DEMO_BACKBONE, "motion3d"]),
        default=cli_options.DEMO_BACKBONE,
        show_default=True,
        help="Trained without labels, or with labels of single motions.",
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path(),
        help="Where data/, features/ and runs/ go.  [default: here]",
    ),
    cli_options.overrides,
    click.option("--videos", nargs=2, type=click.IntRange(min=24), metavar="TRAIN TEST", help="Videos to render."),
    cli_options.json_output,
)


@click.command()
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="N > 1 adds two controls.")
@_DEMO
def demo(as_json: bool, **given: Any) -> None:
    """Run everything on rendered videos.

    Renders the embedded data set to mp4 files, extracts, pre-trains, evaluates, and prints one table. What is done
    already is not done again.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.demo import run_demo
    from scale_video.pipelines.interruption import interruptible

    with interruptible(_AGAIN):
        result = run_demo(_demo_request(given))
    print_json(result) if as_json else show.demo_result(result)


@click.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="N: the seeds 0 … N-1.")
@_DEMO
def ablations(as_json: bool, **given: Any) -> None:
    """Take the method apart on the demo's videos.

    Pre-trains without one loss or the other, on smaller sets, with other shares of masked clips and with shuffled
    positions; tests with fewer clips; looks at claims of the paper and at the transfer to demo-hard. Writes
    RUNS/ablations/ablations.json and ablations.md. Trainings that are there are not repeated.
    """
    from scale_video.pipelines.ablation_tables import sections
    from scale_video.pipelines.ablations import run_ablations
    from scale_video.pipelines.console import print_json, print_table
    from scale_video.pipelines.interruption import interruptible
    from scale_video.pipelines.paths import write_whole

    with interruptible(_AGAIN):
        result = run_ablations(_demo_request(given))
    tables = sections(result)
    page = result.path.with_suffix(".md")
    write_whole(page, "\n".join(table.as_markdown() for table in tables))
    if as_json:
        print_json(result)
        return
    for table in tables:
        print_table(table.title, table.headings, table.rows, numbers=len(table.headings) - table.num_text_columns)
    click.echo(f"{result.path}, {page}")


def _demo_request(given: dict[str, Any]) -> "DemoRequest":
    from scale_video.extract.cluster import num_cores
    from scale_video.pipelines.demo import DemoRequest

    return DemoRequest(
        root=given["root"].expanduser(),
        num_seeds=given["seeds"],
        data_seed=given["data_seed"],
        num_workers=given["workers"] or num_cores(),
        backbone=given["backbone"],
        overrides=given["overrides"],
        num_videos=given["videos"],
    )
