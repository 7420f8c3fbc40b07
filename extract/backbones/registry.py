"""Which backbone a user means by ``family[:source][@name]``, and loading it."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import Backbone
from scale_video.store.names import check_name
from scale_video.store.schema import RESERVED_IN_VIEW

FAMILIES: Final = ("motion3d", "videomae")
"""Families that ``load_backbone`` knows."""


@dataclass(frozen=True, slots=True)
class BackboneRequest:
    """A backbone as asked for; no weights have been looked at."""

    family: str
    """One of ``FAMILIES``."""
    source: str | None
    """Where its weights are, a hub name or a local folder (absolute); None where the family ships them."""
    name: str
    """Name of its group in the store."""
    device: str = "cpu"
    """Where it runs on a worker: ``cpu`` or ``cuda``."""
    precision: str = "float32"
    """Number format of the forward pass: ``float32``, ``float16`` or ``bfloat16`` (by autocast)."""


def parse_backbone(text: str) -> BackboneRequest:
    """Read ``family[:source][@name]``, for example ``videomae:MCG-NJU/videomae-base@vmae``.

    The name defaults to the source's last path segment (``videomae-base``), or to the family where there is no source;
    it becomes lower case. What follows an ``@`` is a name only if no ``/`` is in it: folders may hold one.

    Raises:
        ValueError: an unknown family, a source missing or too many, a name that no group of a store can have.
    """
    rest, at, name = text.strip().rpartition("@")
    if not at or "/" in name:
        rest, at, name = text.strip(), "", ""
    family, colon, source = rest.partition(":")
    if family not in FAMILIES:
        close = difflib.get_close_matches(family.lower(), FAMILIES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no backbone family {family!r} (in {text!r}); there are: {', '.join(FAMILIES)}{hint}")
    if family == "motion3d" and (colon or at):
        raise ValueError(f"backbone motion3d ships its weights and its name, got {text!r}; say 'motion3d'")
    if family == "videomae" and not source:
        raise ValueError(
            f"backbone {text!r} does not say which weights; give a hub name or a folder, "
            "for example videomae:MCG-NJU/videomae-base"
        )
    if source and (folder := Path(source).expanduser()).is_dir():
        source = str(folder.resolve())  # workers may run in another folder
    name = (name if at else Path(source or family).name).lower()
    try:
        check_name(name, what="backbone", reserved=RESERVED_IN_VIEW)
    except ValueError as error:
        raise ValueError(f"{error}; give another name with {rest}@NAME") from None
    return BackboneRequest(family=family, source=source or None, name=name)


def load_backbone(request: BackboneRequest) -> Backbone:
    """Load a backbone's weights, once per worker.

    Raises:
        ValueError: weights that cannot be had or read, or a library that is not installed; see the family. No such
            device here, or a precision that there is not.
    """
    placement = Placement.of(request.device, request.precision)
    # Imported here: a job with one family needs not install, nor wait for, the libraries of the others.
    if request.family == "videomae":
        from scale_video.extract.backbones.videomae import load_videomae

        assert request.source is not None
        return load_videomae(request.source, name=request.name, placement=placement)
    from scale_video.extract.backbones.motion3d import load_motion3d

    return load_motion3d(placement)
