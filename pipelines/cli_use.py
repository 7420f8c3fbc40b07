"""``scale-video export``, ``embed`` and ``search``: what a trained aggregator is used for."""

import sys
from pathlib import Path
from typing import Any

import click

from scale_video.pipelines import cli_options

_CHECKPOINT = "A checkpoint of pre-training, the folder of a run, or an export (.safetensors)."
_DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where backbone and aggregator run; auto: a GPU if there is one.",
)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.safetensors",
    help="Where it goes.  [default: aggregator.safetensors beside the checkpoint]",
)
@cli_options.json_output
def export(checkpoint: Path, output: Path | None, as_json: bool) -> None:
    """Export a trained aggregator.

    Writes the weights of CHECKPOINT (a file, or the folder of a run) as safetensors, with all that a reader needs in
    the header, and a card beside it that says how to load it. `--checkpoint` of other commands takes an export as well.
    """
    from scale_video.pipelines.console import note, print_json
    from scale_video.pipelines.export import run_export

    result = run_export(checkpoint, output)
    if not result.complete:
        note("warning: the training had not reached its end")
    if not result.has_recipe:
        note("the checkpoint does not say how its features are made: files can be embedded with --store only")
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result.output} ({result.num_parameters:,} parameters), {result.card}")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="STORE|FILE…")
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help=_CHECKPOINT)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("embeddings.zarr"),
    show_default=True,
    metavar="DIR.zarr|FILE.parquet",
    help="Where the vectors go; Parquet needs the extra [parquet].",
)
@click.option("--view", help="Of the store.  [default: the one that the checkpoint was trained on]")
@click.option(
    "--backbone",
    help="Of a store: name of the features.  Of files: FAMILY:SOURCE, where its own source leads to no weights.",
)
@click.option(
    "--store", help="Of files: how their features are made, for checkpoints of earlier releases that don't say so."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Of files: the folder beneath which their paths are their ids, as in a store of it.  [default: their names]",
)
@_DEVICE
@cli_options.video_timeout
@cli_options.memory_limit
@cli_options.json_output
def embed(sources: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Write a vector per video.

    Reads the features of STORE (several: A.zarr,B.zarr), or video FILEs straight from their pixels, and writes x (mean
    of the raw clip features), h (mean of the refined clips) and cls (global token) in float32, with ids, paths and
    numbers of clips, to a plain Zarr group or a Parquet file. Videos without features are left out, and counted; files
    that cannot be had are named, and the exit status is 1.

    \b
    scale-video embed features/demo.zarr --checkpoint aggregator.safetensors
    scale-video embed *.mp4 --checkpoint runs/… --output vectors.parquet
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.extract.cluster import num_cores
    from scale_video.pipelines.console import print_json, report_error
    from scale_video.pipelines.embedding import EmbedRequest, run_embed
    from scale_video.pipelines.export import find_checkpoint
    from scale_video.pipelines.interruption import interruptible
    from scale_video.store.amounts import time_text

    store = _store_among(sources)
    if store is not None and (given["store"] or given["data"]):
        raise ValueError("--store and --data are of files, and a store is to be embedded")
    request = EmbedRequest(
        checkpoint=find_checkpoint(given["checkpoint"].expanduser()),
        store=store or given["store"],
        files=() if store is not None else tuple(Path(source).expanduser() for source in sources),
        output=given["output"],
        view=given["view"],
        backbone=given["backbone"],
        data_root=given["data"].expanduser() if given["data"] else None,
        device=given["device"],
        limits=cli_options.decode_limits(given, num_processes=num_cores()),
    )
    with interruptible("nothing is written; run the same command again"):
        result = run_embed(request)
    if as_json:
        print_json(result)
    else:
        left_out = f", {result.num_left_out} without features left out" if result.num_left_out else ""
        click.echo(f"{result.output}: {result.num_videos} videos{left_out} ({time_text(result.seconds)})")
    if result.failures:
        report_error(f"{len(result.failures)} of {len(sources)} files could not be had in full")
        sys.exit(1)


@click.command()
@cli_options.store_argument
@click.option("--query", required=True, metavar="FILE|ID|PATH|ROW", help="A video of the store, or a file.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help=f"{_CHECKPOINT}  [default: none, search by x]")
@click.option("--by", metavar="x|h|cls|x+cls|…", help="What is compared.  [default: x+cls; without a checkpoint x]")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Videos to show.")
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="DIR.zarr",
    help="What `embed` wrote of this store by this checkpoint, so that nothing is embedded again.",
)
@click.option(
    "--strips",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw the clips that match best, the query's above the other's.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the store's videos.  [demo: data/DATASET]")
@click.option("--view", help="Of the store.  [default: the checkpoint's, or random]")
@click.option("--backbone", help="Name of the features.  [default: the checkpoint's, or the only ones]")
@click.option(
    "--weights",
    metavar="FAMILY:SOURCE",
    help="Of a file: where the backbone's weights are, if its own source does not lead to them.",
)
@_DEVICE
@cli_options.video_timeout
@cli_options.memory_limit
@cli_options.json_output
def search(store: str, as_json: bool, **given: Any) -> None:
    """Find the videos of a store that are like one.

    Compares all videos of STORE with the query, by the cosine of centred vectors, and tells of each that is found which
    seconds match: of all pairs of clips, the one whose refined vectors (raw ones, without a checkpoint) have the
    largest cosine, centred by the store's mean.

    \b
    scale-video search features/demo.zarr --query 12 --strips found
    scale-video search a.zarr --query new.mp4 --checkpoint aggregator.safetensors
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.extract.cluster import num_cores
    from scale_video.pipelines import show_search
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.export import find_checkpoint
    from scale_video.pipelines.search import SearchRequest, run_search

    checkpoint = given["checkpoint"]
    result = run_search(
        SearchRequest(
            store=store,
            query=given["query"],
            checkpoint=None if checkpoint is None else find_checkpoint(checkpoint.expanduser()),
            by=given["by"],
            top=given["top"],
            embeddings=given["embeddings"],
            strips=given["strips"],
            data_root=given["data"],
            view=given["view"],
            backbone=given["backbone"],
            weights=given["weights"],
            device=given["device"],
            limits=cli_options.decode_limits(given, num_processes=num_cores()),
        )
    )
    print_json(result) if as_json else show_search.search_table(result)


def _store_among(sources: tuple[str, ...]) -> str | None:
    """The store that is named; None where files are.

    Raises:
        ValueError: a store among other things, or a folder that is none.
    """
    for source in sources:
        folder = Path(source).expanduser()
        if folder.is_dir() and folder.suffix != ".zarr" and not (folder / "zarr.json").exists():
            raise ValueError(f"{source!r} is a folder and no store; name its files, such as {str(folder / '*.mp4')!r}")
    stores = [source for source in sources if _is_store(source)]
    if stores and len(sources) > 1:
        raise ValueError(f"{stores[0]!r} is a store; name one (or A.zarr,B.zarr), or files, but not both")
    return stores[0] if stores else None


def _is_store(source: str) -> bool:
    """Whether a text names a store rather than a file: a URL, folders, or what is called so."""
    if Path(source).expanduser().is_file():
        return False
    parts = [Path(part.strip()).expanduser() for part in source.split(",")]
    return "://" in source or any(part.suffix == ".zarr" or part.is_dir() for part in parts)
