"""``scale-video doctor``: what works on this machine, and what to install."""

import sys

import click

from scale_video.pipelines import cli_options, completions


@click.command()
@click.option(
    "--store",
    metavar="PATH|URL",
    shell_complete=completions.stores,
    help="Also read a store: its tables, and a block of each of its features.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Also write a tiny store beside --store (which need not exist), as a job does, and delete it.",
)
@click.option("--network", is_flag=True, help="Also ask the Hugging Face hub; nothing does without this.")
@cli_options.json_output
def doctor(store: str | None, write: bool, network: bool, as_json: bool) -> None:
    """Check this machine.

    Versions, extras, memory, limits, GPUs and codecs, each with what to do if it is not as it should be. The exit
    status is 1 when something that is needed is broken; what is merely missing is needed by some commands only.

    \b
    scale-video doctor --store s3://bucket/k400.zarr --write
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.pipelines import show_doctor
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.doctor import DoctorRequest, run_doctor

    diagnosis = run_doctor(DoctorRequest(store=store, write=write, network=network))
    print_json(diagnosis) if as_json else show_doctor.diagnosis(diagnosis)
    if not diagnosis.healthy:
        sys.exit(1)
