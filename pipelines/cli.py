"""``scale-video``: the commands. Each parses, calls one ``run_…``, and prints; slow imports wait until then."""

from importlib.metadata import version

import click

from scale_video.pipelines import (
    cli_completion,
    cli_demo,
    cli_doctor,
    cli_explore,
    cli_extract,
    cli_pretrain,
    cli_probe,
    cli_report,
    cli_results,
    cli_store,
    cli_use,
)
from scale_video.pipelines.command_group import USAGE, CommandGroup

SECTIONS = {
    "Everything at once": (cli_demo.demo, cli_demo.ablations),
    "Stage 1, features of clips": (cli_extract.plan, cli_extract.extract, cli_extract.backbones),
    "Look at a store": (
        cli_explore.explore,
        cli_store.info,
        cli_store.verify,
        cli_store.failures,
        cli_store.show,
    ),
    "Stage 2, the aggregator": (cli_pretrain.pretrain,),
    "Evaluate": (cli_probe.evaluate, cli_probe.knn, cli_probe.linear, cli_probe.nonlinear, cli_probe.retrieval),
    "Look at results": (cli_results.table, cli_results.compare, cli_report.report),
    "Use an aggregator": (cli_use.embed, cli_use.search, cli_use.export),
    "Set up": (cli_doctor.doctor, cli_completion.completion),
}
"""What ``--help`` lists, in this order."""


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from scale_video.pipelines.code_version import git_revision

    revision = git_revision()
    click.echo(f"scale-video {version('scale-video')}" + (f", revision {revision}" if revision else ""))
    ctx.exit()


@click.group(
    cls=CommandGroup,
    sections=SECTIONS,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Status: 0 done; 1 a mistake, or a check that failed; 2 no such option or command; 128 + n ended by signal "
    "n (130: Ctrl-C, 143: SIGTERM), after which the same command goes on. More: docs/command-line.md.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it and exit."
)
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Video features from sets of clips: extract once with Dask into Zarr, aggregate without labels, evaluate.

    \b
    scale-video demo        the whole pipeline on an embedded data set
    scale-video extract --dataset folder --data ~/videos
    scale-video pretrain --dataset folder
    scale-video knn --dataset folder
    """  # noqa: D301 - click's own mark against re-wrapping
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


if __name__ == "__main__":
    main()
