"""The families of backbones, by the word before the colon; nothing heavy is imported until one is loaded."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Final, Literal, cast

from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.request import BackboneRequest

Loader = Callable[[BackboneRequest, Placement], Backbone]
Weights = Literal["shipped", "file", "hub"]

ENTRY_POINTS: Final = "scale_video.backbones"
"""Group of entry points by which other packages bring families: the name is the family's, the object a ``Loader``."""


@dataclass(frozen=True, slots=True)
class Family:
    """Backbones that one loader knows how to load."""

    name: str
    weights: Weights
    """``shipped``: with a package, no source is named; ``file``: one published file, whose path may be named; ``hub``:
    a name on the Hugging Face hub, or a folder or file, must be named."""
    load: Loader
    example: str = ""
    """A source, for messages."""


def _in_module(name: str) -> Loader:
    """The function ``load`` of a module beside this one, imported when it is called."""

    def load(request: BackboneRequest, placement: Placement) -> Backbone:
        module = importlib.import_module(f"scale_video.extract.backbones.{name}")
        return cast(Backbone, module.load(request, placement))

    return load


_OURS: Final = (
    Family("motion3d", "shipped", _in_module("motion3d")),
    Family("motion3d-ssl", "shipped", _in_module("motion3d")),
    Family("videomae", "hub", _in_module("videomae"), "MCG-NJU/videomae-base"),
    Family("rho-byol", "file", _in_module("rho_byol")),
    Family("svt", "file", _in_module("svt")),
    Family("svt-scale", "file", _in_module("svt")),
    Family("timesformer", "hub", _in_module("timesformer"), "facebook/timesformer-base-finetuned-k400"),
    Family("vivit", "hub", _in_module("vivit"), "google/vivit-b-16x2-kinetics400"),
    Family("vjepa2", "hub", _in_module("vjepa2"), "facebook/vjepa2-vitl-fpc64-256"),
    Family("videoprism", "hub", _in_module("videoprism"), "google/videoprism-base-f16r288"),
    Family("image", "hub", _in_module("images"), "facebook/dinov2-small"),
    Family("image-moments", "hub", _in_module("images"), "facebook/dinov2-small"),
    Family("lite", "shipped", _in_module("lite")),
    Family("lite-moments", "shipped", _in_module("lite")),
)


@cache
def families() -> Mapping[str, Family]:
    """All families by name: ours, then those of installed packages, which cannot replace ours."""
    found = {family.name: family for family in _OURS}
    for entry in entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, Family(entry.name, "file", _of_entry_point(entry.name)))
    return found


def _of_entry_point(name: str) -> Loader:
    def load(request: BackboneRequest, placement: Placement) -> Backbone:
        entry = next(iter(entry_points(group=ENTRY_POINTS, name=name)))
        try:
            loader: Loader = entry.load()
        except Exception as error:
            raise ValueError(f"backbone family {name!r} ({entry.value}) cannot be imported: {error}") from error
        return loader(request, placement)

    return load
