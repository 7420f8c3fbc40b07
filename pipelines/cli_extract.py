"""``scale-video plan`` and ``extract``: stage 1 on the command line."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scale_video.pipelines import cli_options, completions
from scale_video.pipelines.cli_options import DEMO_BACKBONE, VIDEOMAE_BASE, comma_separated, options

if TYPE_CHECKING:
    from scale_video.pipelines.requests import ExtractionRequest


_PLANNING = options(
    cli_options.dataset,
    cli_options.data,
    click.option(
        "--split-lists",
        type=click.Path(path_type=Path),
        help="Folder of the official lists, where they are neither in nor beside that of the videos.",
    ),
    click.option(
        "--table",
        type=click.Path(path_type=Path),
        help="Your own table of videos, csv or Parquet; --dataset is then any name that you give it.",
    ),
    click.option(
        "--store",
        shell_complete=completions.stores,
        help="Path or URL of the store; OLD,NEW: videos that OLD lacks go into NEW.  [default: features/DATASET.zarr]",
    ),
    click.option(
        "--backbone",
        "backbones",
        callback=comma_separated,
        metavar="NAME[,NAME…]",
        shell_complete=completions.several(completions.BACKBONES),
        help="FAMILY[:SOURCE][@NAME]; several see the same decoded frames.  "
        f"[default: {DEMO_BACKBONE} for demo, else {VIDEOMAE_BASE}]",
    ),
    click.option(
        "--views",
        callback=comma_separated,
        metavar="NAME[,NAME…]",
        shell_complete=completions.several(completions.VIEWS),
        help="Which views: random, augmented, grid.  [default: all of the preset]",
    ),
    cli_options.views,
    cli_options.preset,
    cli_options.overrides,
    click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one per core, or GPU]"),
    click.option("--threads", is_flag=True, help="Run the workers as threads of one process."),
    click.option("--scheduler", metavar="tcp://HOST:PORT", help="Join a running Dask cluster instead."),
    click.option("--block-size", type=click.IntRange(min=1), help="Videos in a block.  [default: chosen]"),
    click.option(
        "--no-estimate",
        is_flag=True,
        help="Plan without measuring a few videos for predicted hours and gigabytes, which takes some seconds.",
    ),
    click.option(
        "--decoders",
        type=click.IntRange(min=1),
        help="Decoding processes of each worker.  [default: cores / workers]",
    ),
    cli_options.video_timeout,
    cli_options.memory_limit,
    cli_options.device,
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Of the forward pass; auto: float16 on a GPU, float32 on a CPU.",
    ),
    click.option(
        "--runs",
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="Folder whose DATASET/extraction.jsonl notes how planning and extraction went.",
    ),
    click.option("--break-lock", is_flag=True, help="Take the store from another job that is known to be gone."),
)


@click.command()
@_PLANNING
@cli_options.json_output
def plan(as_json: bool, **given: Any) -> None:
    """Look at the videos and create the store.

    Probes every file, draws the clips of every view, and reports what to expect; nothing is extracted.
    """
    from scale_video.pipelines import show_extraction
    from scale_video.pipelines.console import note, print_json
    from scale_video.pipelines.extraction import run_plan
    from scale_video.pipelines.interruption import interruptible

    with interruptible("run the same command again"):
        report = run_plan(_request(given))
    print_json(report) if as_json else show_extraction.plan_report(report)
    note("nothing is extracted yet: the same with `extract` instead of `plan` does that")


@click.command()
@cli_options.json_output
def backbones(as_json: bool) -> None:
    """List the backbones that can be named.

    What each gives and takes, under which licence, where its weights come from, and whether they are on this machine.
    """
    from scale_video.extract.backbones.catalogue import is_here, known_backbones
    from scale_video.pipelines.console import as_values, print_json
    from scale_video.pipelines.show_backbones import backbones_table

    listed = [(backbone, is_here(backbone)) for backbone in known_backbones()]
    if as_json:
        print_json([{**as_values(backbone), "here": here} for backbone, here in listed])
    else:
        backbones_table(listed)


@click.command()
@_PLANNING
@click.option(
    "--retry",
    callback=comma_separated,
    metavar="STATUS[,STATUS…]",
    shell_complete=completions.several(completions.STATUSES),
    help="Do videos of these statuses again, such as corrupt,timeout,crashed; the others are kept.",
)
@click.option("--max-failures", default="1%", show_default=True, help="Videos that may fail before the status is 1.")
@click.option("--profile", is_flag=True, help="Show where the time went: wait, decode, resize, forward, write.")
@cli_options.json_output
def extract(as_json: bool, max_failures: str, profile: bool, **given: Any) -> None:
    """Stage 1: clip features into a store.

    Plans the store if there is none, and extracts what is missing: run it again after any interruption.
    """
    from scale_video.extract.bounded_map import AGAIN
    from scale_video.pipelines import show_extraction
    from scale_video.pipelines.console import print_json, report_error
    from scale_video.pipelines.extraction import failure_limit, run_extract, within_budget
    from scale_video.pipelines.interruption import interruptible

    failure_limit(max_failures)  # a typo should not cost a day of extraction
    with interruptible(AGAIN):
        result = run_extract(_request(given))
    print_json(result) if as_json else show_extraction.extraction_result(result, profile=profile)
    if not within_budget(result, max_failures):
        what = (
            "blocks are lost" if result.lost_blocks else f"more videos failed than --max-failures {max_failures} allows"
        )
        report_error(
            f"{what}; what was had is kept and can be used, `scale-video failures {result.store}` lists the rest"
        )
        sys.exit(1)


def _request(given: dict[str, Any]) -> "ExtractionRequest":
    from scale_video.pipelines.paths import extraction_journal
    from scale_video.pipelines.preset import default_preset
    from scale_video.pipelines.requests import ExtractionRequest
    from scale_video.pipelines.view_options import ViewOptions

    dataset = given["dataset"]
    return ExtractionRequest(
        dataset=dataset,
        data_root=given["data"] or cli_options.default_data(dataset),
        store=given["store"] or cli_options.default_store(dataset),
        preset=given["preset"] or default_preset(dataset),
        overrides=given["overrides"],
        backbones=given["backbones"] or (DEMO_BACKBONE if cli_options.is_demo(dataset) else VIDEOMAE_BASE,),
        views=given["views"] or (),
        view_options=ViewOptions(**{name: given[name] for name in cli_options.VIEW_OPTIONS}),
        split_lists=given["split_lists"],
        table=given["table"],
        num_workers=given["workers"],
        processes=not given["threads"],
        scheduler=given["scheduler"],
        block_size=given["block_size"],
        estimate=not given["no_estimate"],
        retry=given.get("retry", ()),
        video_timeout=given["video_timeout"],
        memory_limit_bytes=cli_options.gibibytes(given["memory_limit"]),
        num_decoders=given["decoders"],
        device=given["device"],
        precision=given["precision"],
        break_lock=given["break_lock"],
        journal=extraction_journal(given["runs"].expanduser(), dataset=dataset),
    )
