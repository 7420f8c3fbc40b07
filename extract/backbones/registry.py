"""Which backbone a user means by ``family[:source][@name]``, and loading it."""

import difflib
from pathlib import Path

from scale_video.extract.backbones.checkpoint_file import SUFFIXES
from scale_video.extract.backbones.families import families
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.store.names import check_name
from scale_video.store.schema import RESERVED_IN_VIEW


def parse_backbone(text: str) -> BackboneRequest:
    """Read ``family[:source][@name]``, for example ``videomae:MCG-NJU/videomae-base@vmae``.

    The name defaults to the family where that has one published file of weights or ships them, else to the source's
    last path segment (``videomae-base``); it becomes lower case. What follows an ``@`` is a name only if no ``/`` is in
    it: folders may hold one.

    Raises:
        ValueError: an unknown family, a source missing or too many, a name that no group of a store can have.
    """
    rest, at, name = text.strip().rpartition("@")
    if not at or "/" in name:
        rest, at, name = text.strip(), "", ""
    word, colon, source = rest.partition(":")
    family = families().get(word)
    if family is None:
        close = difflib.get_close_matches(word.lower(), families(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no backbone family {word!r} (in {text!r}); there are: {', '.join(families())}{hint}")
    if family.weights == "shipped" and (colon or at):
        raise ValueError(f"backbone {word} ships its weights and its name, got {text!r}; say {word!r}")
    if family.weights == "hub" and not source:
        raise ValueError(
            f"backbone {text!r} does not say which weights; give a hub name or a folder, "
            f"for example {word}:{family.example}"
        )
    if source and (path := Path(source).expanduser()).exists():
        source = str(path.resolve())  # workers may run in another folder
    if not at:
        name = word if family.weights == "file" else _name_of(source or word)
    try:
        check_name(name.lower(), what="backbone", reserved=RESERVED_IN_VIEW)
    except ValueError as error:
        raise ValueError(f"{error}; give another name with {rest}@NAME") from None
    return BackboneRequest(family=word, source=source or None, name=name.lower())


def load_backbone(request: BackboneRequest) -> Backbone:
    """Load a backbone's weights, once per worker.

    Raises:
        ValueError: weights that cannot be had or read, or a library that is not installed; see the family. No such
            device here, or a precision that there is not.
    """
    backbone = families()[request.family].load(request, Placement.of(request.device, request.precision))
    if backbone.spec.name != request.name:
        raise ValueError(
            f"the loader of backbone family {request.family!r} calls it {backbone.spec.name!r} where {request.name!r} "
            "was asked for; let spec.name be request.name"
        )
    return backbone


def _name_of(source: str) -> str:
    """The last path segment, without the suffix of a file of weights."""
    path = Path(source)
    return path.stem if path.suffix in SUFFIXES else path.name
