"""``scale-video evaluate`` and its shorthands: the options of the probes, and what is asked of an experiment."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scale_video.pipelines import cli_options, completions
from scale_video.pipelines.cli_options import options

if TYPE_CHECKING:
    from scale_video.evaluate.clip_draw import ClipDraw
    from scale_video.evaluate.result import EvaluationRecord
    from scale_video.pipelines.candidates import Candidate
    from scale_video.pipelines.paths import ExperimentRequest


EXPERIMENT = options(
    cli_options.dataset,
    click.option(
        "--store",
        shell_complete=completions.stores,
        help="Path or URL of the store; several: A,B.  [default: features/DATASET.zarr]",
    ),
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


_PROBE = options(
    click.option(
        "--representations",
        callback=cli_options.comma_separated,
        metavar="A,B",
        shell_complete=completions.several(completions.REPRESENTATIONS),
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


@click.command()
@EXPERIMENT
@click.option(
    "--protocols",
    default="knn,linear",
    show_default=True,
    callback=cli_options.comma_separated,
    metavar="A,B",
    shell_complete=completions.several(completions.PROTOCOLS),
    help="knn, linear, nonlinear, retrieval, linear-per-clip, nonlinear-per-clip, fine-tuning; or all.",
)
@_VOTES
@click.option(
    "--compare",
    multiple=True,
    metavar="A,B",
    shell_complete=completions.several(completions.REPRESENTATIONS[:-1]),
    help="Is representation B better than A? Paired test; repeatable.",
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
    scale-video evaluate --dataset ucf101 --representations x,cls,x+cls
    scale-video evaluate --dataset ucf101 --protocols all --compare x,x+cls
    scale-video evaluate --dataset ucf101 --train-share 1,0.1,0.01 --per-class
    scale-video evaluate --dataset ucf101 --protocols linear-per-clip,fine-tuning
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
    request = experiment_request(given)
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


def _shorthand(
    protocol: str, summary: str, *also: Callable[[Callable[..., None]], Callable[..., None]]
) -> click.Command:
    """The command of one protocol, with options of its own."""

    def command(as_json: bool, per_clip: bool = False, unfreeze: bool = False, **given: Any) -> None:
        from scale_video.pipelines import show
        from scale_video.pipelines.console import print_json
        from scale_video.pipelines.paths import results_path

        if per_clip and unfreeze:
            raise ValueError("--per-clip and --unfreeze are two protocols; name one of them, or both by `evaluate`")
        request = experiment_request(given)
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
    return click.command(name=protocol)(options(EXPERIMENT, *also, _PROBE)(command))


knn = _shorthand("knn", "Probe by k nearest neighbours.", _VOTES)
linear = _shorthand("linear", "Probe by logistic regression.", _PER_CLIP)
nonlinear = _shorthand("nonlinear", "Probe by the paper's MLP.", _PER_CLIP, _UNFREEZE)
retrieval = _shorthand("retrieval", "Search the training videos by each test video.")


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


def experiment_request(given: dict[str, Any]) -> "ExperimentRequest":
    """What the options of ``EXPERIMENT`` ask for."""
    from scale_video.pipelines.paths import ExperimentRequest
    from scale_video.pipelines.preset import default_preset

    dataset = ",".join(name.strip() for name in given["dataset"].split(","))
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
