"""How the backbones that can be named look on stdout."""

from collections.abc import Sequence

import click

from scale_video.extract.backbones.catalogue import KnownBackbone
from scale_video.pipelines.console import print_table

_PLACES = {
    "shipped": "comes with scale-video",
    "pip": "pip, as scale-video[lite]",
    "file": "file {}",
    "hub": "the hub, or a folder",
    "package": "package {}",
}


def backbones_table(listed: Sequence[tuple[KnownBackbone, bool]]) -> None:
    """Print the rows, and how to name others.

    Args:
        listed: backbones, and whether their weights are on this machine.
    """
    rows = [
        (
            backbone.name,
            backbone.about,
            backbone.clip,
            backbone.licence,
            _PLACES[backbone.place].format(backbone.origin),
            "yes" if here else "no",
            "" if backbone.feature_dim is None else str(backbone.feature_dim),
        )
        for backbone, here in listed
    ]
    columns = ("BACKBONE=", "what it is", "frames × pixels", "licence", "weights from", "here", "dim")
    print_table("backbones", columns, rows, numbers=1, whole=1)
    click.echo(
        "FAMILY:NAME takes any model of its kind from the hub, FAMILY:PATH one from disk; @NAME names its features."
    )
