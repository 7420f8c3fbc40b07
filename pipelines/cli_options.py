"""Options that several commands share, and how their texts are read; nothing heavy is imported here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scale_video.pipelines import completions

if TYPE_CHECKING:
    from scale_video.extract.clip_decoders import DecodeLimits

Command = TypeVar("Command", bound=Callable[..., Any])

DEMO_BACKBONE = "motion3d-ssl"
VIDEOMAE_BASE = "videomae:MCG-NJU/videomae-base"


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, listed in the help in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def comma_separated(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """An option's callback: ``a,b`` becomes ``("a", "b")``; blanks around names, and empty names, vanish."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


dataset = click.option(
    "--dataset",
    default="demo",
    show_default=True,
    shell_complete=completions.names(completions.DATASETS),
    help="demo, demo-hard, demo-control, ucf101, hmdb51, kinetics400, kinetics600, kinetics700, ssv2, lvu, folder, or "
    "any name for a --table of your own.",
)
preset = click.option(
    "--preset",
    default=None,
    shell_complete=completions.names(completions.PRESETS, or_files=True),
    help="honest, paper, demo, or a TOML file.  [default: by data set]",
)
store_argument = click.argument("store", shell_complete=completions.stores)
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override the preset; repeatable."
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
data = click.option("--data", type=click.Path(path_type=Path), help="Folder of the videos.  [demo: data/DATASET]")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the backbones run; auto: a GPU if there is one.",
)
VIEW_OPTIONS = ("num_clips", "num_frames", "stride", "rate", "grid_size", "clips_per_minute", "max_clips")
"""The fields of ``ViewOptions``."""
_POSITIVE = click.FloatRange(min=0, min_open=True)
views = options(
    click.option("--clips", "num_clips", type=click.IntRange(min=1), help="Clips of a video, random and augmented."),
    click.option(
        "--frames",
        "num_frames",
        type=click.IntRange(min=1),
        help="With --stride and --rate: clips of every view span FRAMES × STRIDE / RATE seconds.  [paper: 16, 4, 30]",
    ),
    click.option("--stride", type=click.IntRange(min=1), help="Frames from one to the next."),
    click.option("--rate", type=_POSITIVE, help="Frames a second that these are counted in."),
    click.option(
        "--grid-size",
        type=click.IntRange(min=1),
        help="Pixels of the short side, and of the crops, of the grid.  [paper: 256]",
    ),
    click.option("--clips-per-minute", type=_POSITIVE, help="Clips by the duration of each video, at least one."),
    click.option("--max-clips", type=click.IntRange(min=1), help="The most of these."),
)
video_timeout = click.option(
    "--video-timeout",
    type=click.FloatRange(min=0, min_open=True, max=1_000_000),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="A video that takes longer is given up, as `timeout`.",
)
memory_limit = click.option(
    "--memory-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=4,
    show_default=True,
    metavar="GIB",
    help="What a decoding process may allocate; a video that wants more is given up, as `crashed`.",
)


def gibibytes(number: float) -> int:
    """So many GiB in bytes."""
    return round(number * 2**30)


def decode_limits(given: dict[str, Any], *, num_processes: int = 1) -> "DecodeLimits":
    """What decoding may take; takes ``--video-timeout`` and ``--memory-limit`` out of what is given."""
    from scale_video.extract.clip_decoders import DecodeLimits

    memory_bytes = gibibytes(given.pop("memory_limit"))
    return DecodeLimits(num_processes, timeout_seconds=given.pop("video_timeout"), memory_bytes=memory_bytes)


def is_demo(dataset: str) -> bool:
    """Whether a data set is one that is rendered here."""
    return dataset.split("-")[0] == "demo"


def default_store(dataset: str) -> str:
    """Where the features of a data set, or of several, are when no place is named."""
    return ",".join(f"features/{name.strip()}.zarr" for name in dataset.split(","))


def default_data(dataset: str) -> Path | None:
    """Where the videos of a data set are when no folder is named; None: it must be named."""
    return Path("data") / dataset if is_demo(dataset) else None
