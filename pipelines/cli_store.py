"""``scale-video info``, ``verify``, ``failures`` and ``show``: looking at a store from the command line."""

import sys
from pathlib import Path
from typing import Any

import click

from scale_video.pipelines import cli_options, completions
from scale_video.pipelines.cli_options import comma_separated


@click.command()
@cli_options.store_argument
@cli_options.json_output
def info(store: str, as_json: bool) -> None:
    """Show what a store holds.

    Videos, splits, views and backbones of STORE, and how much of each is there.
    """
    from scale_video.pipelines import show_store
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.inspection import run_info

    result = run_info(store)
    print_json(result) if as_json else show_store.info_tables(result)


@click.command()
@cli_options.store_argument
@click.option(
    "--recompute",
    "num_clips",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also decode and embed N clips of each view and backbone again, and compare.",
)
@click.option(
    "--data", "data_root", type=click.Path(path_type=Path), help="Folder of the videos.  [demo: data/DATASET]"
)
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="FAMILY:SOURCE@NAME",
    help="Where weights are that their own source does not tell, such as a local folder; repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other clips.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-3,
    show_default=True,
    help="Cosine distance beyond which a feature is another.",
)
@cli_options.device
@cli_options.video_timeout
@cli_options.memory_limit
@cli_options.json_output
def verify(store: str, as_json: bool, num_clips: int | None, **given: Any) -> None:
    """Check every digest of a store.

    Reads all of STORE; the exit status is 1 when anything is not as it was committed. With --recompute the features
    themselves are checked: that they are those of these videos, clips and weights.
    """
    from scale_video.pipelines import show_store
    from scale_video.pipelines.console import as_values, note, print_json
    from scale_video.pipelines.inspection import run_verify

    recomputation = None
    if num_clips is not None:
        from scale_video.pipelines.recompute import Recomputation, RecomputeRequest

        limits = cli_options.decode_limits(given)
        recomputation = Recomputation(RecomputeRequest(store=store, num_clips=num_clips, limits=limits, **given))
    report, drift = run_verify(store), None
    if recomputation is not None and report.damaged:
        note("nothing was recomputed: the store is damaged")
    elif recomputation is not None:
        drift = recomputation.run()
    if as_json:
        print_json({**as_values(report), "recomputed": drift})
    else:
        show_store.verify_report(report)
        if drift is not None:
            show_store.drift_report(drift)
    if report.damaged or (drift is not None and not drift.sound):
        sys.exit(1)


@click.command()
@cli_options.store_argument
@click.option(
    "--status",
    "statuses",
    callback=comma_separated,
    metavar="STATUS[,STATUS…]",
    shell_complete=completions.several(completions.STATUSES),
    help="Only these: partial, no_video_stream, corrupt, missing, timeout, crashed.",
)
@cli_options.json_output
@click.option(
    "--csv", "csv_file", type=click.File("w", encoding="utf-8"), metavar="FILE", help="Write CSV; - : stdout."
)
def failures(store: str, statuses: tuple[str, ...], as_json: bool, csv_file: Any) -> None:
    """List every video that could not be had in full.

    By view and backbone, with path, status and reason; STORE may be several (A.zarr,B.zarr). What could not be read
    when the store was planned is listed once, as `plan`.
    """
    from scale_video.pipelines import show_store
    from scale_video.pipelines.failures import list_failures

    if as_json and csv_file is not None:
        raise click.UsageError("--json and --csv are two forms of one list; name one of them")
    listing = list_failures(store, statuses=statuses)
    if csv_file is not None:
        show_store.failures_csv(listing, csv_file)
    elif as_json:
        show_store.failures_json(listing)
    else:
        show_store.failures_table(listing)


@click.command()
@cli_options.store_argument
@click.option("--video", required=True, metavar="ID|PATH|ROW", help="Which video.")
@click.option("--clip", required=True, type=click.IntRange(min=0), metavar="N", help="Which of its clips, from 0.")
@click.option(
    "--view",
    default="random",
    show_default=True,
    shell_complete=completions.names(completions.VIEWS),
    help="Of which view.",
)
@click.option("--backbone", help="Frames as this one saw them.  [default: the only one of the view]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the videos.  [demo: data/DATASET]")
@click.option("--num-frames", type=click.IntRange(min=1), metavar="T", help="Frames.  [default: the backbone's, or 16]")
@click.option(
    "--size", type=click.IntRange(min=1), metavar="PIXELS", help="Their side.  [default: the backbone's, or the view's]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png|FILE.mp4",
    help="Where the frames go.  [default: VIDEO-VIEW-CLIP.png, here]",
)
@cli_options.video_timeout
@cli_options.memory_limit
@cli_options.json_output
def show(store: str, as_json: bool, **given: Any) -> None:
    """Show the exact crop behind a row of STORE.

    Writes its frames, side by side without loss (png) or as a film (mp4: h264 in yuv420p, which every player takes,
    each pixel doubled so that colours stay), and prints its box, its times, and whether its feature is valid.
    """
    from scale_video.pipelines import show_store
    from scale_video.pipelines.clip_export import ClipQuery, export_clip
    from scale_video.pipelines.console import print_json

    result = export_clip(
        ClipQuery(
            store=store,
            video=given["video"],
            clip=given["clip"],
            view=given["view"],
            backbone=given["backbone"],
            data_root=given["data"],
            num_frames=given["num_frames"],
            frame_size=given["size"],
            output=given["output"],
            limits=cli_options.decode_limits(given),
        )
    )
    print_json(result) if as_json else show_store.shown_clip(result)
