"""``scale-video``: the commands. Each parses, calls one ``run_…``, and prints; slow imports wait until then."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scale_video.pipelines import cli_extract, cli_options, cli_results, cli_store
from scale_video.pipelines.cli_options import options

if TYPE_CHECKING:
    from scale_video.evaluate.clip_draw import ClipDraw
    from scale_video.evaluate.result import EvaluationRecord
    from scale_video.pipelines.candidates import Candidate
    from scale_video.pipelines.demo import DemoRequest
    from scale_video.pipelines.paths import ExperimentRequest


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


_EXPERIMENT = options(
    cli_options.dataset,
    click.option("--store", help="Path or URL of the store; several: A,B.  [default: features/DATASET.zarr]"),
    click.option("--backbone", help="Name of the features in the store.  [default: the only one there]"),
    click.option("--split", default="1", show_default=True, help="Name of the split."),
    click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="N: the seeds 0 … N-1."),
    cli_options.preset,
    cli_options.overrides,
    click.option(
        "--videos",
        type=click.Choice(["train", "all"]),
        help="Videos that pre-training sees: those of the split's training part, or all, as published (the results are "
        "marked).  [default: the preset's]",
    ),
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


for command in (
    cli_extract.plan,
    cli_extract.extract,
    cli_extract.backbones,
    cli_store.info,
    cli_store.verify,
    cli_store.failures,
    cli_store.show,
    cli_results.table,
    cli_results.compare,
):
    main.add_command(command)


@main.command()
@_EXPERIMENT
@click.option(
    "--views",
    callback=cli_options.comma_separated,
    metavar="NAME[,NAME]",
    help="Where sets of clips come from: two of one view, or one of each of two, such as random,augmented.  "
    "[default: the preset's train_view]",
)
@click.option("--restart", is_flag=True, help="Delete the checkpoints of these seeds and train anew.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs as well (extra [tensorboard]).")
def pretrain(restart: bool, tensorboard: bool, **given: Any) -> None:
    """Stage 2: train the aggregator.

    One training per seed, on the training videos of the split; run it again to resume. Prints the checkpoints.
    """
    from scale_video.pipelines.pretraining import run_pretraining

    for path in run_pretraining(_experiment_request(given), restart=restart, tensorboard=tensorboard):
        click.echo(path)


_PROBE = options(
    click.option(
        "--representations",
        callback=cli_options.comma_separated,
        metavar="A,B",
        help="x, x-bins2, x-bins4, x-whitened, init, h, cls, x+h, x+cls, h+cls, x+h+cls; or all.  "
        "[default: all but x+h and h+cls; where clips are trained on, x and x+cls]",
    ),
    click.option(
        "--target",
        metavar="COLUMN",
        help="What is predicted: label_NAME (one class), labels_NAME (sets of classes), target_NAME (a number).  "
        "[default: the one named after the split, or else label]",
    ),
    click.option(
        "--train-share",
        default="1",
        show_default=True,
        callback=cli_options.comma_separated,
        metavar="A,B",
        help="Low-shot: shares of the training labels of each class; 1,0.1,0.01 probes with all, 10 % and 1 %.",
    ),
    click.option(
        "--share-seed", default=0, show_default=True, type=click.IntRange(min=0), help="Which labels a share is."
    ),
    click.option(
        "--clips",
        callback=cli_options.comma_separated,
        metavar="A,B",
        help="Test with so many random clips of each video; 1,2,4,8 probes with each number.  [default: all clips]",
    ),
    click.option(
        "--clip-draws", default=1, show_default=True, type=click.IntRange(min=1), help="Draws for each of --clips."
    ),
    click.option(
        "--checkpoint",
        "checkpoints",
        multiple=True,
        type=click.Path(path_type=Path, exists=True),
        help="Transfer: an aggregator trained on another store's features of the same backbone, as a file or a folder "
        "of seeds; repeatable. In place of the experiment's own.",
    ),
    click.option("--allow-seen", is_flag=True, help="Evaluate checkpoints that saw test videos; rows are marked."),
    cli_options.json_output,
)
_VOTES = options(
    click.option("--k", default=20, show_default=True, type=click.IntRange(min=1), help="Neighbours that vote (k-NN)."),
    click.option(
        "--temperature",
        default=0.07,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Of the votes (k-NN): weight exp(cosine / temperature).",
    ),
)


@main.command()
@_EXPERIMENT
@click.option(
    "--protocols",
    default="knn,linear",
    show_default=True,
    callback=cli_options.comma_separated,
    metavar="A,B",
    help="knn, linear, nonlinear, retrieval, linear-per-clip, nonlinear-per-clip, fine-tuning; or all.",
)
@_VOTES
@click.option(
    "--compare", multiple=True, metavar="A,B", help="Is representation B better than A? Paired test; repeatable."
)
@click.option("--per-class", is_flag=True, help="Print the scores of each class too.")
@click.option(
    "--pictures/--no-pictures",
    default=None,
    help="Draw confusion matrices, gains by class, accuracy by clips and a map into RUNS/DATASET/pictures/.  "
    "[default: where matplotlib is installed]",
)
@_PROBE
def evaluate(
    protocols: tuple[str, ...],
    compare: tuple[str, ...],
    per_class: bool,
    pictures: bool | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Evaluate raw and aggregated features by several protocols.

    Compares the raw features, baselines, and every pre-trained seed on the test videos of the split; collects the
    records in RUNS/DATASET/results.json. `knn`, `linear`, `nonlinear` and `retrieval` are shorthands. Numbers are
    predicted by ridge regression, sets of classes by one logistic regression each.

    \b
    scale-video evaluate --dataset ucf101 --protocols knn,linear --representations x,cls,x+cls
    scale-video evaluate --dataset ucf101 --protocols all --compare x,x+cls --per-class
    scale-video evaluate --dataset ucf101 --protocols linear --train-share 1,0.1,0.01
    scale-video evaluate --dataset ucf101 --protocols linear-per-clip,fine-tuning --representations x,x+cls
    scale-video evaluate --dataset lvu --split like_ratio
    """  # noqa: D301 - click's own mark against re-wrapping
    from scale_video.evaluate.result import PROTOCOLS
    from scale_video.pipelines import show
    from scale_video.pipelines.comparison import compare_records
    from scale_video.pipelines.console import note, print_json
    from scale_video.pipelines.paths import open_store, results_path
    from scale_video.pipelines.per_class import check_has_classes, scores_per_class
    from scale_video.pipelines.pictures import PictureBook
    from scale_video.pipelines.probe_target import read_target, usual_target

    protocols = PROTOCOLS if protocols == ("all",) else protocols
    _refuse_idle(given, protocols=protocols)
    request = _experiment_request(given)
    book = PictureBook.if_wanted(pictures)
    pairs = [_pair(text) for text in compare]
    videos = open_store(request).videos
    target = read_target(videos, given["target"] or usual_target(videos, split=request.split), dataset=request.dataset)
    if per_class:
        check_has_classes(target)
    records = _run_probes(
        request,
        protocols=protocols,
        given=given,
        also=list(chain.from_iterable(pairs)),
        watch=book.keep if book else None,
    )
    folder = results_path(request).parent
    comparisons = compare_records(records, pairs, folder=folder)
    by_class = scores_per_class(records, target, folder=folder) if per_class else []
    if book and (drawn := book.draw(records, target.class_names, folder=folder)):
        note(f"{len(drawn)} pictures in {drawn[0].parent}")
    if as_json:
        print_json({"records": records, "comparisons": comparisons, "per_class": by_class})
        return
    show.records_table(records, title=request.dataset, folder=folder)
    if by_class:
        show.classes_table(by_class)
    if comparisons:
        show.comparisons_table(comparisons)


_PER_CLIP = click.option(
    "--per-clip", is_flag=True, help="As published: train on single clips, average over those of a test video."
)
_UNFREEZE = click.option(
    "--unfreeze",
    is_flag=True,
    help="As published for aggregated features: fine-tune the aggregator, with a linear layer.",
)


def _evaluation(protocol: str, summary: str, *also: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
    """Add the shorthand of one protocol, with options of its own."""

    def command(as_json: bool, per_clip: bool = False, unfreeze: bool = False, **given: Any) -> None:
        from scale_video.pipelines import show
        from scale_video.pipelines.console import print_json
        from scale_video.pipelines.paths import results_path

        if per_clip and unfreeze:
            raise ValueError("--per-clip and --unfreeze are two protocols; name one of them, or both by `evaluate`")
        request = _experiment_request(given)
        chosen = "fine-tuning" if unfreeze else f"{protocol}-per-clip" if per_clip else protocol
        _refuse_idle(given, protocols=(chosen,))
        records = _run_probes(request, protocols=(chosen,), given=given)
        if as_json:
            print_json(records)
        else:
            folder = results_path(request).parent
            show.records_table(records, title=f"{request.dataset}, {chosen}", folder=folder)

    command.__doc__ = f"""{summary}

    A shorthand of `evaluate --protocols {protocol}`. Compares the raw features, baselines, and every pre-trained seed
    on the test videos of the split; collects the records in RUNS/DATASET/results.json.
    """
    main.command(name=protocol)(options(_EXPERIMENT, *also, _PROBE)(command))


_evaluation("knn", "Probe by k nearest neighbours.", _VOTES)
_evaluation("linear", "Probe by logistic regression.", _PER_CLIP)
_evaluation("nonlinear", "Probe by the paper's MLP.", _PER_CLIP, _UNFREEZE)
_evaluation("retrieval", "Search the training videos by each test video.")


def _run_probes(
    request: "ExperimentRequest",
    *,
    protocols: Sequence[str],
    given: dict[str, Any],
    also: Sequence[str] = (),
    watch: "Callable[[Candidate], None] | None" = None,
) -> "list[EvaluationRecord]":
    """What the commands above share: read their options and probe."""
    from scale_video.evaluate.options import CLIP_PROTOCOLS, DEFAULT_OPTIONS, ProbeOptions
    from scale_video.evaluate.representations import REPRESENTATIONS
    from scale_video.pipelines.candidates import DEFAULT_REPRESENTATIONS
    from scale_video.pipelines.evaluation import run_evaluation

    of_clips = set(protocols) <= set(CLIP_PROTOCOLS)
    named = given["representations"] or (("x", "x+cls") if of_clips else DEFAULT_REPRESENTATIONS)
    representations = REPRESENTATIONS if named == ("all",) else named
    return run_evaluation(
        request,
        protocols=tuple(dict.fromkeys(protocols)),
        representations=tuple(dict.fromkeys((*representations, *also))),
        options=[
            ProbeOptions(
                k=given.get("k", DEFAULT_OPTIONS.k),
                temperature=given.get("temperature", DEFAULT_OPTIONS.temperature),
                train_share=_share(text),
                share_seed=given["share_seed"],
            )
            for text in dict.fromkeys(given["train_share"])
        ],
        clip_draws=_clip_draws(given["clips"], num_draws=given["clip_draws"]),
        checkpoints=given["checkpoints"],
        target=given["target"],
        allow_seen=given["allow_seen"],
        watch=watch,
    )


def _refuse_idle(given: dict[str, Any], *, protocols: Sequence[str]) -> None:
    """Refuse options that would say something and change nothing."""
    from scale_video.evaluate.options import DEFAULT_OPTIONS

    votes = [
        name for name in ("k", "temperature") if given.get(name, default := getattr(DEFAULT_OPTIONS, name)) != default
    ]
    if votes and "knn" not in protocols:
        raise ValueError(f"--{votes[0]} is of k-NN, which is not among the protocols ({', '.join(protocols)})")
    if given["share_seed"] and set(map(_share, given["train_share"])) == {1.0}:
        raise ValueError("--share-seed needs a --train-share below 1: there is one way to take all labels")
    if given["checkpoints"] and (given["seeds"] > 1 or given["videos"]):
        raise ValueError(
            "--seeds and --videos are of the experiment's own aggregators, which --checkpoint takes the place of"
        )


def _clip_draws(clips: Sequence[str], *, num_draws: int) -> "list[ClipDraw | None]":
    """The draws that are asked for: each number of clips with the seeds 0 … num_draws - 1."""
    from scale_video.evaluate.clip_draw import ClipDraw

    if not clips:
        if num_draws > 1:
            raise ValueError("--clip-draws needs --clips: there is one way to take all clips of a video")
        return [None]
    for text in clips:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ValueError(f"--clips {text!r} is no number of clips; say for example 1,2,4,8")
    return [ClipDraw(int(text), seed) for text in dict.fromkeys(clips) for seed in range(num_draws)]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--train-share {text!r} is no number; say for example 1,0.1,0.01") from error


def _pair(text: str) -> tuple[str, str]:
    match text.split(","):
        case [first, second]:
            return first.strip(), second.strip()
    raise ValueError(f"--compare takes two representations, A,B, got {text!r}; repeat it for another pair")


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


def _experiment_request(given: dict[str, Any]) -> "ExperimentRequest":
    from scale_video.pipelines.paths import ExperimentRequest
    from scale_video.pipelines.preset import default_preset

    dataset = given["dataset"]
    return ExperimentRequest(
        dataset=dataset,
        store=given["store"] or cli_options.default_store(dataset),
        backbone=given["backbone"],
        split=given["split"],
        num_seeds=given["seeds"],
        preset=given["preset"] or default_preset(dataset),
        overrides=given["overrides"],
        runs=given["runs"].expanduser(),
        videos=given["videos"],
        label=given["label"],
        views=given.get("views", ()),
    )


if __name__ == "__main__":
    main()
