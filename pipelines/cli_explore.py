"""``scale-video explore``: a store as pages in a browser."""

import sys
from pathlib import Path
from typing import Any

import click

from scale_video.pipelines import cli_options


@click.command()
@cli_options.store_argument
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="An aggregator, by whose h, cls and x+cls videos are compared.  [default: none, by x alone]",
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="DIR.zarr",
    help="What `embed` wrote of this store by this checkpoint, so that nothing is embedded again.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the store's videos.  [demo: data/DATASET]")
@click.option("--view", help="Shown first.  [default: random]")
@click.option("--backbone", help="Name of the features that are shown first.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback by token only.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 takes one that is free.",
)
@click.option(
    "--token", metavar="TEXT", help="What opens the pages.  [default: none on loopback; elsewhere one is made]"
)
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
@click.option("--follow-links", is_flag=True, help="Show files, too, that links in the folder of the videos lead to.")
@click.option(
    "--video-timeout",
    type=click.FloatRange(min=0, min_open=True, max=1_000_000),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Pictures of a video that take longer are given up.",
)
@cli_options.memory_limit
@cli_options.device
def explore(store: str, **given: Any) -> None:
    """Look at a store in a browser.

    Shows the videos of STORE in a table to filter and sort, a page for each with its clips in time and space, and the
    videos and clips that are nearest. Ctrl-C ends it.

    \b
    scale-video explore features/demo.zarr --checkpoint aggregator.safetensors
    scale-video explore a.zarr,b.zarr --data ~/videos
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.pipelines.explorer.explorer import ExploreRequest
    from scale_video.pipelines.explorer.server import open_browser, run_explore

    def started(address: str) -> None:
        click.echo(address)
        sys.stdout.flush()  # whoever reads a pipe waits for it
        click.echo("Ctrl-C ends it", err=True)
        if not given["no_browser"]:
            open_browser(address)

    run_explore(
        ExploreRequest(
            store=store,
            checkpoint=given["checkpoint"].expanduser() if given["checkpoint"] else None,
            embeddings=given["embeddings"],
            data_root=given["data"].expanduser() if given["data"] else None,
            view=given["view"],
            backbone=given["backbone"],
            follow_links=given["follow_links"],
            timeout_seconds=given["video_timeout"],
            memory_bytes=cli_options.gibibytes(given["memory_limit"]),
            device=given["device"],
        ),
        host=given["host"],
        port=given["port"],
        token=given["token"],
        on_start=started,
    )
