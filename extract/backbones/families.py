"""The families of backbones, by the word before the colon; nothing heavy is imported until one is loaded."""

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Literal, cast

from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.store.names import check_name
from scale_video.store.schema import RESERVED_IN_VIEW

logger = logging.getLogger(__name__)

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
    package: str = ""
    """Which other package brings it; empty for ours."""


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


_REGISTERED: Final[dict[str, Loader]] = {}


def register_backbone(name: str, load: Loader) -> None:
    """Make a family of a script's own known: ``BACKBONE=name`` then loads it, also on the workers of its job.

    Args:
        name: of the family, ``[a-z0-9._-]+``.
        load: what loads it; called once in each worker process, so that it should do the slow part (reading weights).

    Raises:
        ValueError: a name that no group of a store can have, or that another family has.
    """
    check_name(name, what="backbone family", reserved=RESERVED_IN_VIEW)
    if name in _installed():
        raise ValueError(f"there is a backbone family {name!r} already; choose another name")
    _REGISTERED[name] = load


def unregister_backbone(name: str) -> None:
    """Forget a family that was registered in this process, if there is one."""
    _REGISTERED.pop(name, None)


def registered() -> Mapping[str, Loader]:
    """What was registered in this process."""
    return dict(_REGISTERED)


def families() -> Mapping[str, Family]:
    """All families by name: ours, those of installed packages, and those that a script registered."""
    scripts = {name: Family(name, "file", load, package="this script") for name, load in _REGISTERED.items()}
    return {**_installed(), **scripts}


@cache
def _installed() -> Mapping[str, Family]:
    """Ours, then those of other packages, which cannot replace ours."""
    found = {family.name: family for family in _OURS}
    for entry in entry_points(group=ENTRY_POINTS):
        package = entry.dist.name if entry.dist else entry.module
        family = Family(entry.name, "file", _of_entry_point(entry), package=package)
        if found.setdefault(entry.name, family) is not family:
            logger.warning(
                "package %s brings a backbone family %r, of which there is one already: it is not used",
                package,
                entry.name,
            )
    return found


def _of_entry_point(entry: EntryPoint) -> Loader:
    def load(request: BackboneRequest, placement: Placement) -> Backbone:
        try:
            loader: Loader = entry.load()
        except Exception as error:
            raise ValueError(f"backbone family {entry.name!r} ({entry.value}) cannot be imported: {error}") from error
        return loader(request, placement)

    return load
