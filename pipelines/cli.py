"""``scale-video``: the commands. Each parses, calls one ``run_…``, and prints; slow imports wait until then."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from scale_video.pipelines.extraction import ExtractionRequest
    from scale_video.pipelines.paths import ExperimentRequest

Command = TypeVar("Command", bound=Callable[..., Any])
VIDEOMAE_BASE = "videomae:MCG-NJU/videomae-base"


class OneLineErrors(click.Group):
    """A group whose commands end a user's mistake with one line and status 1, and show a traceback by ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from scale_video.pipelines.console import show_logs

        show_logs()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("debug") or not _is_for_the_user(error):
                raise
            message = str(error) or type(error).__name__
            raise click.ClickException(" ".join(message.split())) from error


def _is_for_the_user(error: Exception) -> bool:
    """Whether an error's message is meant to be read without a traceback."""
    from scale_video.store.errors import StoreError

    return isinstance(error, (ValueError, OSError, StoreError))


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, listed in the help in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


_dataset = click.option(
    "--dataset", default="demo", show_default=True, help="demo, demo-hard, demo-control, ucf101, folder."
)
_store = click.option("--store", default=None, help="Path or URL of the store.  [default: features/DATASET.zarr]")
_preset = click.option("--preset", default=None, help="honest, paper, demo, or a TOML file.  [default: by data set]")
_set = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override the preset; repeatable.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

_EXTRACTION = options(
    _dataset,
    click.option("--data", type=click.Path(path_type=Path), help="Folder of the videos.  [demo: data/DATASET]"),
    click.option("--split-lists", type=click.Path(path_type=Path), help="Folder of the official lists (ucf101)."),
    _store,
    click.option("--backbone", help=f"FAMILY[:SOURCE][@NAME].  [default: motion3d for demo, else {VIDEOMAE_BASE}]"),
    click.option("--views", help="Names of views, comma-separated.  [default: all of the preset]"),
    _preset,
    _set,
    click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one per core]"),
    click.option("--threads", is_flag=True, help="Run the workers as threads of one process."),
    click.option("--scheduler", metavar="tcp://HOST:PORT", help="Join a running Dask cluster instead."),
    click.option("--block-size", type=click.IntRange(min=1), help="Videos in a block.  [default: chosen]"),
)

_EXPERIMENT = options(
    _dataset,
    _store,
    click.option("--backbone", help="Name of the features in the store.  [default: the only one there]"),
    click.option("--split", default="1", show_default=True, help="Name of the split."),
    click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="N: the seeds 0 … N-1."),
    _preset,
    _set,
    click.option(
        "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Their folder."
    ),
    click.option("--label", help="Name of this experiment beside others on the same data.  [default: the preset]"),
)


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


@main.command()
@_EXTRACTION
@_json
def plan(as_json: bool, **given: Any) -> None:
    """Look at the videos and create the store.

    Probes every file, draws the clips of every view, and reports what to expect; nothing is extracted.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.extraction import run_plan

    report = run_plan(_extraction_request(given))
    show.as_json(report) if as_json else show.plan_report(report)


@main.command()
@_EXTRACTION
@click.option("--max-failures", default="1%", show_default=True, help="Videos that may fail before the status is 1.")
@_json
def extract(as_json: bool, max_failures: str, **given: Any) -> None:
    """Stage 1: clip features into a store.

    Plans the store if there is none, and extracts what is missing: run it again after any interruption.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.extraction import run_extract, within_budget

    within_budget([], max_failures)  # a typo should not cost a day of extraction
    result = run_extract(_extraction_request(given))
    show.as_json(result) if as_json else show.extraction_result(result)
    if not within_budget(list(result.reports.values()), max_failures):
        click.echo(
            f"Error: more videos failed than --max-failures {max_failures} allows; they are listed above", err=True
        )
        sys.exit(1)


@main.command()
@_EXPERIMENT
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs as well (extra [tensorboard]).")
def pretrain(tensorboard: bool, **given: Any) -> None:
    """Stage 2: train the aggregator.

    One training per seed, on the training videos of the split; run it again to resume. Prints the checkpoints.
    """
    from scale_video.pipelines.pretraining import run_pretraining

    for path in run_pretraining(_experiment_request(given), tensorboard=tensorboard):
        click.echo(path)


def _evaluation(protocol: str, summary: str) -> click.Command:
    @click.option("--allow-seen", is_flag=True, help="Evaluate checkpoints that saw test videos; rows are marked.")
    @_json
    def command(as_json: bool, allow_seen: bool, **given: Any) -> None:
        from scale_video.pipelines import show
        from scale_video.pipelines.evaluation import run_evaluation

        request = _experiment_request(given)
        records = run_evaluation(request, protocols=(protocol,), allow_seen=allow_seen)
        show.as_json(records) if as_json else show.records_table(records, title=f"{request.dataset}, {protocol}")

    command.__doc__ = f"""{summary}

    Compares the raw features, baselines, and every pre-trained seed on the test videos of the split; collects the
    records in RUNS/DATASET/results.json.
    """
    return main.command(name=protocol)(_EXPERIMENT(command))


knn = _evaluation("knn", "Probe by k nearest neighbours.")
linear = _evaluation("linear", "Probe by logistic regression.")
nonlinear = _evaluation("nonlinear", "Probe by the paper's MLP.")


@main.command()
@click.argument("store")
@_json
def verify(store: str, as_json: bool) -> None:
    """Check every digest of a store.

    Reads all of STORE; the exit status is 1 when anything is not as it was committed.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.inspection import run_verify

    report = run_verify(store)
    show.as_json(report) if as_json else show.verify_report(report)
    if report.damaged:
        sys.exit(1)


@main.command()
@click.argument("store")
@_json
def info(store: str, as_json: bool) -> None:
    """Show what a store holds.

    Videos, splits, views and backbones of STORE, and how much of each is there.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.inspection import run_info

    result = run_info(store)
    show.as_json(result) if as_json else show.info_tables(result)


@main.command()
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="N > 1 adds two controls.")
@click.option("--data-seed", default=0, show_default=True, type=click.IntRange(min=0), help="Another rendering.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per core]")
@click.option("--root", type=click.Path(path_type=Path), default=Path(), help="Where data/, features/ and runs/ go.")
@_set
@click.option("--videos", nargs=2, type=click.IntRange(min=24), metavar="TRAIN TEST", help="Videos to render.")
def demo(
    seeds: int,
    data_seed: int,
    workers: int | None,
    root: Path,
    overrides: tuple[str, ...],
    videos: tuple[int, int] | None,
) -> None:
    """Run everything on rendered videos.

    Renders the embedded data set to mp4 files, extracts, pre-trains, evaluates, and prints one table. What is done
    already is not done again.
    """
    from scale_video.pipelines import show
    from scale_video.pipelines.demo import DemoRequest, run_demo

    request = DemoRequest(
        root=root.expanduser(),
        num_seeds=seeds,
        data_seed=data_seed,
        num_workers=workers or _num_cores(),
        overrides=overrides,
        num_videos=videos,
    )
    show.demo_result(run_demo(request))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _extraction_request(given: dict[str, Any]) -> "ExtractionRequest":
    from scale_video.pipelines.extraction import ExtractionRequest
    from scale_video.pipelines.preset import default_preset

    dataset = given["dataset"]
    is_demo = dataset.split("-")[0] == "demo"
    views = tuple(name.strip() for name in (given["views"] or "").split(",") if name.strip())
    return ExtractionRequest(
        dataset=dataset,
        data_root=given["data"] or (Path("data") / dataset if is_demo else None),
        store=given["store"] or f"features/{dataset}.zarr",
        preset=given["preset"] or default_preset(dataset),
        overrides=given["overrides"],
        backbone=given["backbone"] or ("motion3d" if is_demo else VIDEOMAE_BASE),
        views=views,
        split_lists=given["split_lists"],
        num_workers=given["workers"] or _num_cores(),
        processes=not given["threads"],
        scheduler=given["scheduler"],
        block_size=given["block_size"],
    )


def _experiment_request(given: dict[str, Any]) -> "ExperimentRequest":
    from scale_video.pipelines.paths import ExperimentRequest
    from scale_video.pipelines.preset import default_preset

    dataset = given["dataset"]
    return ExperimentRequest(
        dataset=dataset,
        store=given["store"] or f"features/{dataset}.zarr",
        backbone=given["backbone"],
        split=given["split"],
        num_seeds=given["seeds"],
        preset=given["preset"] or default_preset(dataset),
        overrides=given["overrides"],
        runs=given["runs"].expanduser(),
        label=given["label"],
    )


if __name__ == "__main__":
    main()
