"""``scale-video``: the commands. Each parses, calls one ``run_…``, and prints; slow imports wait until then."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scale_video.pipelines import cli_extract, cli_options, cli_pretrain, cli_probe, cli_results, cli_store, cli_use
from scale_video.pipelines.cli_options import options

if TYPE_CHECKING:
    from scale_video.pipelines.demo import DemoRequest


class OneLineErrors(click.Group):
    """A group whose commands end a user's mistake with one line and status 1, and show a traceback by ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from scale_video.pipelines.console import show_logs

        show_logs()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click knows what to do, also where the reader of a pipe has had enough (`| head`)
        except Exception as error:
            if ctx.params.get("debug") or not _is_for_the_user(error):
                raise
            message = str(error) or type(error).__name__
            raise click.ClickException(" ".join(message.split())) from error


def _is_for_the_user(error: Exception) -> bool:
    """Whether an error's message is meant to be read without a traceback."""
    from scale_video.store.errors import StoreError

    return isinstance(error, (ValueError, OSError, StoreError))


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="scale-video")
def main(debug: bool) -> None:
    """Video features from sets of clips: extract once with Dask into Zarr, aggregate without labels, evaluate.

    \b
    scale-video demo                                   the whole pipeline on an embedded data set
    scale-video extract --dataset folder --data ~/videos
    scale-video pretrain --dataset folder
    scale-video knn --dataset folder
    """  # noqa: D301 - click's own mark against re-wrapping


for command in (
    cli_extract.plan,
    cli_extract.extract,
    cli_extract.backbones,
    cli_store.info,
    cli_store.verify,
    cli_store.failures,
    cli_store.show,
    cli_pretrain.pretrain,
    cli_probe.evaluate,
    cli_probe.knn,
    cli_probe.linear,
    cli_probe.nonlinear,
    cli_probe.retrieval,
    cli_results.table,
    cli_results.compare,
    cli_use.export,
    cli_use.embed,
    cli_use.search,
):
    main.add_command(command)


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
        "--root", type=click.Path(path_type=Path), default=Path(), help="Where data/, features/ and runs/ go."
    ),
    cli_options.overrides,
    click.option("--videos", nargs=2, type=click.IntRange(min=24), metavar="TRAIN TEST", help="Videos to render."),
)


@main.command()
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="N > 1 adds two controls.")
@_DEMO
def demo(**given: Any) -> None:
    """Run everything on rendered videos.

    Renders the embedded data set to mp4 files, extracts, pre-trains, evaluates, and prints one table. What is done
    already is not done again.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.demo import run_demo

    show.demo_result(run_demo(_demo_request(given)))


@main.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="N: the seeds 0 … N-1.")
@_DEMO
@cli_options.json_output
def ablations(as_json: bool, **given: Any) -> None:
    """Take the method apart on the demo's videos.

    Pre-trains without one loss or the other, on smaller sets, with other shares of masked clips and with shuffled
    positions; tests with fewer clips; looks at claims of the paper and at the transfer to demo-hard. Writes
    RUNS/ablations/ablations.json and ablations.md. Trainings that are there are not repeated.
    """
    from scale_video.pipelines.ablation_tables import sections
    from scale_video.pipelines.ablations import run_ablations
    from scale_video.pipelines.console import print_json, print_table
    from scale_video.pipelines.paths import write_whole

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


if __name__ == "__main__":
    main()
