"""``scale-video pretrain``: its options."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from scale_video.pipelines import cli_options, cli_probe, completions
from scale_video.pipelines.cli_options import options

_LENGTHS = ("epochs", "steps", "minutes")


def _num_devices(ctx: click.Context, param: click.Parameter, value: str) -> int | str:
    if value == "auto":
        return value
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number of devices nor auto")


_RESOURCES = options(
    click.option(
        "--residency",
        type=click.Choice(["auto", "device", "memory", "stream"]),
        default="auto",
        show_default=True,
        help="Where features live: on the GPU, in memory, or streamed from the store; auto: where they fit.",
    ),
    click.option(
        "--memory-limit",
        type=click.FloatRange(min=0, min_open=True),
        metavar="GIB",
        help="What features may take of memory; more than that is streamed.  [default: 60 % of what is available]",
    ),
    click.option(
        "--devices",
        default="1",
        show_default=True,
        callback=_num_devices,
        metavar="N|auto",
        help="Of each node; they share every batch. auto: all GPUs.",
    ),
    click.option(
        "--nodes",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="Machines, each of which runs this command (srun, torchrun).",
    ),
)
_TRAINING = options(
    click.option("--epochs", type=click.IntRange(min=1), help="How long: --set pretrain.epochs=N, say."),
    click.option("--steps", type=click.IntRange(min=1), help="How long, in steps instead."),
    click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="How long, in minutes of training instead; no two such runs are equal to the bit.",
    ),
    click.option("--batch-size", type=click.IntRange(min=2), help="Videos a step: --set pretrain.batch_size=N."),
    click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        help="At the end of the warm-up: --set pretrain.learning_rate=X.",
    ),
)


@click.command()
@cli_probe.EXPERIMENT
@click.option(
    "--views",
    callback=cli_options.comma_separated,
    metavar="NAME[,NAME]",
    shell_complete=completions.several(completions.VIEWS),
    help="Where sets of clips come from: two of one view, or one of each of two, such as random,augmented.  "
    "[default: the preset's train_view]",
)
@_TRAINING
@_RESOURCES
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="What a crash may cost; 0: a checkpoint after every step.",
)
@click.option("--restart", is_flag=True, help="Delete the checkpoints of these seeds and train anew.")
@click.option("--break-lock", is_flag=True, help="Take run folders from another training that is known to be gone.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs as well (extra [tensorboard]).")
@cli_options.json_output
def pretrain(
    as_json: bool, restart: bool, break_lock: bool, tensorboard: bool, checkpoint_every: float, **given: Any
) -> None:
    """Stage 2: train the aggregator.

    One training per seed, on the training videos of the split; run it again to resume. Prints the checkpoints. What
    --set pretrain.KEY=VALUE can change: docs/pretraining.md. Several data sets of one view and backbone: --dataset A,B
    --store a.zarr,b.zarr.
    """
    from scale_video.aggregate.devices import is_first_rank
    from scale_video.pipelines.console import print_json
    from scale_video.pipelines.interruption import interruptible
    from scale_video.pipelines.pretraining import TrainingResources, run_pretraining
    from scale_video.pipelines.training_summary import summarise

    request = cli_probe.experiment_request({**given, "overrides": (*given["overrides"], *_shorthands(given))})
    limit = given["memory_limit"]
    resources = TrainingResources(
        residency=given["residency"],
        memory_limit_bytes=None if limit is None else cli_options.gibibytes(limit),
        devices=given["devices"],
        nodes=given["nodes"],
    )
    again = f"run the same command again{', without --restart,' if restart else ''} to go on"
    with interruptible(again), _said_once(is_first_rank()):
        checkpoints = run_pretraining(
            request,
            resources=resources,
            restart=restart,
            tensorboard=tensorboard,
            checkpoint_every_seconds=checkpoint_every,
            break_lock=break_lock,
        )
    if not is_first_rank():
        return
    if as_json:
        print_json([summarise(path) for path in checkpoints])
        return
    for path in checkpoints:
        click.echo(path)


@contextmanager
def _said_once(first: bool) -> Iterator[None]:
    """Leave out the warnings of ranks other than the first, which are the same."""
    logger = logging.getLogger("scale_video.aggregate")
    level = logger.level
    logger.setLevel(level if first else logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _shorthands(given: dict[str, Any]) -> list[str]:
    """The overrides that options of their own stand for.

    Raises:
        ValueError: more than one length.
    """
    lengths = [name for name in _LENGTHS if given[name] is not None]
    if len(lengths) > 1:
        raise ValueError(f"--{lengths[0]} and --{lengths[1]} both say how long to train; give one of them")
    values = {name: given[name] for name in (*lengths, "batch_size", "learning_rate") if given[name] is not None}
    if lengths:  # the preset's may be another one
        values |= {name: 0 for name in ("steps", "minutes") if name not in lengths}
    return [f"pretrain.{name}={value}" for name, value in values.items()]
