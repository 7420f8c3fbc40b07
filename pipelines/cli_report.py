"""``scale-video report``: one page about an experiment."""

from pathlib import Path
from typing import Any

import click

from scale_video.pipelines import cli_options


@click.command()
@cli_options.dataset
@click.option("--store", help="Path or URL of the store; several: A,B.  [default: features/DATASET.zarr]")
@click.option("--backbone", help="Name of the features in the store.  [default: the only one there]")
@click.option("--split", default="1", show_default=True, help="Name of the split.")
@cli_options.preset
@cli_options.overrides
@click.option("--label", help="Name of the experiment, where it is not the preset's.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Their folder.")
@cli_options.data
@click.option(
    "--videos",
    "num_videos",
    default=480,
    show_default=True,
    type=click.IntRange(min=1),
    help="Test videos on the maps.",
)
@click.option(
    "--queries",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Test videos whose neighbours are shown.",
)
@cli_options.video_timeout
@cli_options.memory_limit
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The page.  [default: RUNS/DATASET/report.html]",
)
@cli_options.json_output
def report(as_json: bool, **given: Any) -> None:
    """Write one page about an experiment: what was run, did it help, what was learned, how it went.

    It reads what `extract`, `pretrain` and `evaluate` left, and says which of them fills what is missing. The page is
    one html file that needs no network. The videos' frames are on it where their folder is here.

    \b
    scale-video report --dataset ucf101 --data /data/UCF-101
    """  # noqa: D301 - click's own mark against re-wrapping
    from importlib.util import find_spec

    from scale_video.pipelines.console import line, print_json

    if find_spec("bokeh") is None:
        raise ValueError("a report needs bokeh; pip install 'scale-video[report]'")
    from scale_video.pipelines.report.build import run_report
    from scale_video.store.amounts import size_text, time_text

    result = run_report(_request(given))
    if as_json:
        print_json(result)
        return
    for missing in result.missing:
        line(f"not there: {missing}")
    line(f"{result.path} ({size_text(result.num_bytes)}, {time_text(result.seconds)})")


def _request(given: dict[str, Any]) -> Any:
    from scale_video.extract.cluster import num_cores
    from scale_video.pipelines.paths import ExperimentRequest
    from scale_video.pipelines.preset import default_preset
    from scale_video.pipelines.report.sources import ReportRequest

    dataset = given["dataset"]
    experiment = ExperimentRequest(
        dataset=dataset,
        store=given["store"] or cli_options.default_store(dataset),
        backbone=given["backbone"],
        split=given["split"],
        preset=given["preset"] or default_preset(dataset),
        overrides=given["overrides"],
        runs=given["runs"].expanduser(),
        label=given["label"],
    )
    return ReportRequest(
        experiment,
        data_root=given["data"],
        output=given["output"],
        num_videos=given["num_videos"],
        num_queries=given["queries"],
        limits=cli_options.decode_limits(given, num_processes=num_cores()),
    )
