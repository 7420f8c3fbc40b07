"""What a shell offers for the values of options. Nothing heavy is imported: a shell waits for each press of Tab.

Hence the names stand here once more; a test holds them against those that the commands know.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

DATASETS: Final = ("demo", "demo-hard", "demo-control", "ucf101", "hmdb51", "kinetics400", "kinetics600", "kinetics700",
                   "ssv2", "lvu", "folder")  # fmt: skip
BACKBONES: Final = ("motion3d", "motion3d-ssl", "lite", "lite-moments", "rho-byol", "svt", "svt-scale", "videomae:",
                    "timesformer:", "vivit:", "vjepa2:", "videoprism:", "image:", "image-moments:")  # fmt: skip
"""Families; those with a colon want a hub name or a path behind it."""
VIEWS: Final = ("random", "augmented", "grid")
PROTOCOLS: Final = ("knn", "linear", "nonlinear", "retrieval", "linear-per-clip", "nonlinear-per-clip", "fine-tuning",
                    "all")  # fmt: skip
REPRESENTATIONS: Final = ("x", "h", "cls", "x+h", "x+cls", "h+cls", "x+h+cls", "x-bins2", "x-bins4", "x-whitened",
                          "init", "all")  # fmt: skip
STATUSES: Final = ("partial", "no_video_stream", "corrupt", "missing", "timeout", "crashed")
PRESETS: Final = ("demo", "honest", "paper")

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names(known: Iterable[str], *, or_files: bool = False) -> Completer:
    """One of these; or a file."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in known if name.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if or_files else [])

    return complete


def several(known: Iterable[str]) -> Completer:
    """Names behind commas: the last one is completed, by what is not there yet."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [
            CompletionItem(f"{before}{comma}{name}") for name in known if name.startswith(last) and name not in taken
        ]

    return complete


def stores(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The stores in ``features/`` while nothing is typed; else folders."""
    here = sorted(str(path) for path in Path("features").glob("*.zarr") if str(path).startswith(incomplete))
    return [CompletionItem(path) for path in here] or [CompletionItem(incomplete, type="dir")]
